"""A store's database: its connections, SQLite or PostgreSQL by URL, with errors a user can act on; and its tables."""

import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from thinwire.errors import StoreError

SCHEMA_VERSION = 2
# Held while tables are made: PostgreSQL lets two sessions that make the same table at once fail each other.
_ADVISORY_LOCK = 0x7468696E77697265
WAIT_FOR_LOCK_MS = 30_000
CONNECT_TIMEOUT_S = 10
# Without a driver's name, SQLAlchemy takes the same two.
_DRIVERS = ("sqlite", "sqlite+pysqlite", "postgresql", "postgresql+psycopg")
_SECRETS = ("password", "sslpassword")

metadata = sa.MetaData()
schema_version = sa.Table(
    "schema_version", metadata, sa.Column("version", sa.Integer, primary_key=True, autoincrement=False)
)


def _table(name: str, *columns: sa.Column[Any], unique: tuple[str, ...]) -> sa.Table:
    """A table whose rows have a number and the time when they were kept."""
    created = sa.Column("created", sa.DateTime(timezone=True), nullable=False)
    return sa.Table(
        name, metadata, sa.Column("id", sa.Integer, primary_key=True), *columns, created, sa.UniqueConstraint(*unique)
    )


def _of_study() -> sa.Column[Any]:
    return sa.Column("study_id", sa.ForeignKey("studies.id"), nullable=False)


studies = _table(
    "studies",
    sa.Column("name", sa.String, nullable=False),
    sa.Column("bundle_name", sa.String, nullable=False),
    sa.Column("bundle_digest", sa.String, nullable=False),
    sa.Column("channel", sa.JSON, nullable=False),
    sa.Column("split", sa.String, nullable=False),
    sa.Column("data_digest", sa.String, nullable=False),
    sa.Column("seed", sa.BigInteger, nullable=False),
    sa.Column("versions", sa.JSON, nullable=False),
    sa.Column("settings", sa.JSON, nullable=False),
    unique=("name",),
)
trials = _table(
    "trials",
    _of_study(),
    sa.Column("policy_digest", sa.String, nullable=False),
    sa.Column("thresholds", sa.JSON, nullable=False),
    sa.Column("symbols_per_token", sa.Integer, nullable=False),
    sa.Column("max_tokens", sa.Integer),
    sa.Column("objectives", sa.JSON, nullable=False),
    sa.Column("accuracy_by_snr", sa.JSON, nullable=False),
    sa.Column("sensitive_below_db", sa.Float),
    sa.Column("provenance", sa.JSON, nullable=False),
    sa.Column("source", sa.String, nullable=False),
    sa.Column("seconds", sa.Float),
    sa.Column("suggesting_seconds", sa.Float),
    unique=("study_id", "policy_digest"),
)
baselines = _table(
    "baselines",
    _of_study(),
    sa.Column("family", sa.String, nullable=False),
    sa.Column("parameters_digest", sa.String, nullable=False),
    sa.Column("parameters", sa.JSON, nullable=False),
    sa.Column("objectives", sa.JSON, nullable=False),
    unique=("study_id", "family", "parameters_digest"),
)
fronts = _table(
    "fronts",
    _of_study(),
    sa.Column("bundle_digest", sa.String, nullable=False),
    sa.Column("front_digest", sa.String, nullable=False),
    sa.Column("content", sa.JSON, nullable=False),
    unique=("study_id", "front_digest"),
)


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


def prepare(connection: sa.Connection, name: str, create: bool) -> None:
    """Make what is missing, and check the version.

    A kill in between leaves what the next call completes; several processes may call at once.

    Args:
        connection: in a transaction.
        name: of the store, for messages.
        create: whether to make a store where there is none.

    Raises:
        StoreError: there is none, or the tables are those of something else or of another schema.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
    present = set(sa.inspect(connection).get_table_names())
    if schema_version.name not in present:
        foreign = sorted(present & metadata.tables.keys())
        if foreign:
            raise StoreError(f"{name} is no policy store: it has tables {foreign} and no schema version")
        if not create:
            raise StoreError(f"policy store {name}: there is none")
        connection.execute(sa.schema.CreateTable(schema_version, if_not_exists=True))
    version = _version(connection)
    if version is None:
        insert_new(connection, schema_version, {"version": SCHEMA_VERSION})
        version = _version(connection)
    if version != SCHEMA_VERSION:
        raise StoreError(f"policy store {name} has schema {version}; this version reads {SCHEMA_VERSION}")
    for table in metadata.sorted_tables:
        if table.name not in present:
            connection.execute(sa.schema.CreateTable(table, if_not_exists=True))


def insert_new(connection: sa.Connection, table: sa.Table, row: Mapping[str, Any]) -> bool:
    """Insert a row unless there is one of the same unique key.

    One statement does both, which holds against concurrent writers and never waits for a lock with a stale snapshot.

    Returns:
        whether it was inserted.
    """
    unique = next((one for one in table.constraints if isinstance(one, sa.UniqueConstraint)), table.primary_key)
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    # The key is named, so that a conflict of anything else is an error and no row is dropped in silence.
    insert = dialect.insert(table).values(row).on_conflict_do_nothing(index_elements=list(unique.columns))
    return connection.execute(insert.returning(*table.primary_key)).first() is not None


def _version(connection: sa.Connection) -> int | None:
    version: int | None = connection.execute(sa.select(sa.func.max(schema_version.c.version))).scalar_one()
    return version
