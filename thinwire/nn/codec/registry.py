"""Encoders by name: our own, then those of installed packages."""

from importlib.metadata import entry_points

from thinwire.bundle import MLP, Codec
from thinwire.errors import BundleError
from thinwire.nn.codec.attention import AttentionEncoder
from thinwire.nn.codec.encoder import JsccEncoder
from thinwire.nn.codec.mlp import MlpEncoder

GROUP = "thinwire.encoders"
OWN: dict[str, type[JsccEncoder]] = {MLP: MlpEncoder, "attention": AttentionEncoder}


def find_encoder(name: str) -> type[JsccEncoder]:
    """The class of an encoder.

    Raises:
        BundleError: none of that name is installed, what is cannot be imported, or it is none.
    """
    if name in OWN:
        return OWN[name]
    installed = {entry.name: entry for entry in entry_points(group=GROUP)}
    if name not in installed:
        raise BundleError(f"no encoder {name!r} is installed; there are {', '.join(sorted(OWN | installed))}")
    try:
        found = installed[name].load()
    except Exception as error:
        raise BundleError(f"the encoder {name!r} ({installed[name].value}) cannot be imported: {error}") from None
    if not (isinstance(found, type) and issubclass(found, JsccEncoder)):
        raise BundleError(f"expected a class of JsccEncoder as encoder {name!r}, got {found!r}")
    return found


def build_encoder(codec: Codec, width: int) -> JsccEncoder:
    """The encoder of a codec, for tokens of a width, with random weights.

    Raises:
        BundleError: see `find_encoder`.
    """
    return find_encoder(codec.encoder)(width, codec.hidden, codec.max_symbols_per_token)
