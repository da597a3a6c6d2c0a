"""A PostgreSQL server of the tests' own, from the programs that Debian's package installs."""

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psycopg

PASSWORD = "p4ss-never-to-be-shown"
# The folder of the server's programs. Set, its tests do not skip.
PROGRAMS = "THINWIRE_POSTGRESQL"
START_TIMEOUT_S = 60.0


def programs() -> Path | None:
    """Where the newest server's programs are; None if there are none."""
    if named := os.environ.get(PROGRAMS):
        return Path(named)
    found = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    return max((path.parent for path in found), key=lambda path: float(path.parts[-2]), default=None)


class Server:
    """A server on a socket in a temporary folder, with its disk writes waited for as in earnest.

    Args:
        folder: of the programs.
    """

    def __init__(self, folder: Path) -> None:
        self._programs = folder
        # Short, since the path of a socket must be; under /tmp, since the server's user must reach it.
        self._root = Path(tempfile.mkdtemp(prefix="thinwire-pg-"))
        # The server refuses to run as root.
        self._user: Mapping[str, Any] = {}
        if os.getuid() == 0:
            shutil.chown(self._root, "postgres", "postgres")
            self._user = {"user": "postgres", "group": "postgres", "extra_groups": []}
        self.process: subprocess.Popen[bytes] | None = None
        password = self._root / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        self._run("initdb", "-D", self._data, "-U", "postgres", "-E", "UTF8", "--locale=C",
                  "--data-checksums", "--auth=scram-sha-256", f"--pwfile={password}")  # fmt: skip

    @property
    def _data(self) -> Path:
        return self._root / "data"

    def _run(self, program: str, *arguments: object) -> None:
        command = [self._programs / program, *map(str, arguments)]
        done = subprocess.run(
            command, cwd=self._root, capture_output=True, text=True, timeout=60, check=False, **self._user
        )
        assert done.returncode == 0, done.stderr

    def url(self, database: str) -> str:
        """The URL of a database, as a store takes it."""
        return f"postgresql+psycopg://postgres:{PASSWORD}@/{database}?host={self._root}"

    def empty_database(self) -> str:
        """The URL of the one database of all tests, emptied: files of many would make each recovery slow."""
        self.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'postgres' "
            "AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
        self.execute("DROP SCHEMA public CASCADE")
        self.execute("CREATE SCHEMA public")
        return self.url("postgres")

    def execute(self, statement: str) -> Sequence[tuple[Any, ...]]:
        """Runs a statement outside of transactions; returns its rows, if it has any."""
        with self._connect() as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def _connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        return psycopg.connect(self._conninfo, autocommit=True)

    def start(self) -> None:
        """Start, unless it runs, and wait until it answers; after a crash that includes its recovery."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            # What is left of a killed server keeps the next one from starting until it is gone.
            if self.process is None or self.process.poll() is not None:
                with (self._root / "log").open("ab") as log:
                    self.process = subprocess.Popen(
                        [self._programs / "postgres", "-D", self._data, "-k", self._root, "-c", "listen_addresses="],
                        cwd=self._root, stdout=log, stderr=log, **self._user,
                    )  # fmt: skip
            try:
                self._connect().close()
                return
            except psycopg.OperationalError:
                assert time.monotonic() < deadline, self._log()
                time.sleep(0.05)

    def stop(self, number: int = signal.SIGQUIT) -> None:
        """Send a signal to the first of the server's processes, and wait for its end.

        SIGQUIT stops at once, without a word to the disk; SIGINT ends sessions first; SIGKILL leaves the others behind.
        """
        assert self.process is not None
        self.process.send_signal(number)
        self.process.wait(START_TIMEOUT_S)

    def dump(self) -> Path:
        """A file that ``pg_dump`` wrote of the tests' database."""
        written = self._root / "dump.sql"
        self._run("pg_dump", "-d", self._conninfo, "--clean", "--if-exists", "-f", written)
        return written

    def restore(self, dump: Path) -> None:
        """What ``psql`` makes of a dump."""
        self._run("psql", "-d", self._conninfo, "-v", "ON_ERROR_STOP=1", "-q", "-f", dump)

    @property
    def _conninfo(self) -> str:
        return psycopg.conninfo.make_conninfo(
            host=str(self._root), user="postgres", password=PASSWORD, dbname="postgres"
        )

    def kill_a_backend(self) -> None:
        """Kill one session's process, which makes the server end all others and recover; wait for that."""
        ((backend,),) = self.execute(
            "SELECT pid FROM pg_stat_activity "
            "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() ORDER BY pid LIMIT 1"
        )
        before = self.recoveries()
        os.kill(backend, signal.SIGKILL)
        deadline = time.monotonic() + START_TIMEOUT_S
        while self.recoveries() == before:
            assert time.monotonic() < deadline, self._log()
            time.sleep(0.01)

    def remove(self) -> None:
        """Stop and delete everything."""
        if self.process is not None and self.process.poll() is None:
            self.stop()
        shutil.rmtree(self._root)

    def recoveries(self) -> int:
        """How often it found that it had not been shut down."""
        return len(re.findall("automatic recovery in progress|all server processes terminated", self._log()))

    def _log(self) -> str:
        return (self._root / "log").read_text()
