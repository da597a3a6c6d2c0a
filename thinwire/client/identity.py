"""As whom a client asks, and whom it trusts."""

from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

from thinwire.access.security import bearer, token_of_environment
from thinwire.access.tls import ClientTls
from thinwire.client.messages import options_for

File: TypeAlias = str | PathLike[str]


@dataclass(frozen=True)
class Identity:
    """A client's token and TLS files.

    Attributes:
        token: shown to every server; None: nothing is.
        tls: of the connections to addresses that begin with https; None: what httpx does by itself.
    """

    token: str | None = field(default=None, repr=False)
    tls: ClientTls | None = None

    @classmethod
    def of(cls, token: str | None, ca: File | None, client_cert: File | None, client_key: File | None) -> "Identity":
        """As it is given; without a token that of the environment.

        Raises:
            InvalidRequestError: no header can hold the token, or a file cannot be read.
        """
        files = [None if one is None else Path(one) for one in (ca, client_cert, client_key)]
        return cls(token_of_environment(token), ClientTls(*files) if any(files) else None)

    def options(self, base: str) -> dict[str, Any]:
        """Arguments of httpx's client for an address."""
        options = options_for(base) | {"headers": dict(bearer(self.token))}
        if self.tls is not None and base.lower().startswith("https:"):
            options["verify"] = self.tls.context()
        return options
