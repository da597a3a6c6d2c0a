import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from policies import store as store_module
from policies.front import Front
from policies.record import ChannelProfile, MeasuredPolicy
from policies.store import Store
from policies.study import Study
from thinwire.errors import InvalidRequestError, StoreError

ROOT = Path(__file__).parents[2]
IDENTITY = {
    "bundle_name": "tiny",
    "bundle_digest": "b" * 64,
    "channel": ChannelProfile("awgn", 10.0),
    "split": "select",
    "data_digest": "d" * 64,
    "seed": 7,
    "versions": {"thinwire": "0.1.0"},
}

# What every writing process below begins with; its arguments are the URL and its own.
WRITER = f"""
import sys
from policies.policy import Policy
from policies.record import ChannelProfile, MeasuredPolicy, Objectives
from policies.store import Store

def sample(number):
    figures = Objectives(0.5 + number / 1000, 0.01, 100, 1.0, 50.0 + number, 80, 10.0, 1.0, 0.0, 0.0, 0.01)
    policy = Policy.create((number / 1000, 0.5), 8)
    return MeasuredPolicy(policy, "b" * 64, ChannelProfile("awgn", 10.0), figures)

identity = dict(bundle_name="tiny", bundle_digest="b" * 64, channel=ChannelProfile("awgn", 10.0), split="select",
                data_digest="d" * 64, seed=7, versions={IDENTITY["versions"]})
"""


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'policies.db'}"


@pytest.fixture
def store(url):
    with Store(url) as opened:
        yield opened


def start(code, *arguments):
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", WRITER + code, *map(str, arguments)],
        cwd=ROOT,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def alter(url, statement, *parameters):
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection, connection:
        connection.execute(statement, parameters)


def test_a_study_is_resumed_under_its_name(url, store):
    first = store.study("s", **IDENTITY)
    with Store(url) as again:
        assert again.study("s", **IDENTITY) == first
        assert again.studies() == (first,)
        assert again.studies()[0].created == first.created
    assert first.created.utcoffset().total_seconds() == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("bundle_name", "other"),
        ("bundle_digest", "c" * 64),
        ("channel", ChannelProfile("awgn", 0.0)),
        ("split", "test"),
        ("data_digest", "e" * 64),
        ("seed", 8),
        ("versions", {"thinwire": "0.2.0"}),
    ],
)
def test_a_name_belongs_to_one_identity(store, name, value):
    store.study("s", **IDENTITY)
    with pytest.raises(StoreError, match=rf"study s is another one: {name} is .*, got .*; choose another name"):
        store.study("s", **IDENTITY | {name: value})
    assert len(store.studies()) == 1
    assert store.study("t", **IDENTITY | {name: value}).name == "t"


@pytest.mark.parametrize(("name", "value"), [("seed", -1), ("seed", 2**63), ("seed", 1.5), ("split", "")])
def test_an_identity_out_of_range_is_refused(store, name, value):
    with pytest.raises(InvalidRequestError, match=f"study.{name} must be"):
        store.study("s", **IDENTITY | {name: value})


def test_the_largest_seed_fits(store):
    assert store.study("s", **IDENTITY | {"seed": 2**63 - 1}).seed == 2**63 - 1


def test_trials_come_back_as_they_were(url, store, measured):
    samples = (measured((0.9, 1.0), 8, ((0.0, 1 / 3, 0.1),)), measured((0.1, 0.2), 4))
    study = store.study("s", **IDENTITY)
    assert [store.add_trial(study, sample) for sample in samples] == [True, True]
    with Store(url) as again:
        assert again.trials(study) == samples


def test_a_policy_is_kept_once_per_study(store, measured):
    one, two = (store.study(name, **IDENTITY) for name in ("one", "two"))
    sample = measured(accuracy=0.6)
    assert store.add_trial(one, sample)
    assert not store.add_trial(one, measured(accuracy=0.9))
    assert store.trials(one) == (sample,)
    assert store.trials(two) == ()
    assert store.add_trial(two, sample)


@pytest.mark.parametrize(("name", "value"), [("bundle_digest", "c" * 64), ("channel", ChannelProfile("awgn", 0.0))])
def test_a_trial_of_another_bundle_or_channel_is_refused(store, measured, name, value):
    study = store.study("s", **IDENTITY)
    with pytest.raises(StoreError, match="was measured with bundle"):
        store.add_trial(study, MeasuredPolicy(**(vars(measured()) | {name: value})))
    assert store.trials(study) == ()


def test_a_study_that_is_not_in_the_store_gets_no_trials(store, measured):
    with pytest.raises(StoreError, match="FOREIGN KEY"):
        store.add_trial(Study("never made", **IDENTITY), measured())


def test_the_front_is_what_nothing_dominates(url, store, measured):
    study = store.study("s", **IDENTITY)
    dear = measured((1.0,), accuracy=0.8, edge_gmacs=2.0, channel_uses=200.0)
    light = measured((0.8,), accuracy=0.7, edge_gmacs=1.0, channel_uses=200.0)
    thin = measured((0.6,), accuracy=0.7, edge_gmacs=2.0, channel_uses=100.0)
    dominated = measured((0.4,), accuracy=0.7, edge_gmacs=2.0, channel_uses=200.0)
    for sample in (dominated, dear, thin, light):
        store.add_trial(study, sample)
    front = store.export_front(study)
    assert front == Front("tiny", "b" * 64, (thin, light, dear))
    assert store.export_front(study) == front
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
        assert connection.execute("SELECT front_digest FROM fronts").fetchall() == [(front.digest,)]


def test_the_front_does_not_depend_on_the_order_of_trials(store, measured):
    twins = [measured((step,), accuracy=0.7) for step in (0.1, 0.2, 0.3)]
    fronts = []
    for name, order in (("up", twins), ("down", twins[::-1])):
        study = store.study(name, **IDENTITY)
        for sample in order:
            store.add_trial(study, sample)
        fronts.append(store.export_front(study))
    assert fronts[0].digest == fronts[1].digest
    assert len(fronts[0].policies) == 1


def test_a_study_without_trials_has_no_front(store):
    with pytest.raises(StoreError, match="study s has no trials"):
        store.export_front(store.study("s", **IDENTITY))


def test_an_altered_trial_is_refused(url, store, measured):
    study = store.study("s", **IDENTITY)
    store.add_trial(study, measured())
    alter(url, "UPDATE trials SET thresholds = '[0.1, 0.1]'")
    with pytest.raises(StoreError, match=r"a trial of study s: .* was altered"):
        store.trials(study)


def test_sqlite_writes_ahead_and_waits(store):
    with store._engine.connect() as connection:
        pragmas = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "busy_timeout", "foreign_keys")
        ]
    assert pragmas == ["wal", store_module.BUSY_TIMEOUT_MS, 1]


def test_the_folder_is_made(tmp_path):
    with Store(f"sqlite:///{tmp_path / 'a' / 'b' / 'policies.db'}") as store:
        assert store.studies() == ()


def test_a_store_that_is_missing_is_not_made_unless_asked(tmp_path):
    path = tmp_path / "runs" / "policies.sqlite"
    with pytest.raises(StoreError, match="there is none"):
        Store(f"sqlite:///{path}", create=False)
    assert not path.parent.exists()
    Store(f"sqlite:///{path}").close()
    Store(f"sqlite:///{path}", create=False).close()


def test_a_store_in_memory_works(measured):
    with Store("sqlite://") as store:
        study = store.study("s", **IDENTITY)
        assert store.add_trial(study, measured())
        assert store.trials(study) == (measured(),)


@pytest.mark.parametrize("version", [0, 9])
def test_another_schema_is_refused(url, store, version):
    alter(url, "UPDATE schema_version SET version = ?", version)
    with pytest.raises(StoreError, match=f"has schema {version}; this version reads 2"):
        Store(url)


def test_a_start_that_fails_keeps_nothing_open(url, tmp_path):
    Store(url).close()
    alter(url, "UPDATE schema_version SET version = 9")
    # The error is held, and with it all that its traceback refers to: only a real close removes SQLite's log.
    with pytest.raises(StoreError) as held:
        Store(url)
    assert [path.name for path in tmp_path.iterdir()] == ["policies.db"], held


def test_a_start_cut_short_is_completed(url):
    alter(url, "CREATE TABLE schema_version (version INTEGER PRIMARY KEY)")
    with Store(url) as store:
        assert store.study("s", **IDENTITY).name == "s"


def test_a_database_of_something_else_is_left_alone(url):
    alter(url, "CREATE TABLE studies (study_id INTEGER)")
    with pytest.raises(StoreError, match=r"is no policy store: it has tables \['studies'\]"):
        Store(url)
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("studies",)]


def test_a_file_that_is_no_database_is_refused_and_kept(tmp_path):
    path = tmp_path / "policies.db"
    path.write_bytes(b"these are my notes, not a database\n" * 100)
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"policies\.db: cannot open it: file is not a database"):
        Store(f"sqlite:///{path}")
    assert path.read_bytes() == before


def test_a_path_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot open it"):
        Store(f"sqlite:///{tmp_path / 'file' / 'policies.db'}")
    with pytest.raises(StoreError, match="cannot open it: unable to open database file"):
        Store(f"sqlite:///{tmp_path}")


@pytest.mark.parametrize(
    ("url", "message"), [("policies.db", "sqlite:///policies.db"), ("nothing://host/db", "cannot open it")]
)
def test_a_wrong_url_is_refused(url, message):
    with pytest.raises(StoreError, match=message):
        Store(url)


def test_a_password_stays_out_of_messages():
    with pytest.raises(StoreError) as caught:
        Store("nothing://user:secret@host/db")
    assert "secret" not in str(caught.value)


def test_a_locked_store_is_told_after_the_wait(url, monkeypatch, measured):
    monkeypatch.setattr(store_module, "BUSY_TIMEOUT_MS", 50)
    with Store(url) as store, closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as other:
        study = store.study("s", **IDENTITY)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match=r"cannot add policy .*: database is locked"):
            store.add_trial(study, measured())
        other.rollback()
        assert store.add_trial(study, measured())


def test_a_store_held_by_another_is_told_at_the_start(url, monkeypatch):
    monkeypatch.setattr(store_module, "BUSY_TIMEOUT_MS", 50)
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("CREATE TABLE held (x)")
        other.commit()
        with pytest.raises(StoreError, match="cannot open it: database is locked"):
            Store(url)


def test_a_killed_writer_loses_at_most_the_trial_in_flight(url):
    code = """
with Store(sys.argv[1]) as store:
    study = store.study("s", **identity)
    for number in range(1000):
        store.add_trial(study, sample(number))
        print(number, flush=True)
"""
    with start(code, url) as process:
        for _ in range(12):
            process.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)
        told = 12 + len(process.stdout.read().splitlines())
    assert process.returncode == -signal.SIGKILL
    assert told < 1000
    with Store(url) as store:
        study = store.study("s", **IDENTITY)
        kept = store.trials(study)
        assert told <= len(kept) <= told + 1
        assert not store.add_trial(study, kept[-1])
        assert store.export_front(study).policies


def test_a_writer_that_dies_inside_a_transaction_loses_that_trial_only(url):
    code = """
import os
import sqlalchemy
with Store(sys.argv[1]) as store:
    study = store.study("s", **identity)
    for number in range(3):
        store.add_trial(study, sample(number))
    sqlalchemy.event.listen(store._engine, "after_cursor_execute", lambda *_: os._exit(9))
    store.add_trial(study, sample(3))
"""
    with start(code, url) as process:
        process.communicate()
    assert process.returncode == 9
    with Store(url) as store:
        assert [round(m.policy.thresholds[0] * 1000) for m in store.trials(store.study("s", **IDENTITY))] == [0, 1, 2]


def test_two_writers_share_a_new_store(url):
    code = """
sys.stdout.write("ready\\n")
sys.stdout.flush()
sys.stdin.readline()
with Store(sys.argv[1]) as store:
    study = store.study("s", **identity)
    print(sum(store.add_trial(study, sample(number)) for number in range(int(sys.argv[2]), int(sys.argv[3]))))
"""
    with start(code, url, 0, 30) as one, start(code, url, 15, 45) as two:
        for process in (one, two):
            assert process.stdout.readline() == "ready\n"
        for process in (one, two):
            process.stdin.write("go\n")
            process.stdin.flush()
        new = [int(process.stdout.read()) for process in (one, two)]
    assert one.returncode == two.returncode == 0
    assert sum(new) == 45
    with Store(url) as store:
        thresholds = {m.policy.thresholds[0] for m in store.trials(store.study("s", **IDENTITY))}
    assert thresholds == {number / 1000 for number in range(45)}
