"""A store's connections: SQLite or PostgreSQL by URL, with errors that a user can act on."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from thinwire.errors import StoreError

WAIT_FOR_LOCK_MS = 30_000
CONNECT_TIMEOUT_S = 10
# Without a driver's name, SQLAlchemy takes the same two.
_DRIVERS = ("sqlite", "sqlite+pysqlite", "postgresql", "postgresql+psycopg")
_SECRETS = ("password", "sslpassword")


class Database:
    """Connections to a database, open until `close`.

    Args:
        url: a database as SQLAlchemy names it, e.g. ``sqlite:///policies.db``.
        create: whether to make a SQLite file, and its folder, where there are none.

    Raises:
        StoreError: the URL is wrong, the driver is missing, or there is no such file. No message holds a password.
    """

    def __init__(self, url: str, create: bool) -> None:
        try:
            parsed = sa.make_url(url)
        except (SQLAlchemyError, ValueError):
            # Not repeated here: it may hold a password.
            raise StoreError("the store needs a database URL such as sqlite:///policies.db; got none") from None
        self.name = parsed.difference_update_query(_SECRETS).render_as_string(hide_password=True)
        if parsed.drivername not in _DRIVERS:
            raise StoreError(f"policy store {self.name}: expected sqlite:/// or postgresql+psycopg://")
        is_sqlite = parsed.get_backend_name() == "sqlite"
        with self.errors("open it"):
            self._engine = _sqlite(parsed, self.name, create) if is_sqlite else _postgresql(parsed, self.name)

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    @contextmanager
    def transaction(self, doing: str) -> Iterator[sa.Connection]:
        """A transaction of its own, committed at the end of the ``with`` block.

        Args:
            doing: what it is for, as "list its studies".

        Raises:
            StoreError: the database failed it; the message says what could not be done.
        """
        with self.errors(doing), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def errors(self, doing: str) -> Iterator[None]:
        """Turns what a database, its driver or the file system raises into a `StoreError`."""
        try:
            yield
        except (SQLAlchemyError, OSError) as error:
            # SQLAlchemy's own text goes on with the statement and its parameters, which helps no user.
            reason = getattr(error, "orig", None) or error
            raise StoreError(f"policy store {self.name}: cannot {doing}: {reason}") from error


def _sqlite(url: sa.URL, name: str, create: bool) -> sa.Engine:
    if url.database and url.database != ":memory:":
        if not create and not Path(url.database).exists():
            raise StoreError(f"policy store {name}: there is none")
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(url)
    sa.event.listen(engine, "connect", _configure_sqlite)
    return engine


def _configure_sqlite(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    cursor = connection.cursor()
    try:
        cursor.execute(f"PRAGMA busy_timeout = {WAIT_FOR_LOCK_MS}")
        _switch_to_wal(cursor)
        # Some builds of SQLite write ahead without waiting for the disk, and lose what they said they kept.
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.close()
    except BaseException:
        connection.close()
        raise


def _switch_to_wal(cursor: DBAPICursor) -> None:
    # Of two processes that switch a new file at once, SQLite fails one at once, whatever its busy timeout: both hold
    # the read lock that the other waits for.
    deadline = time.monotonic() + WAIT_FOR_LOCK_MS / 1e3
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _postgresql(url: sa.URL, name: str) -> sa.Engine:
    settings = {
        "connect_timeout": CONNECT_TIMEOUT_S,
        # Otherwise psycopg gives bytes for texts of a database without an encoding.
        "client_encoding": "utf8",
        "options": f"-c lock_timeout={WAIT_FOR_LOCK_MS}",
        # What was sent to a machine that has vanished is otherwise waited for a quarter of an hour.
        "tcp_user_timeout": WAIT_FOR_LOCK_MS,
    }
    given = {key: value for key, value in settings.items() if key not in url.query}
    try:
        # A connection is tried before it is used again: the server may have ended it in between. The isolation is
        # PostgreSQL's default, which a server may have set to one that fails concurrent writers.
        return sa.create_engine(url, connect_args=given, pool_pre_ping=True, isolation_level="READ COMMITTED")
    except ImportError as error:
        raise StoreError(
            f"policy store {name}: PostgreSQL needs its driver: pip install -e '.[postgresql]' ({error})"
        ) from None
