"""What stands in a store's rows, and back: studies, trials and baselines."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from policies.baseline import Baseline
from policies.record import ChannelForm, MeasuredPolicy, channel_json
from policies.study import Study
from policies.trial import Trial
from thinwire.records import read

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


def study_row(study: Study) -> dict[str, Any]:
    """The row of a study that is not in the store yet."""
    row = {**asdict(study), "channel": channel_json(study.channel)}
    del row["id"]
    return row


def read_study(row: sa.RowMapping) -> Study:
    """The study of a row."""
    return Study(**{**row, "channel": ChannelForm(**row["channel"]).read(), "created": _utc(row["created"])})


def trial_row(study: Study, trial: Trial) -> dict[str, Any]:
    """The row of a trial."""
    content = trial.measured.to_json()
    return {
        "study_id": study.id,
        "policy_digest": content["digest"],
        **{name: content[name] for name in _MEASURED},
        "source": trial.source,
        "seconds": trial.seconds,
        "suggesting_seconds": trial.suggesting_seconds,
        "created": trial.created,
    }


def read_trial(study: Study, row: sa.RowMapping) -> Trial:
    """The trial of a row.

    Raises:
        InvalidRequestError: the row was altered.
    """
    content = {
        **{name: row[name] for name in _MEASURED},
        "id": f"p-{row['policy_digest'][:10]}",
        "digest": row["policy_digest"],
        "channel": channel_json(study.channel),
        "bundle_digest": study.bundle_digest,
    }
    return Trial(
        measured=MeasuredPolicy.from_json(content),
        source=row["source"],
        seconds=row["seconds"],
        suggesting_seconds=row["suggesting_seconds"],
        created=_utc(row["created"]),
    )


def baseline_row(study: Study, baseline: Baseline) -> dict[str, Any]:
    """The row of a baseline."""
    return {
        "study_id": study.id,
        "parameters_digest": baseline.parameters_digest,
        **baseline.to_json(),
        "created": datetime.now(UTC),
    }


def read_baseline(row: sa.RowMapping) -> Baseline:
    """The baseline of a row.

    Raises:
        InvalidRequestError: the row was altered.
    """
    return read(Baseline, {name: row[name] for name in ("family", "parameters", "objectives")}, "baseline")


def _utc(moment: datetime) -> datetime:
    # SQLite keeps no time zone; what was written is UTC.
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
