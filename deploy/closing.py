"""How a testbed on this machine is closed: its devices' own tokens, and a throw-away authority that signs for all."""

import secrets
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.ports import HOST
from thinwire.access import ClientTls

# Whom the edge's token is of, among those of the file that is given.
EDGE = "thinwire-edge"


@dataclass(frozen=True)
class Closed:
    """What closes it.

    Attributes:
        token_files: of the tokens that its processes let in; none lets in anybody.
        edge_token: shown by the edge to the channel and, through it, to the cloud; None: nothing is.
        tls: whom clients must trust; None for plain text.
        cert: of all processes.
        key: of that certificate.
    """

    token_files: Sequence[Path] = ()
    edge_token: str | None = None
    tls: ClientTls | None = None
    cert: Path | None = None
    key: Path | None = None

    def arguments(self, name: str) -> list[str]:
        """Further arguments of ``thinwire NAME serve``."""
        given = [argument for path in self.token_files for argument in ("--token-file", str(path))]
        if self.tls is not None:
            given += ["--tls-cert", str(self.cert), "--tls-key", str(self.key)]
            given += [] if name == "cloud" else ["--ca", str(self.tls.ca)]
        return given

    def environment(self, name: str) -> dict[str, str]:
        """What the environment of a process has beside our own."""
        # Ours is a client's, and nothing of the link.
        return {"THINWIRE_TOKEN": (self.edge_token or "") if name == "edge" else ""}


@contextmanager
def closing(token_file: Path | None, has_tls: bool) -> Iterator[Closed]:
    """Tokens and certificates for as long as the block lasts.

    Args:
        token_file: of those who may ask; None lets everybody ask.
        has_tls: whether a throw-away authority is to sign a certificate.

    Raises:
        InvalidRequestError: the file is none.
        ModuleNotFoundError: what makes certificates is not installed.
    """
    if token_file is None and not has_tls:
        yield Closed()
        return
    with tempfile.TemporaryDirectory(prefix="thinwire-") as name:
        folder = Path(name)
        token, files = None, []
        if token_file is not None:
            from thinwire.access import TokenFile

            # Here, or three processes would say what is wrong with it.
            TokenFile(token_file)
            token, own = secrets.token_urlsafe(32), folder / "tokens"
            own.touch(mode=0o600)
            own.write_text(f"{EDGE}:{token}\n")
            files = [token_file, own]
        ca, cert, key = (folder / f"{what}.pem" for what in ("ca", "server", "key"))
        if has_tls:
            _sign(ca, cert, key)
        yield Closed(files, token, ClientTls(ca) if has_tls else None, cert, key)


def _sign(ca: Path, cert: Path, key: Path) -> None:
    import trustme

    authority = trustme.CA()
    made = authority.issue_cert(HOST, "localhost")
    authority.cert_pem.write_to_path(str(ca))
    key.touch(mode=0o600)
    made.private_key_pem.write_to_path(str(key))
    for one in made.cert_chain_pems:
        one.write_to_path(str(cert), append=True)
