"""An exported graph of a bundle on ONNX Runtime, with the project's own errors."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from thinwire.bundle import Bundle
from thinwire.errors import BundleError, EngineError
from thinwire.exports import FORMAT, METADATA
from thinwire.onnx_weights import Model, with_weights

_TYPES = {"uint8": "tensor(uint8)", "float32": "tensor(float)", "int64": "tensor(int64)", "bool": "tensor(bool)"}
_FATAL = 4


def open_session(model: Model, threads: int) -> onnxruntime.InferenceSession:
    """A session of a graph with the options that all of ours have."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    # Waking a thread costs more than most of the small nodes of merging. So they spin from node to node, but not from
    # image to image: that would take a core from the event loop.
    options.add_session_config_entry("session.intra_op.allow_spinning", "1")
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if model.folder is not None:
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(model.folder))
        # Copies in the order in which it multiplies would be a little faster, and double the memory.
        options.add_session_config_entry("session.disable_prepacking", "1")
    # Its errors come as exceptions, too.
    options.log_severity_level = _FATAL
    return onnxruntime.InferenceSession(model.content, options, providers=["CPUExecutionProvider"])


class OnnxSession:
    """One graph, to be run by one thread at a time.

    Args:
        bundle: that the graph was exported from.
        name: of the file, for messages.
        model: the file's content.
        threads: that one run is computed by.

    Attributes:
        metadata: what the export states of itself.
        shapes: of what it takes, by name; a dimension that varies is a name.

    Raises:
        BundleError: it is no graph, or one of another format or another bundle, or names weights that this one has not.
    """

    def __init__(self, bundle: Bundle, name: str, model: bytes, threads: int = 1) -> None:
        self._what = f"bundle {bundle.name}: {name}"
        try:
            self._session = open_session(with_weights(bundle, name, model), threads)
        except BundleError:
            raise
        # Whatever the file holds, and ONNX Runtime has a class of its own for each way in which that can be wrong.
        except Exception as error:
            raise BundleError(f"{self._what} cannot be loaded: {_short(error)}") from None
        self.metadata = self._read_metadata(bundle)
        self.shapes: dict[str, list[int | str]] = {one.name: one.shape for one in self._session.get_inputs()}
        self._outputs: list[str] = [output.name for output in self._session.get_outputs()]

    @classmethod
    def load(cls, bundle: Bundle, name: str, threads: int = 1) -> Self:
        """The graph of a file that the manifest vouches for.

        Raises:
            BundleError: there is none, or it is not as it was written, or does not fit.
        """
        return cls(bundle, name, bundle.exported(name).read_bytes(), threads)

    def _read_metadata(self, bundle: Bundle) -> dict[str, Any]:
        try:
            metadata = json.loads(self._session.get_modelmeta().custom_metadata_map[METADATA])
            found, digest = metadata["format"], metadata["bundle"]
        except (KeyError, TypeError, ValueError):
            raise BundleError(f"{self._what} is no export of this project") from None
        if found != FORMAT:
            raise BundleError(f"{self._what} has format {found}; this version reads {FORMAT}")
        if digest != bundle.digest:
            raise BundleError(f"{self._what} was exported from bundle {digest[:16]}, and not {bundle.digest[:16]}")
        return dict(metadata)

    def check(self, inputs: Iterable[tuple[str, str]], outputs: Sequence[str]) -> None:
        """Check what the graph takes and gives.

        Args:
            inputs: names and types.
            outputs: names, in order.

        Raises:
            BundleError: it takes or gives something else.
        """
        found = {value.name: value.type for value in self._session.get_inputs()}
        expected = {name: _TYPES[kind] for name, kind in inputs}
        if found != expected or self._outputs != list(outputs):
            raise BundleError(f"{self._what} does not take and give what such a graph does")

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """All outputs, in order.

        Raises:
            EngineError: the graph cannot be run.
        """
        try:
            return [np.asarray(output) for output in self._session.run(self._outputs, dict(inputs))]
        # ONNX Runtime has many classes of exceptions, none of which it documents.
        except Exception as error:
            raise EngineError(f"{self._what} cannot be run: {_short(error)}") from None


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
