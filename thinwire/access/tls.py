"""TLS from PEM files, which may be replaced while a process serves."""

import logging
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinwire.access.files import Reloaded
from thinwire.errors import InvalidRequestError

if TYPE_CHECKING:
    import grpc

log = logging.getLogger(__name__)


class _Told(ssl.SSLObject):
    """A connection whose handshake, if it fails, is logged: asyncio says nothing of it."""

    def do_handshake(self) -> None:
        """Shake hands."""
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            tell(error)
            raise


def tell(error: ssl.SSLError) -> None:
    """Log that a connection was refused."""
    log.warning("TLS handshake failed; the connection is refused", extra={"why": reason(error)})


def reason(error: ssl.SSLError) -> str:
    """What OpenSSL says, without its source lines."""
    told: str | None = getattr(error, "verify_message", None)
    return told or (error.reason or str(error)).replace("_", " ").lower()


class _Renewed(ssl.SSLContext):
    """A context in whose place, for every new connection, stands the one that the files make now."""

    source: Reloaded[ssl.SSLContext]

    def wrap_bio(self, *args: Any, **options: Any) -> ssl.SSLObject:
        """As asyncio begins a connection."""
        return self.source.current.wrap_bio(*args, **options)

    def wrap_socket(self, *args: Any, **options: Any) -> ssl.SSLSocket:
        """As a thread begins one."""
        return self.source.current.wrap_socket(*args, **options)


@dataclass(frozen=True)
class ServerTls:
    """The certificate of what listens.

    Attributes:
        cert: PEM file of the certificate and what it was signed with.
        key: of its key, without a password.
        client_ca: of those who sign clients' certificates, which then are asked for; None: none is.

    Raises:
        InvalidRequestError: a file is missing or is none of that, or the key is another's.
    """

    cert: Path
    key: Path
    client_ca: Path | None = None
    _context: "Reloaded[ssl.SSLContext]" = field(init=False, repr=False, compare=False)
    _configuration: "Reloaded[Any]" = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        paths = (self.cert, self.key, *([self.client_ca] if self.client_ca else []))
        what = f"the certificate {self.cert}"
        object.__setattr__(self, "_context", Reloaded(paths, self._load, what))
        object.__setattr__(self, "_configuration", Reloaded(paths, self._configure, what))

    def context(self) -> ssl.SSLContext:
        """For asyncio and sockets; each new connection takes the files as they are then."""
        renewed = _Renewed(ssl.PROTOCOL_TLS_SERVER)
        renewed.source = self._context
        return renewed

    def grpc_credentials(self) -> "grpc.ServerCredentials":
        """For gRPC, likewise."""
        import grpc

        def configuration() -> Any:
            return self._configuration.current

        credentials: grpc.ServerCredentials = grpc.dynamic_ssl_server_credentials(
            configuration(), configuration, require_client_authentication=self.client_ca is not None
        )
        return credentials

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.sslobject_class = _Told
        _load_pair(context, self.cert, self.key)
        if self.client_ca:
            _load_ca(context, self.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def _configure(self) -> Any:
        import grpc

        # gRPC takes anything, and then refuses everybody.
        self._load()
        roots = self.client_ca.read_bytes() if self.client_ca else None
        return grpc.ssl_server_certificate_configuration([(self.key.read_bytes(), self.cert.read_bytes())], roots)


@dataclass(frozen=True)
class ClientTls:
    """What a client trusts, and shows of itself.

    Attributes:
        ca: PEM file of those who sign servers' certificates; None: those that this machine trusts.
        cert: of the client's own certificate; None: it has none.
        key: of its key, without a password.

    Raises:
        InvalidRequestError: a file is missing or is none of that, or there is one of certificate and key.
    """

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    def __post_init__(self) -> None:
        if (self.cert is None) != (self.key is None):
            raise InvalidRequestError("a client's certificate and its key go together: --client-cert and --client-key")
        try:
            self.context()
        except OSError as error:
            raise InvalidRequestError(f"cannot read the client's TLS files: {error}") from None

    @property
    def paths(self) -> tuple[Path, ...]:
        """Of all files."""
        return tuple(path for path in (self.ca, self.cert, self.key) if path)

    def context(self) -> ssl.SSLContext:
        """For HTTP."""
        context = ssl.create_default_context()
        if self.ca:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            _load_ca(context, self.ca)
        if self.cert and self.key:
            _load_pair(context, self.cert, self.key)
        return context

    def grpc_credentials(self) -> "grpc.ChannelCredentials":
        """For gRPC."""
        import grpc

        ca, key, cert = (path.read_bytes() if path else None for path in (self.ca, self.key, self.cert))
        credentials: grpc.ChannelCredentials = grpc.ssl_channel_credentials(ca, key, cert)
        return credentials


def _load_pair(context: ssl.SSLContext, cert: Path, key: Path) -> None:
    for path in (cert, key):
        # OpenSSL says of a missing file that there is none, and not which.
        path.stat()

    def password() -> str:
        raise InvalidRequestError(f"the key {key} has a password; write it without one")

    try:
        context.load_cert_chain(cert, key, password)
    except ssl.SSLError as error:
        raise InvalidRequestError(f"{cert} and {key} are no PEM certificate with its key: {reason(error)}") from None


def _load_ca(context: ssl.SSLContext, ca: Path) -> None:
    ca.stat()
    try:
        context.load_verify_locations(ca)
    except ssl.SSLError as error:
        raise InvalidRequestError(f"{ca} has no PEM certificates: {reason(error)}") from None
