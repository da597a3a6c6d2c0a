"""What bundles are to the protocol: models with tensors; their versions are their digests."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import thinwire
from thinwire.bundle import Bundle
from thinwire.errors import UnknownModelError, UnknownTaskError
from thinwire.kserve.tensors import Spec
from thinwire.rest.models import unknown_model
from thinwire.rest.schemas import Parameters, VqaParameters

# Of one request: each costs decoding and the model, and the protocol has one answer for all.
MAX_IMAGES = 64
PLATFORM = "thinwire"
EXTENSIONS = ("binary_tensor_data", "classification")
IMAGE = Spec("image", ("BYTES",), (-1,))
PIXELS = Spec("pixels", ("UINT8", "FP32"), (-1, -1, -1, 3))
QUESTION = Spec("question", ("BYTES",), (-1,))
_INPUTS = {"classify": (IMAGE, PIXELS), "vqa": (IMAGE, PIXELS, QUESTION)}
_OUTPUTS = {
    "classify": (Spec("label", ("BYTES",), (-1, -1)), Spec("score", ("FP32",), (-1, -1))),
    "vqa": (Spec("answer", ("BYTES",), (-1,)), Spec("score", ("FP32",), (-1,))),
}
_LINK = (Spec("channel_uses", ("INT64",), (-1,)), Spec("tokens", ("INT64",), (-1,)), Spec("policy", ("BYTES",), (-1,)))


@dataclass(frozen=True)
class Row:
    """What became of one image.

    Attributes:
        outputs: labels with their scores, the best first; or one answer with its own.
        channel_uses: what its frame cost; 0 where there is no link.
        tokens: of its frame; likewise.
        policy: id of the policy that served; likewise "".
    """

    outputs: tuple[tuple[str, float], ...]
    channel_uses: int = 0
    tokens: int = 0
    policy: str = ""


class Backend(Protocol):
    """What answers: the service of an edge or of a cloud.

    Attributes:
        name: of the server.
        bundles: what it serves.
        has_link: whether images cross one, whose costs are outputs.
        window: images of one request that are under way at once.
    """

    name: str
    bundles: list[Bundle]
    has_link: bool
    window: int

    async def ready(self) -> bool:
        """Whether requests can be answered now."""
        ...

    def counting_failure(self) -> AbstractContextManager[None]:
        """Count a request that fails before any image of it is counted by `classify` or `ask`."""
        ...

    def check(self, parameters: Parameters | VqaParameters) -> None:
        """Refuse what would have no effect here.

        Raises:
            InvalidRequestError: there is such a thing.
        """
        ...

    async def classify(self, image: bytes, parameters: Parameters, deadline_s: float) -> Row:
        """The labels of one encoded image, by the bundle ``parameters.model``.

        Args:
            image: as it came.
            parameters: how to answer.
            deadline_s: when nobody waits any more, by the event loop's clock.
        """
        ...

    async def ask(self, image: bytes, question: str, parameters: VqaParameters, deadline_s: float) -> Row:
        """The answer to a question about one encoded image; as for `classify`."""
        ...


def inputs_of(bundle: Bundle) -> tuple[Spec, ...]:
    """The tensors that a bundle takes; `IMAGE` and `PIXELS` stand for one another."""
    return _INPUTS[bundle.task]


def outputs_of(bundle: Bundle, has_link: bool) -> tuple[Spec, ...]:
    """The tensors that it gives."""
    return _OUTPUTS[bundle.task] + (_LINK if has_link else ())


def find(backend: Backend, name: str, version: str = "") -> Bundle:
    """The bundle that a request names.

    Args:
        backend: what serves it.
        name: of the bundle.
        version: its digest; "" takes the one that is served.

    Raises:
        UnknownModelError: none has that name, or it has another digest.
        UnknownTaskError: the protocol has no tensors for its task.
    """
    for bundle in backend.bundles:
        if bundle.name != name:
            continue
        if bundle.task not in _INPUTS:
            raise UnknownTaskError(f"model {name!r} is for the task {bundle.task!r}, which is not offered under /v2")
        if version not in ("", bundle.digest):
            raise UnknownModelError(f"model {name!r} has the version {bundle.digest}, got {version[:80]!r}")
        return bundle
    raise unknown_model(name, [bundle for bundle in backend.bundles if bundle.task in _INPUTS])


def describe(bundle: Bundle, has_link: bool) -> dict[str, Any]:
    """A model's metadata, as both REST and gRPC have them."""

    def tensors(specs: Sequence[Spec]) -> list[dict[str, Any]]:
        return [{"name": spec.name, "datatype": spec.datatypes[0], "shape": list(spec.shape)} for spec in specs]

    return {
        "name": bundle.name,
        "versions": [bundle.digest],
        "platform": PLATFORM,
        "inputs": tensors(inputs_of(bundle)),
        "outputs": tensors(outputs_of(bundle, has_link)),
    }


def describe_server(backend: Backend) -> dict[str, Any]:
    """A server's metadata, likewise."""
    # A checkout that is not installed has none.
    version = getattr(thinwire, "__version__", "")
    return {"name": backend.name, "version": version, "extensions": list(EXTENSIONS)}
