"""The store: what is kept of searches, one transaction for each thing kept."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from datetime import UTC, datetime
from typing import Any, Self, TypeVar

import sqlalchemy as sa

from policies.front import Front
from policies.policy import ChannelForm, MeasuredPolicy, channel_json
from policies.serviceable import serviceable
from policies.store import database
from policies.study import Baseline, Study, Trial
from thinwire.errors import InvalidRequestError, StoreError
from thinwire.records import read

_T = TypeVar("_T")
# What a trial's row holds under the names of `MeasuredPolicy.to_json`.
_MEASURED = (
    "thresholds",
    "symbols_per_token",
    "max_tokens",
    "objectives",
    "accuracy_by_snr",
    "sensitive_below_db",
    "provenance",
)


class Store:
    """A store, open until `close` or the end of the ``with`` block.

    Every trial has its own transaction: a kill at any point loses at most the trial in flight. Several processes may
    write at once.

    Args:
        url: a database as SQLAlchemy names it: ``sqlite:///policies.db``, or ``postgresql+psycopg://user@host/name``
            (with the extra "postgresql"). A SQLite file and its folder are made where there are none, if ``create``;
            a PostgreSQL database must exist.
        create: whether to make a store where there is none.

    Raises:
        StoreError: it cannot be opened, holds something else, or has another schema. All methods raise it when the
            database fails them.
    """

    def __init__(self, url: str, create: bool = True) -> None:
        self._database = database.Database(url, create)
        try:
            with self._database.transaction("open it") as connection:
                database.prepare(connection, self._database.name, create)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._database.close()

    def study(self, wanted: Study) -> Study:
        """The study of that name, made where there is none, so that a search resumes under the name it began with.

        Raises:
            StoreError: the name belongs to a study of another identity.
        """
        row = {**asdict(wanted), "channel": channel_json(wanted.channel)}
        self._insert(f"make study {wanted.name}", database.studies, row)
        stored = self.get_study(wanted.name)
        if stored != wanted:
            told = "; ".join(stored.differences(wanted))
            raise StoreError(f"study {wanted.name} is another one: {told}; choose another name")
        return stored

    def studies(self) -> tuple[Study, ...]:
        """All studies, the oldest first."""
        with self._database.transaction("list its studies") as connection:
            found = connection.execute(sa.select(database.studies).order_by(database.studies.c.id)).mappings().all()
        return tuple(
            Study(**{**row, "channel": ChannelForm(**row["channel"]).read(), "created": _utc(row["created"])})
            for row in found
        )

    def get_study(self, name: str) -> Study:
        """The study of that name.

        Raises:
            InvalidRequestError: there is none; the message names those that there are.
        """
        studies = {study.name: study for study in self.studies()}
        if name not in studies:
            raise InvalidRequestError(f"no study {name!r} in the store: it has {', '.join(studies) or 'none'}")
        return studies[name]

    def add_trial(
        self,
        study: Study,
        measured: MeasuredPolicy,
        source: str = "",
        seconds: float | None = None,
        suggesting_seconds: float | None = None,
    ) -> bool:
        """Keep what was measured, in a transaction of its own.

        Args:
            study: what it was measured for.
            measured: the policy and its figures.
            source: what suggested it, as "sobol".
            seconds: what measuring it took.
            suggesting_seconds: what suggesting it took.

        Returns:
            whether the policy was new to the study; what is there already stays as it is.

        Raises:
            StoreError: it was measured with another bundle or on another channel than the study's.
            InvalidRequestError: a duration is negative or not finite.
        """
        return self.add_trials([(study, Trial(measured, source, seconds, suggesting_seconds, datetime.now(UTC)))]) == 1

    def add_trials(self, trials: Sequence[tuple[Study, Trial]]) -> int:
        """Keep what was measured together, for one study or several, in one transaction: all or nothing.

        Returns:
            how many were new to their study; what is there already stays as it is.

        Raises:
            StoreError: one was measured with another bundle or on another channel than its study's.
        """
        rows = []
        for study, trial in trials:
            measured = trial.measured
            if (measured.bundle_digest, measured.channel) != (study.bundle_digest, study.channel):
                raise StoreError(
                    f"policy {measured.policy.id} was measured with bundle {measured.bundle_digest} on "
                    f"{measured.channel.name}; study {study.name} is of {study.bundle_digest} on {study.channel.name}"
                )
            told = {"study_id": study.id, "policy_digest": measured.policy.digest}
            rows.append({**told, **measured.to_json(), **vars(trial)})
        names = dict.fromkeys(trial.measured.policy.id for _, trial in trials)
        return self._insert(f"add policy {', '.join(names)}", database.trials, *rows)

    def trials(self, study: Study) -> tuple[MeasuredPolicy, ...]:
        """All that was measured in a study, the oldest first."""
        return tuple(trial.measured for trial in self.trial_log(study))

    def trial_log(self, study: Study) -> tuple[Trial, ...]:
        """All trials of a study, the oldest first."""
        channel = channel_json(study.channel)

        def read_trial(row: sa.RowMapping) -> Trial:
            digest = row["policy_digest"]
            content = {
                **{name: row[name] for name in _MEASURED},
                "id": f"p-{digest[:10]}",
                "digest": digest,
                "channel": channel,
                "bundle_digest": study.bundle_digest,
            }
            told = (row["source"], row["seconds"], row["suggesting_seconds"], _utc(row["created"]))
            return Trial(MeasuredPolicy.from_json(content), *told)

        return self._of_study(study, "trial", database.trials, read_trial)

    def add_baseline(self, study: Study, baseline: Baseline) -> bool:
        """Keep what a baseline achieved, in a transaction of its own.

        Returns:
            whether it was new to the study; what is there already, by family and parameters, stays as it is.
        """
        row = {"study_id": study.id, "parameters_digest": baseline.parameters_digest, **asdict(baseline)}
        return self._insert(f"add baseline {baseline.family}", database.baselines, row) == 1

    def baselines(self, study: Study) -> tuple[Baseline, ...]:
        """All baselines of a study, the oldest first."""
        names = [one.name for one in fields(Baseline)]

        def read_baseline(row: sa.RowMapping) -> Baseline:
            return read(Baseline, {name: row[name] for name in names}, "baseline")

        return self._of_study(study, "baseline", database.baselines, read_baseline)

    def front(self, study: Study) -> Front:
        """The policies of a study that may be the best choice for some budget at some SNR, by rising mean uses.

        See `policies.serviceable`.

        Raises:
            StoreError: the study has no trials.
        """
        trials = self.trials(study)
        if not trials:
            raise StoreError(f"study {study.name} has no trials to make a front of")
        return Front(study.bundle_name, study.bundle_digest, serviceable(trials, study.channel.snr_db))

    def export_front(self, study: Study) -> Front:
        """The front of a study, which the store records.

        Raises:
            StoreError: the study has no trials.
        """
        front = self.front(study)
        row = {
            "study_id": study.id,
            "bundle_digest": front.bundle_digest,
            "front_digest": front.digest,
            "content": front.to_json(),
        }
        self._insert("record a front", database.fronts, row)
        return front

    def _insert(self, doing: str, table: sa.Table, *contents: dict[str, Any]) -> int:
        """Insert what a table has columns for; its number is the database's, and its time now where it has none.

        Returns:
            how many rows were new.
        """
        now = {"created": datetime.now(UTC)}
        names = [name for name in table.c.keys() if name != "id"]  # noqa: SIM118
        with self._database.transaction(doing) as connection:
            return sum(
                database.insert_new(connection, table, {name: (now | content)[name] for name in names})
                for content in contents
            )

    def _of_study(
        self, study: Study, what: str, table: sa.Table, read: Callable[[sa.RowMapping], _T]
    ) -> tuple[_T, ...]:
        of_study = sa.select(table).where(table.c.study_id == study.id).order_by(table.c.id)
        with self._database.transaction(f"read its {what}s") as connection:
            found = connection.execute(of_study).mappings().all()
        try:
            return tuple(read(row) for row in found)
        except InvalidRequestError as error:
            raise StoreError(f"policy store {self._database.name}: a {what} of study {study.name}: {error}") from None


def _utc(moment: datetime) -> datetime:
    # SQLite keeps no time zone; what was written is UTC.
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
