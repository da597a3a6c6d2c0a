"""The tables of a store, and how an empty database becomes one."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from thinwire.errors import StoreError

SCHEMA_VERSION = 2
# Held while tables are made: PostgreSQL lets two sessions that make the same table at once fail each other.
_ADVISORY_LOCK = 0x7468696E77697265

metadata = sa.MetaData()
schema_version = sa.Table(
    "schema_version", metadata, sa.Column("version", sa.Integer, primary_key=True, autoincrement=False)
)
studies = sa.Table(
    "studies",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.String, nullable=False),
    sa.Column("bundle_name", sa.String, nullable=False),
    sa.Column("bundle_digest", sa.String, nullable=False),
    sa.Column("channel", sa.JSON, nullable=False),
    sa.Column("split", sa.String, nullable=False),
    sa.Column("data_digest", sa.String, nullable=False),
    sa.Column("seed", sa.BigInteger, nullable=False),
    sa.Column("versions", sa.JSON, nullable=False),
    sa.Column("settings", sa.JSON, nullable=False),
    sa.Column("created", sa.DateTime(timezone=True), nullable=False),
    sa.UniqueConstraint("name"),
)
trials = sa.Table(
    "trials",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("study_id", sa.ForeignKey("studies.id"), nullable=False),
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
    sa.Column("created", sa.DateTime(timezone=True), nullable=False),
    sa.UniqueConstraint("study_id", "policy_digest"),
)
baselines = sa.Table(
    "baselines",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("study_id", sa.ForeignKey("studies.id"), nullable=False),
    sa.Column("family", sa.String, nullable=False),
    sa.Column("parameters_digest", sa.String, nullable=False),
    sa.Column("parameters", sa.JSON, nullable=False),
    sa.Column("objectives", sa.JSON, nullable=False),
    sa.Column("created", sa.DateTime(timezone=True), nullable=False),
    sa.UniqueConstraint("study_id", "family", "parameters_digest"),
)
fronts = sa.Table(
    "fronts",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("study_id", sa.ForeignKey("studies.id"), nullable=False),
    sa.Column("bundle_digest", sa.String, nullable=False),
    sa.Column("front_digest", sa.String, nullable=False),
    sa.Column("content", sa.JSON, nullable=False),
    sa.Column("created", sa.DateTime(timezone=True), nullable=False),
    sa.UniqueConstraint("study_id", "front_digest"),
)


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
