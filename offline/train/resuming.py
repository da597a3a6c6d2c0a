"""Checkpoints of a training that goes on where it was stopped."""

import hashlib
import pickle
from pathlib import Path
from typing import Any

import torch

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
