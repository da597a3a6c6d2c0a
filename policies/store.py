"""The Pareto store: studies, their trials and the fronts exported from them, in SQLite or any database by URL."""

import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import numpy as np
import sqlalchemy as sa
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from policies.front import Front
from policies.pareto import non_dominated
from policies.record import ChannelProfile, MeasuredPolicy
from policies.study import Study
from thinwire.errors import InvalidRequestError, StoreError

SCHEMA_VERSION = 2
BUSY_TIMEOUT_MS = 30_000
COMPLETE = "complete"
# What a trial's row holds under the names of `MeasuredPolicy.to_json`.
_MEASURED = ("thresholds", "symbols_per_token", "max_tokens", "objectives", "accuracy_by_snr", "sensitive_below_db")

_metadata = sa.MetaData()
_schema_version = sa.Table("schema_version", _metadata, sa.Column("version", sa.Integer, primary_key=True))
_studies = sa.Table(
    "studies",
    _metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.String, nullable=False, unique=True),
    sa.Column("bundle_name", sa.String, nullable=False),
    sa.Column("bundle_digest", sa.String, nullable=False),
    sa.Column("channel", sa.JSON, nullable=False),
    sa.Column("split", sa.String, nullable=False),
    sa.Column("data_digest", sa.String, nullable=False),
    sa.Column("seed", sa.BigInteger, nullable=False),
    sa.Column("versions", sa.JSON, nullable=False),
    sa.Column("created", sa.DateTime(timezone=True), nullable=False),
)
_trials = sa.Table(
    "trials",
    _metadata,
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
    sa.Column("state", sa.String, nullable=False),
    sa.Column("created", sa.DateTime(timezone=True), nullable=False),
    sa.UniqueConstraint("study_id", "policy_digest"),
)
_fronts = sa.Table(
    "fronts",
    _metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("study_id", sa.ForeignKey("studies.id"), nullable=False),
    sa.Column("bundle_digest", sa.String, nullable=False),
    sa.Column("front_digest", sa.String, nullable=False),
    sa.Column("content", sa.JSON, nullable=False),
    sa.Column("created", sa.DateTime(timezone=True), nullable=False),
    sa.UniqueConstraint("study_id", "front_digest"),
)


class Store:
    """A store, open until `close` or the end of the ``with`` block.

    Every trial has its own transaction: a kill at any point loses at most the trial in flight. Several processes may
    write at once.

    Args:
        url: a database as SQLAlchemy names it, e.g. ``sqlite:///policies.db``. A SQLite file and its folder are made
            where there are none, if ``create``.
        create: whether to make what is not there.

    Raises:
        StoreError: it cannot be opened, holds something else, or has another schema. All methods raise it when the
            database fails them.
    """

    def __init__(self, url: str, create: bool = True) -> None:
        try:
            parsed = sa.make_url(url)
        except SQLAlchemyError:
            # Not repeated here: it may hold a password.
            raise StoreError("the store needs a database URL such as sqlite:///policies.db; got none") from None
        self._name = parsed.render_as_string(hide_password=True)
        with self._errors("open it"):
            sqlite = parsed.get_backend_name() == "sqlite"
            if sqlite and parsed.database and parsed.database != ":memory:":
                if not create and not Path(parsed.database).exists():
                    raise StoreError(f"policy store {self._name}: there is none")
                Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
            self._engine = sa.create_engine(parsed)
        if sqlite:
            sa.event.listen(self._engine, "connect", _configure_sqlite)
        try:
            with self._errors("open it"):
                self._prepare()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def study(
        self,
        name: str,
        *,
        bundle_name: str,
        bundle_digest: str,
        channel: ChannelProfile,
        split: str,
        data_digest: str,
        seed: int,
        versions: Mapping[str, str],
    ) -> Study:
        """The study of that name, made where there is none, so that a search resumes under the name it began with.

        Raises:
            StoreError: the name belongs to a study of another identity.
            InvalidRequestError: a text is empty or the seed is out of range.
        """
        wanted = Study(name, bundle_name, bundle_digest, channel, split, data_digest, seed, dict(versions))
        row = asdict(wanted)
        del row["id"]
        self._insert(f"make study {name}", _studies, row)
        stored = next(study for study in self.studies() if study.name == name)
        if stored != wanted:
            differing = [
                f.name for f in fields(Study) if f.compare and getattr(stored, f.name) != getattr(wanted, f.name)
            ]
            told = "; ".join(f"{key} is {getattr(stored, key)!r}, got {getattr(wanted, key)!r}" for key in differing)
            raise StoreError(f"study {name} is another one: {told}; choose another name")
        return stored

    def studies(self) -> tuple[Study, ...]:
        """All studies, the oldest first."""
        with self._errors("list its studies"), self._engine.begin() as connection:
            rows = connection.execute(sa.select(_studies).order_by(_studies.c.id)).mappings().all()
        return tuple(
            Study(**{**row, "channel": ChannelProfile(**row["channel"]), "created": _utc(row["created"])})
            for row in rows
        )

    def add_trial(
        self,
        study: Study,
        measured: MeasuredPolicy,
        source: str = "",
        seconds: float | None = None,
        suggesting_seconds: float | None = None,
    ) -> bool:
        """Keep what was measured, in a transaction of its own.

        Returns:
            whether the policy was new to the study; what is there already stays as it is.

        Raises:
            StoreError: it was measured with another bundle or on another channel than the study's.
        """
        if (measured.bundle_digest, measured.channel) != (study.bundle_digest, study.channel):
            raise StoreError(
                f"policy {measured.policy.id} was measured with bundle {measured.bundle_digest} on "
                f"{measured.channel}; study {study.name} is of {study.bundle_digest} on {study.channel}"
            )
        content = measured.to_json()
        row = {
            "study_id": study.id,
            "policy_digest": measured.policy.digest,
            **{name: content[name] for name in (*_MEASURED, "provenance")},
            "state": COMPLETE,
            "created": datetime.now(UTC),
        }
        return self._insert(f"add policy {measured.policy.id}", _trials, row)

    def trials(self, study: Study) -> tuple[MeasuredPolicy, ...]:
        """All that was measured in a study, the oldest first."""
        of_study = sa.select(_trials).where(_trials.c.study_id == study.id, _trials.c.state == COMPLETE)
        with self._errors("read its trials"), self._engine.begin() as connection:
            rows = connection.execute(of_study.order_by(_trials.c.id)).mappings().all()
        try:
            return tuple(_measured(study, row) for row in rows)
        except InvalidRequestError as error:
            raise StoreError(f"policy store {self._name}: a trial of study {study.name}: {error}") from None

    def export_front(self, study: Study) -> Front:
        """The policies that no other dominates (accuracy up, GMACs and mean channel uses down), by rising uses.

        The front is recorded in the store.

        Raises:
            StoreError: the study has no trials.
        """
        trials = sorted(
            self.trials(study), key=lambda m: (m.objectives.channel_uses, m.objectives.edge_gmacs, m.policy.id)
        )
        if not trials:
            raise StoreError(f"study {study.name} has no trials to make a front of")
        table = [(m.objectives.accuracy, m.objectives.edge_gmacs, m.objectives.channel_uses) for m in trials]
        kept = non_dominated(np.array(table), maximise=(True, False, False))
        front = Front(
            study.bundle_name, study.bundle_digest, tuple(m for m, keep in zip(trials, kept, strict=True) if keep)
        )
        row = {
            "study_id": study.id,
            "bundle_digest": front.bundle_digest,
            "front_digest": front.digest,
            "content": front.to_json(),
            "created": datetime.now(UTC),
        }
        self._insert("record a front", _fronts, row)
        return front

    def _insert(self, doing: str, table: sa.Table, row: dict[str, Any]) -> bool:
        # Inserting before looking holds against concurrent writers, and never waits for a lock with a stale snapshot.
        keys = {_studies: ("name",), _trials: ("study_id", "policy_digest"), _fronts: ("study_id", "front_digest")}
        same = sa.and_(*(table.c[key] == row[key] for key in keys[table]))
        with self._errors(doing):
            try:
                with self._engine.begin() as connection:
                    connection.execute(sa.insert(table).values(row))
            except IntegrityError:
                with self._engine.begin() as connection:
                    if connection.execute(sa.select(table.c.id).where(same)).first() is None:
                        raise
                return False
        return True

    def _prepare(self) -> None:
        present = set(sa.inspect(self._engine).get_table_names())
        if _schema_version.name not in present:
            foreign = sorted(present & _metadata.tables.keys())
            if foreign:
                raise StoreError(f"{self._name} is no policy store: it has tables {foreign} and no schema version")
            with self._engine.begin() as connection:
                connection.execute(sa.schema.CreateTable(_schema_version, if_not_exists=True))
        version = self._version()
        if version is None:
            # Another process may do the same at this moment; the version's key lets one of the two through.
            with suppress(IntegrityError), self._engine.begin() as connection:
                connection.execute(sa.insert(_schema_version).values(version=SCHEMA_VERSION))
            version = self._version()
        if version != SCHEMA_VERSION:
            raise StoreError(f"policy store {self._name} has schema {version}; this version reads {SCHEMA_VERSION}")
        missing = [table for table in _metadata.sorted_tables if table.name not in present]
        with self._engine.begin() as connection:
            for table in missing:
                connection.execute(sa.schema.CreateTable(table, if_not_exists=True))

    def _version(self) -> int | None:
        with self._engine.begin() as connection:
            version: int | None = connection.execute(sa.select(sa.func.max(_schema_version.c.version))).scalar_one()
        return version

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, OSError, ImportError) as error:
            # SQLAlchemy's own text goes on with the statement and its parameters, which helps no user.
            reason = getattr(error, "orig", None) or error
            raise StoreError(f"policy store {self._name}: cannot {doing}: {reason}") from error


def _configure_sqlite(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    cursor = connection.cursor()
    try:
        cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        _switch_to_wal(cursor)
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.close()
    except BaseException:
        connection.close()
        raise


def _switch_to_wal(cursor: DBAPICursor) -> None:
    # Of two processes that switch a new file at once, SQLite fails one at once, whatever its busy timeout: both hold
    # the read lock that the other waits for.
    deadline = time.monotonic() + BUSY_TIMEOUT_MS / 1e3
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _measured(study: Study, row: sa.RowMapping) -> MeasuredPolicy:
    content = {name: row[name] for name in _MEASURED}
    return MeasuredPolicy.from_json(
        {
            **content,
            "id": f"p-{row['policy_digest'][:10]}",
            "digest": row["policy_digest"],
            "channel": asdict(study.channel),
            "bundle_digest": study.bundle_digest,
            "provenance": row["provenance"],
        }
    )


def _utc(moment: datetime) -> datetime:
    # SQLite keeps no time zone; what was written is UTC.
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
