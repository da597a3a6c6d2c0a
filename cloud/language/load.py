"""A LLaVA checkpoint from a folder or the Hugging Face hub."""

import importlib.util
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoTokenizer, BitsAndBytesConfig, LlavaForConditionalGeneration

from thinwire.errors import BundleError, InvalidRequestError, UnavailableError

DTYPES = ("auto", "float32", "float16", "bfloat16")
BITS = (4, 8)


@dataclass(frozen=True)
class Placement:
    """How weights lie in memory, and where.

    Attributes:
        dtype: "auto" is the checkpoint's own.
        device: "cpu", "cuda", "cuda:1"; or "auto", "balanced" and "sequential", which spread the model over what
            there is, and need the package accelerate.
        bits: 4 or 8 quantise the weights, and need accelerate and bitsandbytes; None leaves them.

    Raises:
        InvalidRequestError: there is no such dtype or number of bits.
    """

    dtype: str = "auto"
    device: str = "cpu"
    bits: int | None = None

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise InvalidRequestError(f"dtype must be one of {', '.join(DTYPES)}, got {self.dtype!r}")
        if self.bits is not None and self.bits not in BITS:
            raise InvalidRequestError(f"bits must be 4 or 8, got {self.bits}")


def load_checkpoint(checkpoint: str, revision: str | None, placement: Placement) -> tuple[Any, Any]:
    """A checkpoint's model and its tokenizer.

    Nothing of what a checkpoint holds is run, and no pickle is read.

    Args:
        checkpoint: a folder, or an id on the hub.
        revision: branch, tag or commit on the hub; None is the main branch.

    Raises:
        BundleError: it is no readable LLaVA.
        UnavailableError: a package that the placement needs is not installed, or there is no such device.
    """
    options: dict[str, Any] = {"trust_remote_code": False, "revision": revision or "main"}
    try:
        tokenizer = AutoTokenizer.from_pretrained(checkpoint, **options)
        model: Any = LlavaForConditionalGeneration.from_pretrained(
            checkpoint, use_safetensors=True, dtype=placement.dtype, **_places(placement), **options
        )
    except UnavailableError:
        raise
    # The files decide what is built, so anything that transformers and torch raise on odd ones comes here.
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise BundleError(f"{checkpoint} is no LLaVA that can be read: {reason}") from None
    return model.eval(), tokenizer


def _places(placement: Placement) -> dict[str, Any]:
    quantised: dict[str, Any] = {}
    if placement.bits is not None:
        _need("bitsandbytes", f"weights of {placement.bits} bits")
        make: Any = BitsAndBytesConfig
        quantised["quantization_config"] = make(
            load_in_4bit=placement.bits == 4,
            load_in_8bit=placement.bits == 8,
            bnb_4bit_compute_dtype=torch.float16,
        )
    if placement.device == "cpu" and not quantised:
        return {}
    _need("accelerate", f"the device {placement.device!r}" if not quantised else "quantised weights")
    if placement.device.startswith("cuda") and not torch.cuda.is_available():
        raise UnavailableError(f"there is no device {placement.device!r} for this torch")
    return {"device_map": placement.device, **quantised}


def _need(package: str, what: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise UnavailableError(f"{what}: this needs the package {package} (pip install {package})")
