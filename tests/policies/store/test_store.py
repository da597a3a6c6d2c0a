import math
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from policies.front import Front
from policies.policy import MeasuredPolicy
from policies.store import Store, database
from policies.study import Baseline, Study, Trial
from tests.policies.store.parts import IDENTITY, alter, past_the_store
from thinwire.channels import Channel
from thinwire.errors import InvalidRequestError, StoreError


def test_a_study_is_resumed_under_its_name(url, store):
    first = store.study(Study("s", **IDENTITY))
    with Store(url) as again:
        assert again.study(Study("s", **IDENTITY)) == first
        assert again.studies() == (first,)
        assert again.studies()[0].created == first.created
    assert first.created.utcoffset() == timedelta(0)
    assert first.settings["space"]["rates"] == [4, 8]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("bundle_name", "other"),
        ("bundle_digest", "c" * 64),
        ("channel", Channel("awgn", 0.0)),
        ("split", "test"),
        ("data_digest", "e" * 64),
        ("seed", 8),
        ("versions", {"thinwire": "0.2.0"}),
        ("settings", IDENTITY["settings"] | {"strategy": "random"}),
        ("settings", {}),
    ],
)
def test_a_name_belongs_to_one_identity(store, name, value):
    store.study(Study("s", **IDENTITY))
    with pytest.raises(StoreError, match=rf"study s is another one: {name}[.\w]* is .*, got .*; choose another name"):
        store.study(Study("s", **IDENTITY | {name: value}))
    assert len(store.studies()) == 1
    assert store.study(Study("t", **IDENTITY | {name: value})).name == "t"


@pytest.mark.parametrize(
    ("name", "value"),
    [("seed", -1), ("seed", 2**63), ("seed", 1.5), ("split", ""), ("settings", {"scale": math.nan})],
)
def test_an_identity_out_of_range_is_refused(store, name, value):
    with pytest.raises(InvalidRequestError, match=f"study.{name} must be"):
        store.study(Study("s", **IDENTITY | {name: value}))


def test_the_largest_seed_fits(store):
    assert store.study(Study("s", **IDENTITY | {"seed": 2**63 - 1})).seed == 2**63 - 1


def test_a_study_needs_no_settings(store):
    bare = {name: value for name, value in IDENTITY.items() if name != "settings"}
    assert store.study(Study("s", **bare)).settings == {}


def test_trials_come_back_as_they_were(url, store, measured):
    samples = (measured((0.9, 1.0), 8, ((0.0, 1 / 3, 0.1),), 12, 2.5), measured((0.1, 0.2), 4))
    study = store.study(Study("s", **IDENTITY))
    assert [store.add_trial(study, sample) for sample in samples] == [True, True]
    with Store(url) as again:
        assert again.trials(study) == samples


def test_the_log_tells_where_trials_came_from_and_what_they_took(url, store, measured):
    study = store.study(Study("s", **IDENTITY))
    before = datetime.now(UTC)
    store.add_trial(study, measured((0.1,)), source="sobol", seconds=1 / 3, suggesting_seconds=0)
    store.add_trial(study, measured((0.2,)))
    with Store(url) as again:
        told, untold = again.trial_log(study)
    assert (told.measured, told.source, told.seconds, told.suggesting_seconds) == (
        measured((0.1,)), "sobol", 1 / 3, 0.0,
    )  # fmt: skip
    assert (untold.source, untold.seconds, untold.suggesting_seconds) == ("", None, None)
    assert before <= told.created <= untold.created <= datetime.now(UTC)


@pytest.mark.parametrize(
    ("name", "value"), [("source", None), ("seconds", -1), ("seconds", math.inf), ("suggesting_seconds", "1")]
)
def test_a_log_that_makes_no_sense_is_refused(store, measured, name, value):
    study = store.study(Study("s", **IDENTITY))
    with pytest.raises(InvalidRequestError, match=f"trial.{name} must be"):
        store.add_trial(study, measured(), **{name: value})
    assert store.trials(study) == ()


def test_a_policy_is_kept_once_per_study(store, measured):
    one, two = (store.study(Study(name, **IDENTITY)) for name in ("one", "two"))
    sample = measured(accuracy=0.6)
    assert store.add_trial(one, sample, source="sobol")
    assert not store.add_trial(one, measured(accuracy=0.9), source="random")
    assert store.trials(one) == (sample,)
    assert store.trial_log(one)[0].source == "sobol"
    assert store.trials(two) == ()
    assert store.add_trial(two, sample)


@pytest.mark.parametrize(("name", "value"), [("bundle_digest", "c" * 64), ("channel", Channel("awgn", 0.0))])
def test_a_trial_of_another_bundle_or_channel_is_refused(store, measured, name, value):
    study = store.study(Study("s", **IDENTITY))
    with pytest.raises(StoreError, match="was measured with bundle"):
        store.add_trial(study, MeasuredPolicy(**(vars(measured()) | {name: value})))
    assert store.trials(study) == ()


def test_what_was_measured_together_is_kept_as_a_whole_or_not_at_all(store, measured, monkeypatch):
    study = store.study(Study("s", **IDENTITY))
    trials = [(study, Trial(one, "s", None, None, datetime.now(UTC))) for one in (measured((0.1,)), measured((0.2,)))]
    insert, calls = database.insert_new, []

    def failing(*arguments):
        calls.append(arguments)
        if len(calls) == len(trials):
            raise OSError("the disk is full")
        return insert(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(database, "insert_new", failing)
        with pytest.raises(StoreError, match="the disk is full"):
            store.add_trials(trials)
    assert len(calls) > 1
    assert store.trials(study) == ()
    assert store.add_trials(trials) == len(trials)
    assert store.add_trials(trials) == 0


def test_a_study_that_is_not_in_the_store_gets_no_trials(store, measured):
    with pytest.raises(StoreError, match=r"(?i)foreign key"):
        store.add_trial(Study("never made", **IDENTITY), measured())


def test_baselines_come_back_as_they_were(url, store, measured):
    study, other = (store.study(Study(name, **IDENTITY)) for name in ("s", "t"))
    figures = measured(channel_uses_p95=1).objectives
    kept = (
        Baseline("unmerged", {}, figures),
        Baseline("tome", {"r": 4, "layers": (0, 1)}, figures),
        Baseline("tome", {"r": 8, "layers": (0, 1)}, figures),
        Baseline("label", {}, figures),
    )
    assert all(store.add_baseline(study, baseline) for baseline in kept)
    again = Baseline("tome", {"layers": [0, 1], "r": 4}, measured(accuracy=0.1).objectives)
    assert not store.add_baseline(study, again)
    with Store(url) as reopened:
        assert reopened.baselines(study) == kept
        assert reopened.baselines(other) == ()
        assert reopened.add_baseline(other, again)


def test_an_altered_baseline_is_refused(url, store, measured):
    study = store.study(Study("s", **IDENTITY))
    store.add_baseline(study, Baseline("tome", {}, measured().objectives))
    alter(url, "UPDATE baselines SET objectives = :objectives", objectives='{"accuracy": 2}')
    with pytest.raises(StoreError, match=r"a baseline of study s: baseline\.objectives\.accuracy must be at most 1"):
        store.baselines(study)


def test_the_front_is_what_a_choice_can_need(url, store, measured):
    study = store.study(Study("s", **IDENTITY))
    dear = measured((1.0,), accuracy=0.8, edge_gmacs=2.0, channel_uses=190.0, channel_uses_p95=200)
    light = measured((0.8,), accuracy=0.7, edge_gmacs=1.0, channel_uses=180.0, channel_uses_p95=200)
    thin = measured((0.6,), accuracy=0.7, edge_gmacs=2.0, channel_uses=90.0, channel_uses_p95=100)
    dominated = measured((0.4,), accuracy=0.7, edge_gmacs=2.0, channel_uses=80.0, channel_uses_p95=200)
    for sample in (dominated, dear, thin, light):
        store.add_trial(study, sample)
    front = store.front(study)
    assert front == Front("tiny", "b" * 64, (thin, light, dear))
    assert store.export_front(study) == store.export_front(study) == front
    with past_the_store(url) as connection:
        assert connection.execute(sa.text("SELECT front_digest FROM fronts")).all() == [(front.digest,)]


def test_the_front_does_not_depend_on_the_order_of_trials(store, measured):
    twins = [measured((step,), accuracy=0.7) for step in (0.1, 0.2, 0.3)]
    fronts = []
    for name, order in (("up", twins), ("down", twins[::-1])):
        study = store.study(Study(name, **IDENTITY))
        for sample in order:
            store.add_trial(study, sample)
        fronts.append(store.export_front(study))
    assert fronts[0].digest == fronts[1].digest
    assert len(fronts[0].policies) == 1


def test_a_study_without_trials_has_no_front(store):
    with pytest.raises(StoreError, match="study s has no trials"):
        store.export_front(store.study(Study("s", **IDENTITY)))


def test_an_altered_trial_is_refused(url, store, measured):
    study = store.study(Study("s", **IDENTITY))
    store.add_trial(study, measured())
    alter(url, "UPDATE trials SET thresholds = :thresholds", thresholds="[0.1, 0.1]")
    with pytest.raises(StoreError, match=r"a trial of study s: .* was altered"):
        store.trials(study)


def test_texts_of_any_language_come_back(url, store, measured):
    study = store.study(Study("Größe 大小", **IDENTITY | {"settings": {"naïve": "∅"}}))
    store.add_trial(study, measured(), source="søk")
    with Store(url) as again:
        assert again.studies() == (study,)
        assert again.trial_log(study)[0].source == "søk"
