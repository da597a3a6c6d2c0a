"""Which engine computes: ONNX Runtime, or torch."""

from collections.abc import Iterable
from importlib.util import find_spec
from typing import TYPE_CHECKING

from thinwire.bundle import Bundle
from thinwire.errors import UnavailableError
from thinwire.exports import CLOUD, EDGE, PLAIN

if TYPE_CHECKING:
    from cloud.answerer import Classifier
    from edge.engine import Engine


def edge_engine(bundle: Bundle, engine: str, threads: int) -> "Engine":
    """The device's side of a bundle.

    Args:
        engine: "onnx", "torch", or "auto": the first where it can, else the second.
        threads: that compute.

    Raises:
        BundleError: the bundle cannot be run so.
        UnavailableError: what the engine needs is not installed.
    """
    if _takes_onnx(bundle, engine, [EDGE]):
        from edge.onnx_engine import OnnxEngine

        return OnnxEngine.load(bundle, threads)
    _prepare_torch(bundle, engine, threads)
    from edge.torch_engine import TorchEngine

    return TorchEngine.load(bundle)


def cloud_classifier(bundle: Bundle, engine: str, threads: int) -> "Classifier":
    """The cloud's side of a bundle that classifies; arguments and errors are those of `edge_engine`."""
    if _takes_onnx(bundle, engine, [CLOUD, PLAIN]):
        from cloud.onnx_classifier import OnnxClassifier

        return OnnxClassifier.load(bundle, threads)
    _prepare_torch(bundle, engine, threads)
    from cloud.torch_classifier import TorchClassifier

    return TorchClassifier.load(bundle)


def _takes_onnx(bundle: Bundle, engine: str, names: Iterable[str]) -> bool:
    installed = find_spec("onnxruntime") is not None
    if engine == "onnx" and not installed:
        raise UnavailableError("onnxruntime is not installed; --engine torch does without")
    return engine == "onnx" or (engine == "auto" and installed and bundle.exports.keys() >= set(names))


def _prepare_torch(bundle: Bundle, engine: str, threads: int) -> None:
    if find_spec("torch") is None:
        hint = "" if engine == "torch" else f", and bundle {bundle.name} was not exported (thinwire bundle export)"
        raise UnavailableError(f"torch is not installed{hint}")
    import torch

    torch.set_num_threads(threads)
