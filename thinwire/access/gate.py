"""Who may, on any protocol: from what a request says of itself to whose it is, or why not."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from thinwire.access.callers import NOBODY, ON_BEHALF, Caller, caller, is_vouched, named
from thinwire.access.limits import Limits
from thinwire.access.tokens import TokenFile
from thinwire.errors import ForbiddenError, ThinwireError, UnauthenticatedError
from thinwire.memory import Memory

log = logging.getLogger(__name__)
# Where all links are open to everybody none is anyone's.
MAX_LINKS = 65_536
# A link that is silent for so long belongs to nobody any more.
LINK_S = 3600.0


class Gate:
    """Lets in those with a token, where there are tokens; and everybody else no more often than the limits say.

    Args:
        tokens: of those who may; None lets everybody in.
        limits: by name.
    """

    def __init__(self, tokens: TokenFile | None = None, limits: Limits | None = None) -> None:
        self._tokens = tokens
        self.limits = limits or Limits()
        self._links: Memory[str, str] = Memory(MAX_LINKS, max_age_s=LINK_S)

    @property
    def is_closed(self) -> bool:
        """Whether a token is asked for."""
        return self._tokens is not None

    def find(self, authorization: str | None, allowed: frozenset[str]) -> Caller:
        """Whose request it is.

        Args:
            authorization: of the request, as the header of this name in HTTP.
            allowed: permissions, of which one is needed.

        Raises:
            UnauthenticatedError: it has no token, or one that nobody has.
            ForbiddenError: the token's permissions are others.
        """
        if self._tokens is None:
            return NOBODY
        scheme, _, token = (authorization or "").strip().partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise UnauthenticatedError("a token is needed: authorization: Bearer TOKEN")
        found = self._tokens.find(token.strip())
        if found is None:
            raise UnauthenticatedError("this token is not known here", is_wrong=True)
        if not found.permissions & allowed:
            has = ", ".join(sorted(found.permissions))
            needed = " or ".join(sorted(allowed))
            raise ForbiddenError(f"the token of {found.name} permits {has}; this needs {needed}", needed)
        return found

    @contextmanager
    def request(self, authorization: str | None, allowed: frozenset[str], where: str) -> Iterator[Caller]:
        """Let a request in, which is somebody's during the block.

        Args:
            authorization: as for `find`.
            allowed: likewise.
            where: what is asked, for the log.

        Raises:
            UnauthenticatedError, ForbiddenError: see `find`.
            OverloadedError: see `thinwire.access.limits.Limits`.
        """
        with ExitStack() as stack:
            try:
                who = self.find(authorization, allowed)
                stack.enter_context(self.limits.request(who.name))
            except ThinwireError as error:
                log.warning("refused", extra={"where": where[:200], "error": error.code, "why": str(error)})
                raise
            stack.enter_context(named(who))
            yield who

    def owns_link(self, link_id: str) -> bool:
        """Whether a link is the caller's, or nobody's yet: then it becomes the caller's."""
        name = caller().name
        if self._links.get(link_id) not in (None, name):
            return False
        # Again, so that its time counts from now.
        self._links.put(link_id, name)
        return True

    @contextmanager
    def on_behalf(self, metadata: Iterable[tuple[str, Any]] | None, link_id: str, request_id: str) -> Iterator[None]:
        """Have the block be a request of whom a device asks for, if it proves that; else it stays the device's own."""
        told = dict(metadata or ()).get(ON_BEHALF)
        if self._tokens is None or not isinstance(told, str):
            yield
            return
        name = told.partition(" ")[0]
        if not is_vouched(told, name, self._tokens.of(name), link_id, request_id):
            yield
            return
        with named(Caller(name)):
            yield
