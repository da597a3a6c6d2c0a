"""How one process is closed, and what it shows the next."""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from thinwire.access.callers import AUTHORIZATION
from thinwire.access.limits import Limits
from thinwire.access.tls import ClientTls, ServerTls
from thinwire.access.tokens import TokenFile
from thinwire.addresses import parse_address
from thinwire.errors import InvalidRequestError

log = logging.getLogger(__name__)
TOKEN_VARIABLE = "THINWIRE_TOKEN"


@dataclass(frozen=True)
class Security:
    """Who may reach a process, and as whom it reaches the next one.

    Attributes:
        tokens: of those who may ask; None: anybody.
        limits: of what a name may ask for; None: anything.
        tls: of what listens; None: plain text.
        link_tls: of the connection to the next process; None: plain text.
        link_token: shown to it; None: nothing is.
        insecure: say nothing of being open to others.
    """

    tokens: TokenFile | None = None
    limits: Limits | None = None
    tls: ServerTls | None = None
    link_tls: ClientTls | None = None
    link_token: str | None = None
    insecure: bool = False

    def warn(self, addresses: Sequence[str]) -> None:
        """Log once if the process is open to other machines.

        Args:
            addresses: ``HOST:PORT`` of all that it listens on.
        """
        beyond = [address for address in addresses if not _is_loopback(address)]
        is_anybodys = self.tokens is None and not (self.tls and self.tls.client_ca)
        lacks = [
            *(["tokens (--token-file)"] if is_anybodys else []),
            *(["TLS (--tls-cert, --tls-key)"] if self.tls is None else []),
        ]
        if beyond and lacks and not self.insecure:
            log.warning(
                f"other machines reach {', '.join(beyond)} without {' and without '.join(lacks)}; "
                "--insecure if that is meant"
            )


def token_of_environment(given: str | None = None) -> str | None:
    """The token that was given, or that of the environment; None for neither.

    Raises:
        InvalidRequestError: no header can hold it.
    """
    token = (os.environ.get(TOKEN_VARIABLE, "") if given is None else given).strip()
    if not token:
        return None
    if not token.isascii() or not token.isprintable() or " " in token:
        raise InvalidRequestError(f"the token ({TOKEN_VARIABLE}) must be printable ASCII without spaces")
    return token


def bearer(token: str | None) -> tuple[tuple[str, str], ...]:
    """The header, or metadata, that shows a token; () for none."""
    return ((AUTHORIZATION, f"Bearer {token}"),) if token else ()


def _is_loopback(address: str) -> bool:
    host = parse_address(address, "the address").host
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
