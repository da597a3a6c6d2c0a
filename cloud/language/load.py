"""A checkpoint from a folder or the Hugging Face hub: by default a LLaVA."""

import importlib.util
from typing import Any

import torch
from transformers import AutoConfig, AutoTokenizer, BitsAndBytesConfig, LlavaForConditionalGeneration

from thinwire.errors import BundleError, UnavailableError
from thinwire.nn.placement import Placement


def load_checkpoint(
    checkpoint: str, revision: str | None, placement: Placement, kind: Any = LlavaForConditionalGeneration
) -> tuple[Any, Any]:
    """A checkpoint's model and its tokenizer.

    Nothing of what a checkpoint holds is run, and no pickle is read.

    Args:
        checkpoint: a folder, or an id on the hub.
        revision: branch, tag or commit on the hub; None is the main branch.
        kind: the class of transformers that the model must be of.

    Raises:
        BundleError: it is no readable model of that kind.
        UnavailableError: a package that the placement needs is not installed, or there is no such device.
    """
    options: dict[str, Any] = {"trust_remote_code": False, "revision": revision or "main"}
    try:
        config = AutoConfig.from_pretrained(checkpoint, **options)
        if config.model_type != kind.config_class.model_type:
            # transformers would read it as far as the weights' names go, and answer something else.
            raise ValueError(f"model_type: expected {kind.config_class.model_type}, got {config.model_type}")
        tokenizer = AutoTokenizer.from_pretrained(checkpoint, **options)
        model: Any
        model, read = kind.from_pretrained(
            checkpoint,
            use_safetensors=True,
            dtype=placement.dtype,
            output_loading_info=True,
            **_places(placement),
            **options,
        )
        # Random numbers would take their place.
        if missing := sorted(read["missing_keys"]):
            raise ValueError(f"its weights lack {', '.join(missing[:3])}")
    except UnavailableError:
        raise
    # The files decide what is built, so anything that transformers and torch raise on odd ones comes here.
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        name = kind.__name__.removesuffix("ForConditionalGeneration")
        raise BundleError(f"{checkpoint} is no {name} that can be read: {reason}") from None
    if _is_one_gpu(placement):
        model = model.to(placement.device)
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
    # What accelerate spreads may end on the CPU.
    if placement.device.startswith("cuda"):
        placement.check()
    if not quantised and (placement.device == "cpu" or _is_one_gpu(placement)):
        return {}
    _need("accelerate", f"the device {placement.device!r}" if not quantised else "quantised weights")
    return {"device_map": placement.device, **quantised}


def _is_one_gpu(placement: Placement) -> bool:
    return placement.bits is None and placement.device.startswith("cuda")


def _need(package: str, what: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise UnavailableError(f"{what}: this needs the package {package} (pip install {package})")
