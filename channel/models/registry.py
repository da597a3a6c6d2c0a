"""Channel models by name: our own, then those of installed packages."""

from functools import cache, lru_cache
from importlib.metadata import EntryPoint, entry_points

from channel.models.awgn import Awgn
from channel.models.clipping import Clipping
from channel.models.erasure import Erasure
from channel.models.gilbert_elliott import GilbertElliott
from channel.models.interface import ChannelModel
from channel.models.jakes import Jakes
from channel.models.ofdm import Ofdm
from channel.models.phase_noise import PhaseNoise
from channel.models.rayleigh import Rayleigh
from channel.models.rician import Rician
from thinwire import spec
from thinwire.errors import InvalidRequestError

GROUP = "thinwire.channels"
_MODELS: dict[str, type[ChannelModel]] = {
    "awgn": Awgn,
    "clipping": Clipping,
    "erasure": Erasure,
    "gilbert_elliott": GilbertElliott,
    "jakes": Jakes,
    "ofdm": Ofdm,
    "phase_noise": PhaseNoise,
    "rayleigh": Rayleigh,
    "rician": Rician,
}


def names() -> list[str]:
    """The names of all models, in alphabetical order."""
    return sorted(_MODELS.keys() | _installed().keys())


@lru_cache(maxsize=256)
def get(text: str) -> ChannelModel:
    """The model that a text names, such as ``awgn`` or ``rician:k_db=6,coherence=16``; one for all frames that name it.

    Raises:
        InvalidRequestError: there is none of that name, it cannot be imported, or it does not take these parameters.
    """
    return _build(text)[1]


@lru_cache(maxsize=256)
def canonical(text: str) -> str:
    """The text that all texts of an equal model become: parameters in their own order, without those at their defaults.

    Raises:
        InvalidRequestError: as for `get`.
    """
    return spec.spell(*_build(text))


def register(name: str, model: type[ChannelModel]) -> None:
    """Add a model to this process, before its proxy starts.

    A package that is installed adds one to every process by an entry point of the group ``thinwire.channels``.

    Raises:
        ValueError: the name is empty (which stands for the link's own model), taken, or has a colon.
    """
    if not name or ":" in name or name in _MODELS:
        raise ValueError(f"a channel model needs a name of its own, got {name!r}")
    _MODELS[name] = model


def _build(text: str) -> tuple[str, ChannelModel]:
    name, given = spec.parse("channel model", text)
    if name not in _MODELS and name not in _installed():
        raise InvalidRequestError(f"channel model must be one of {', '.join(names())}, got {name!r}")
    return name, spec.build(f"channel model {name}", _MODELS.get(name) or _load(_installed()[name]), given)


@cache
def _installed() -> dict[str, EntryPoint]:
    # Reading what is installed takes milliseconds: too long for every frame.
    return {entry.name: entry for entry in entry_points(group=GROUP) if entry.name not in _MODELS}


@cache
def _load(entry: EntryPoint) -> type[ChannelModel]:
    try:
        model: type[ChannelModel] = entry.load()
    except (ImportError, AttributeError) as error:
        raise InvalidRequestError(f"channel model {entry.name!r} ({entry.value}) cannot be imported: {error}") from None
    return model
