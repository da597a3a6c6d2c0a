"""Whose request is under way, and how one hop vouches for it at the next."""

import hmac
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

AUTHORIZATION = "authorization"
# Who asked the device for the frame, with proof that it did; see `vouched`.
ON_BEHALF = "thinwire-on-behalf"


@dataclass(frozen=True)
class Caller:
    """Somebody with a token.

    Attributes:
        name: of the token, which is what is logged; "" for anybody, where no tokens are asked for.
        permissions: what it may.
        token: itself.
    """

    name: str = ""
    permissions: frozenset[str] = frozenset()
    token: str = field(default="", repr=False)


NOBODY = Caller()
_caller: ContextVar[Caller] = ContextVar("thinwire_caller", default=NOBODY)


def caller() -> Caller:
    """Whose request is under way; what it leaves behind belongs to that name."""
    return _caller.get()


@contextmanager
def named(who: Caller) -> Iterator[None]:
    """Have the block be a request of somebody, in what it keeps and logs."""
    before = _caller.set(who)
    try:
        yield
    finally:
        _caller.reset(before)


def vouched(who: Caller, link_id: str, request_id: str) -> tuple[tuple[str, str], ...]:
    """The metadata by which a device tells for whom it sends a frame; () for nobody.

    It is the name with an HMAC of the frame's ids under the token, which proves that the token came to the device and
    gives it to nobody on the way.
    """
    if not who.token:
        return ()
    return ((ON_BEHALF, f"{who.name} {_proof(who.token, link_id, request_id)}"),)


def is_vouched(told: str, name: str, tokens: Iterable[str], link_id: str, request_id: str) -> bool:
    """Whether what a device tells is proof of a request by this name, one of whose tokens it knew."""
    proofs = (f"{name} {_proof(token, link_id, request_id)}".encode() for token in tokens)
    return any(hmac.compare_digest(told.encode(), proof) for proof in proofs)


def _proof(token: str, link_id: str, request_id: str) -> str:
    return hmac.digest(token.encode(), f"{link_id}\n{request_id}".encode(), "sha256").hex()
