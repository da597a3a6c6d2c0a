"""Certificates for tests, written as PEM files."""

import datetime
import os
import time
from typing import NamedTuple

import pytest

from thinwire.access import ClientTls, ServerTls

trustme = pytest.importorskip("trustme", reason="the extra tls brings trustme")
NAMES = ("127.0.0.1", "::1", "localhost")


class Pair(NamedTuple):
    cert: object
    key: object


class Authority:
    """Somebody who signs, in a folder of its own."""

    def __init__(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self._ca = folder, trustme.CA()
        self.ca = folder / "ca.pem"
        self._ca.cert_pem.write_to_path(self.ca)

    def pair(self, name, *hosts, days=30, **options):
        """Certificate and key, which end in so many days."""
        ends = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
        begins = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=60)
        made = self._ca.issue_cert(*(hosts or NAMES), not_before=begins, not_after=ends, **options)
        pair = Pair(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        write(pair.cert, b"".join(one.bytes() for one in made.cert_chain_pems))
        write(pair.key, made.private_key_pem.bytes())
        return pair

    def server(self, name="server", mutual=False, **options):
        return ServerTls(*self.pair(name, **options), self.ca if mutual else None)

    def client(self, pair=None):
        return ClientTls(self.ca, *(pair or (None, None)))


def write(path, content, age_s=5.0):
    """Put a file in the place of another in one piece, as if it had lain there for a while."""
    new = path.with_name(path.name + ".new")
    new.write_bytes(content)
    written = time.time() - age_s
    os.utime(new, (written, written))
    new.replace(path)
