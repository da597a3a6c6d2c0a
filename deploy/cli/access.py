"""Who may ask a process, and as whom the next one and the clients ask: options, and what they make."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.cli.common import positive, positive_int

if TYPE_CHECKING:
    from thinwire.access import ClientTls, Security


def add_access(parser: argparse.ArgumentParser, link: str | None = None) -> None:
    """The options of a server.

    Args:
        link: the process that it connects to by itself, if there is one.
    """
    group = parser.add_argument_group("who may", "see docs/operations.md")
    group.add_argument(
        "--token-file",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="lines name:token[:infer,control,metrics], read again when it changes (default: anybody may ask)",
    )
    group.add_argument("--tls-cert", type=Path, metavar="FILE", help="PEM; read again when it changes")
    group.add_argument("--tls-key", type=Path, metavar="FILE", help="of the certificate, without a password")
    group.add_argument("--tls-client-ca", type=Path, metavar="FILE", help="who must have signed clients' certificates")
    group.add_argument("--insecure", action="store_true", help="do not warn of being open to other machines")
    group.add_argument("--rate-limit", type=positive, metavar="N", help="requests a second of one token's name")
    group.add_argument(
        "--concurrency-limit", type=positive_int, metavar="N", help="requests of one token's name at once"
    )
    if link is not None:
        _add_tls(group, f"of {link}; without it the connection is plain text")


def add_client_tls(
    parser: argparse.ArgumentParser, whose: str = "of the servers (default: those that this machine trusts)"
) -> None:
    """The options of a client."""
    _add_tls(parser, whose)


def _add_tls(parser: argparse._ActionsContainer, whose: str) -> None:
    parser.add_argument("--ca", type=Path, metavar="FILE", help=f"PEM of who signed the certificate {whose}")
    parser.add_argument("--client-cert", type=Path, metavar="FILE", help="PEM to show to it")
    parser.add_argument("--client-key", type=Path, metavar="FILE", help="of that certificate, without a password")


def security_of(options: argparse.Namespace) -> "Security":
    """What `add_access` asked for."""
    from thinwire.access import Limits, Security, ServerTls, TokenFile
    from thinwire.access.security import token_of_environment
    from thinwire.errors import InvalidRequestError

    if (options.tls_cert is None) != (options.tls_key is None):
        raise InvalidRequestError("a certificate and its key go together: --tls-cert and --tls-key")
    if options.tls_client_ca and options.tls_cert is None:
        raise InvalidRequestError("--tls-client-ca needs --tls-cert and --tls-key")
    has_link = hasattr(options, "ca")
    return Security(
        tokens=TokenFile(*options.token_file) if options.token_file else None,
        limits=Limits(options.rate_limit, options.concurrency_limit),
        tls=ServerTls(options.tls_cert, options.tls_key, options.tls_client_ca) if options.tls_cert else None,
        link_tls=link_tls_of(options) if has_link else None,
        link_token=token_of_environment() if has_link else None,
        insecure=options.insecure,
    )


def link_tls_of(options: argparse.Namespace) -> "ClientTls | None":
    """TLS of a connection over gRPC, which is plain text unless `--ca` says whom to trust.

    Raises:
        InvalidRequestError: there is a client's certificate, and nothing to show it to.
    """
    from thinwire.access import ClientTls
    from thinwire.errors import InvalidRequestError

    if options.ca is None and (options.client_cert or options.client_key):
        raise InvalidRequestError("--client-cert needs --ca: without it the connection is plain text")
    return ClientTls(options.ca, options.client_cert, options.client_key) if options.ca else None


def client_options(options: argparse.Namespace) -> dict[str, Any]:
    """What `add_client_tls` asked for, as the arguments of a `thinwire.Client`."""
    return {"ca": options.ca, "client_cert": options.client_cert, "client_key": options.client_key}
