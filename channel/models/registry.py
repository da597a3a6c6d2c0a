"""Channel models by name."""

from channel.models.awgn import Awgn
from channel.models.interface import ChannelModel
from channel.models.rayleigh import Rayleigh
from thinwire.errors import InvalidRequestError

_MODELS: dict[str, ChannelModel] = {"awgn": Awgn(), "rayleigh": Rayleigh()}


def names() -> list[str]:
    """The names of all models, in alphabetical order."""
    return sorted(_MODELS)


def get(name: str) -> ChannelModel:
    """The model of that name.

    Raises:
        InvalidRequestError: there is none.
    """
    if name not in _MODELS:
        raise InvalidRequestError(f"channel model must be one of {', '.join(names())}, got {name[:80]!r}")
    return _MODELS[name]


def register(name: str, model: ChannelModel) -> None:
    """Add a model to this process, before its proxy starts.

    Raises:
        ValueError: the name is empty (which stands for the link's own model) or taken.
    """
    if not name or name in _MODELS:
        raise ValueError(f"a channel model needs a name of its own, got {name!r}")
    _MODELS[name] = model
