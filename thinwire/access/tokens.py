"""The file of tokens: ``name:token[:infer,control,metrics]`` a line."""

import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from thinwire.access.callers import Caller
from thinwire.access.files import Reloaded
from thinwire.errors import InvalidRequestError

INFER, CONTROL, METRICS = "infer", "control", "metrics"
PERMISSIONS = (INFER, CONTROL, METRICS)
_NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")
# RFC 6750's.
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
_MAX_TOKEN = 512
# Of this process alone: how long a look-up takes tells nothing of a token to who does not know it.
_KEY = secrets.token_bytes(32)


@dataclass(frozen=True)
class _Tokens:
    by_digest: Mapping[bytes, Caller]
    by_name: Mapping[str, tuple[str, ...]]


class TokenFile:
    """Tokens of a file, read again when it changes.

    Empty lines and those that begin with # are none. A name may stand on several lines, each with a token of its own,
    so that one can be replaced while both are good.

    Args:
        path: of the file.

    Raises:
        InvalidRequestError: it cannot be read, or a line is none. The text has no token in it.
    """

    def __init__(self, *paths: Path) -> None:
        self._tokens = Reloaded(paths, lambda: _parse(paths), "the token file")

    def find(self, token: str) -> Caller | None:
        """Whose token it is."""
        found = self._tokens.current.by_digest.get(_digest(token))
        return found if found is not None and hmac.compare_digest(found.token.encode(), token.encode()) else None

    def of(self, name: str) -> tuple[str, ...]:
        """The tokens of a name; () for one that there is not."""
        return self._tokens.current.by_name.get(name, ())


def _digest(token: str) -> bytes:
    return blake2b(token.encode(errors="surrogateescape"), key=_KEY, digest_size=32).digest()


def _parse(paths: tuple[Path, ...]) -> _Tokens:
    by_digest: dict[bytes, Caller] = {}
    by_name: dict[str, tuple[str, ...]] = {}
    for path in paths:
        try:
            lines = path.read_text().splitlines()
        except UnicodeDecodeError:
            raise InvalidRequestError(f"{path} is no text") from None
        for number, line in enumerate(lines, 1):
            if line.strip() and not line.lstrip().startswith("#"):
                one = _caller(line.strip(), f"{path}, line {number}")
                if by_digest.setdefault(_digest(one.token), one) is not one:
                    raise InvalidRequestError(f"{path}, line {number}: this token stands in the file twice")
                by_name[one.name] = (*by_name.get(one.name, ()), one.token)
    if not by_digest:
        raise InvalidRequestError(f"no tokens in {', '.join(map(str, paths))}; a line is {_FORM}")
    return _Tokens(by_digest, by_name)


_FORM = f"name:token[:{','.join(PERMISSIONS)}]"


def _caller(line: str, where: str) -> Caller:
    name, _, rest = line.partition(":")
    token, has_permissions, permissions = rest.partition(":")
    if not _NAME.fullmatch(name):
        raise InvalidRequestError(f"{where}: expected {_FORM}, and a name of {_NAME.pattern}, got {_shown(name)!r}")
    if not _TOKEN.fullmatch(token) or len(token) > _MAX_TOKEN:
        raise InvalidRequestError(
            f"{where}: the token of {name} must be 1 to {_MAX_TOKEN} letters, digits and ._~+/- (= at its end)"
        )
    given = [one.strip() for one in permissions.split(",")] if has_permissions else [INFER]
    unknown = [one for one in given if one not in PERMISSIONS]
    if unknown:
        raise InvalidRequestError(
            f"{where}: permissions of {name} are {', '.join(PERMISSIONS)}, got {_shown(unknown[0])!r}"
        )
    return Caller(name, frozenset(given), token)


def _shown(text: str) -> str:
    # What stands in a wrong place may be a token.
    return text if len(text) <= 16 else f"{text[:4]}..."
