"""What every training shares: checkpoints, so that it goes on where it was stopped, and how attention is computed."""

import hashlib
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend

from thinwire.errors import InvalidRequestError


def digest_of(*asked: object) -> str:
    """What tells one training from another: SHA-256 of all that it is asked, as hex."""
    return hashlib.sha256(repr(asked).encode()).hexdigest()


def load_state(checkpoint: Path, device: torch.device | str, asked: str | None) -> dict[str, Any]:
    """Read a checkpoint; nothing of it is run.

    Args:
        asked: the training's digest, which the checkpoint's must be; None to ask for none.

    Raises:
        InvalidRequestError: it cannot be read, or is of another training.
    """
    try:
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        held = state.get("asked")
    # torch raises whatever a file that is cut off or of another program makes it meet.
    except (RuntimeError, ValueError, OSError, EOFError, KeyError, AttributeError, pickle.UnpicklingError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InvalidRequestError(
            f"{checkpoint} is no checkpoint that can be read, choose another folder: {reason}"
        ) from None
    if asked is not None and held != asked:
        raise InvalidRequestError(
            f"{checkpoint} is of another training (model, recipe, seed or data); choose another folder"
        )
    return dict(state)


class Checkpoint:
    """Where a training stands, in one file that a newer state replaces at once.

    Args:
        path: of the file.
        parts: what has a state, by name: modules, optimiser, schedule.
        asked: the training's `digest_of`.
        counter: what is counted: "epoch" or "step".
    """

    def __init__(self, path: Path, parts: Mapping[str, Any], asked: str, counter: str) -> None:
        self.path = path
        self.asked = asked
        self._parts = parts
        self._counter = counter

    def resume(self, device: torch.device) -> int:
        """Take up the state that is there, and say how many epochs or steps are done; 0 where there is none.

        Raises:
            InvalidRequestError: see `load_state`.
        """
        if not self.path.exists():
            return 0
        state = load_state(self.path, device, self.asked)
        for name, part in self._parts.items():
            part.load_state_dict(state[name])
        return int(state[self._counter])

    def save(self, done: int) -> None:
        """Write the state after so many epochs or steps."""
        partial = self.path.with_suffix(".partial")
        states = {name: part.state_dict() for name, part in self._parts.items()}
        torch.save(states | {self._counter: done, "asked": self.asked}, partial)
        partial.replace(self.path)


def mixed_precision(device: torch.device) -> torch.autocast:
    """The context in which a training computes: bfloat16 where the device multiplies it, float32 elsewhere.

    On a CPU without instructions for it a step takes 25 times as long as in float32.
    """
    able = torch.cpu.get_capabilities()
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type != "cpu" or able.get("avx512_bf16", False))


def attention_backends(device: torch.device) -> list[SDPBackend]:
    """What attention may be computed with in training.

    On a CPU the fused backward pass takes several times as long as the plain products at these sizes.
    """
    if device.type == "cpu":
        return [SDPBackend.MATH]
    return [SDPBackend.MATH, SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION]


def weights_digest(model: nn.Module) -> str:
    """SHA-256 over names and values of a model's state, as hex."""
    content = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        content.update(name.encode())
        content.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return content.hexdigest()
