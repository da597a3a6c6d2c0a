"""Where the checkpoint of a bundle's language or speech model lies."""

import re
from pathlib import Path

from thinwire.bundle import Bundle, Language, Speech, checkpoint_digest
from thinwire.errors import BundleError


def find_checkpoint(bundle: Bundle, model: Language | Speech) -> tuple[str, str | None]:
    """What ``model.checkpoint`` names: a folder of the bundle, an absolute one, or an id on the hub.

    Returns:
        folder or id, and the revision on the hub; None for its main branch and for folders, which are checked here.

    Raises:
        BundleError: none of these; an absolute folder holds another checkpoint; or the bundle's folder holds a file
            that the manifest does not vouch for.
    """
    name = model.checkpoint
    if Path(name).is_absolute():
        if model.revision is not None and checkpoint_digest(Path(name)) != model.revision:
            raise BundleError(f"bundle {bundle.name}: the checkpoint in {name} is missing, or was altered")
        return name, None
    inside = bundle.path(name)
    if name and ".." not in Path(name).parts and inside.is_dir():
        for path in sorted(inside.rglob("*")):
            if path.is_file():
                bundle.verified(path.relative_to(bundle.folder).as_posix())
        return str(inside), None
    if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", name):
        raise BundleError(
            f"bundle {bundle.name}: its checkpoint {name[:200]!r} is no folder of it, no absolute folder and no "
            "owner/name on the hub"
        )
    return name, model.revision
