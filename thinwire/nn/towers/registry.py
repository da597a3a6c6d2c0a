"""Towers by name: our own, then those of installed packages."""

from importlib.metadata import EntryPoint, entry_points
from typing import Any

from thinwire.errors import BundleError
from thinwire.nn.towers.interface import Tower

GROUP = "thinwire.towers"
# By where they stand rather than imported, since transformers takes seconds to import. A manifest names no such path:
# that would run whatever a bundle likes.
OWN = {
    "timm": "thinwire.nn.towers.timm_tower:TimmTower",
    "transformers": "thinwire.nn.towers.hub_tower:HubTower",
    "clip": "thinwire.nn.towers.encoder_tower:ClipTower",
    "siglip": "thinwire.nn.towers.encoder_tower:SiglipTower",
    "whisper": "thinwire.nn.towers.whisper_tower:WhisperTower",
}


def find_tower(name: str) -> type[Tower]:
    """The class of a tower.

    Raises:
        BundleError: none of that name is installed, or what is cannot be imported.
    """
    found = {entry.name: entry for entry in entry_points(group=GROUP)}
    found |= {own: EntryPoint(own, path, GROUP) for own, path in OWN.items()}
    # A manifest may hold anything here.
    if not isinstance(name, str) or name not in found:
        raise BundleError(f"no tower {name!r} is installed; there are {', '.join(sorted(found))}")
    try:
        tower: type[Tower] = found[name].load()
    except (ImportError, AttributeError) as error:
        raise BundleError(f"the tower {name!r} ({found[name].value}) cannot be imported: {error}") from None
    return tower


def build_tower(spec: dict[str, Any]) -> Tower:
    """Build a tower with random weights.

    Args:
        spec: the ``model`` of a manifest. ``tower`` names the class, which reads the rest; without it, timm's (see
            `thinwire.nn.backbone.build_backbone`).

    Raises:
        BundleError: no such tower is installed, it cannot be built so, or it is none.
    """
    name = spec.get("tower", "timm")
    kind = find_tower(name)
    if not hasattr(kind, "from_spec"):
        raise BundleError(f"expected a class with from_spec as tower {name!r}, got {kind!r}")
    try:
        tower = kind.from_spec(spec)
    except BundleError:
        raise
    # The manifest decides what is built, so anything that a library raises on odd values comes here.
    except Exception as error:
        reason = " ".join(str(error).split())
        raise BundleError(f"no {name} tower can be built: {type(error).__name__}: {reason}") from None
    if not isinstance(tower, Tower):
        raise BundleError(f"the tower {name!r} ({kind.__module__}:{kind.__qualname__}) is not all that a Tower is")
    return tower
