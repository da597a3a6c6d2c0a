"""Exports into a bundle's folder."""

import logging
from collections.abc import Callable
from dataclasses import replace

import onnx

from cloud.torch_classifier import TorchClassifier
from edge.torch_engine import TorchEngine
from offline.export.cloud import export_cloud, export_plain
from offline.export.edge import export_edge
from offline.export.weights import WeightFiles, refer_to_files
from policies.files import write_whole
from thinwire.bundle import Bundle, file_sha256
from thinwire.errors import BundleError
from thinwire.exports import CLOUD, EDGE, PLAIN
from thinwire.onnx_session import OnnxSession

log = logging.getLogger(__name__)
# What one file of protobuf holds.
MOST_BYTES = 2**31 - 1


def export_bundle(bundle: Bundle) -> Bundle:
    """Write the graphs of what a bundle runs, and list them in its manifest; its digest stays.

    The device's side of every bundle, and the cloud's of one that classifies. Their weights are those of the bundle's
    files and stay there. Nothing is written before all of them can be run.

    Raises:
        BundleError: the weights are not those that the manifest describes, or torch cannot export them.
    """
    engine = TorchEngine.load(bundle)
    models: dict[str, Callable[[], onnx.ModelProto]] = {EDGE: lambda: export_edge(engine)}
    if bundle.task == "classify":
        classifier = TorchClassifier.load(bundle)
        models |= {CLOUD: lambda: export_cloud(classifier), PLAIN: lambda: export_plain(classifier)}
    files = WeightFiles(bundle.path(name) for name in bundle.files if "/" not in name and name.endswith(".safetensors"))
    contents = {}
    for name, make in models.items():
        log.info("exporting %s", name)
        contents[name] = _content(bundle, name, make, files)
    for name, content in contents.items():
        write_whole(bundle.path(name), content)
    bundle = replace(bundle, exports={name: file_sha256(bundle.path(name)) for name in contents})
    bundle.save()
    return bundle


def _content(bundle: Bundle, name: str, make: Callable[[], onnx.ModelProto], files: WeightFiles) -> bytes:
    try:
        model = make()
        refer_to_files(model.graph, files)
    # A tower may be anybody's, and torch raises many kinds of exception on what it cannot export.
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise BundleError(
            f"bundle {bundle.name}: no {name} can be exported: {type(error).__name__}: {reason}"
        ) from None
    if model.ByteSize() > MOST_BYTES:
        raise BundleError(f"bundle {bundle.name}: {name} would take {model.ByteSize()} bytes; one file holds 2 GiB")
    content: bytes = model.SerializeToString()
    OnnxSession(bundle, name, content)
    return content
