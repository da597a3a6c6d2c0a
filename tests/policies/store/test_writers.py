"""Several processes that write at once, and what is left when they are killed."""

import signal

import pytest
import sqlalchemy as sa

from policies.store import Store
from policies.study import Study
from tests.policies.store.parts import IDENTITY, number_of, past_the_store, start


def numbers_in(url):
    with Store(url) as store:
        return [number_of(measured) for measured in store.trials(store.study(Study("s", **IDENTITY)))]


def ended(process):
    """A process's status, the lines that it printed since they were last read, and its errors."""
    # Not by `communicate`, which forgets what a reader of lines has in its buffer.
    with process:
        lines, errors = process.stdout.read().splitlines(), process.stderr.read()
    return process.returncode, lines, errors


def assert_sound(url):
    """The database's own check of its structure finds nothing."""
    with past_the_store(url) as connection:
        if url.startswith("sqlite"):
            assert connection.execute(sa.text("PRAGMA integrity_check")).scalar_one() == "ok"
            return
        connection.execute(sa.text("CREATE EXTENSION amcheck"))
        checked = connection.execute(
            sa.text(
                "SELECT relname, bt_index_check(oid, true) FROM pg_class "
                "WHERE relkind = 'i' AND relnamespace = 'public'::regnamespace"
            )
        ).all()
        assert {"trials_pkey", "trials_study_id_policy_digest_key"} <= {name for name, _ in checked}
        assert connection.execute(sa.text("SELECT count(*) FROM verify_heapam('trials')")).scalar_one() == 0


def test_killed_writers_lose_at_most_the_trial_in_flight(url):
    code = """
with Store(sys.argv[1]) as store:
    study = store.study(Study("s", **identity))
    for number in range(int(sys.argv[2]), int(sys.argv[2]) + 2000):
        assert store.add_trial(study, sample(number))
        print(number, flush=True)
"""
    starts = (0, 2000, 4000)
    writers = [start(code, url, first) for first in starts]
    for _ in range(12):
        for writer in writers:
            writer.stdout.readline()
    for writer in writers:
        writer.kill()
    told = [ended(writer) for writer in writers]
    assert [code for code, _, _ in told] == [-signal.SIGKILL] * 3, told
    kept = numbers_in(url)
    assert len(set(kept)) == len(kept)
    for first, (_, lines, _) in zip(starts, told, strict=True):
        mine = [number for number in kept if first <= number < first + 2000]
        assert mine == list(range(first, first + len(mine)))
        assert 12 + len(lines) <= len(mine) <= 12 + len(lines) + 1 < 2000
    assert_sound(url)
    with Store(url) as store:
        study = store.study(Study("s", **IDENTITY))
        assert not store.add_trial(study, store.trials(study)[-1])
        assert store.export_front(study).policies


def test_a_writer_that_dies_inside_a_transaction_loses_that_trial_only(url):
    code = """
import os
import sqlalchemy
with Store(sys.argv[1]) as store:
    study = store.study(Study("s", **identity))
    for number in range(3):
        store.add_trial(study, sample(number))
    sqlalchemy.event.listen(sqlalchemy.Engine, "after_cursor_execute", lambda *_: os._exit(9))
    store.add_trial(study, sample(3))
"""
    with start(code, url) as process:
        process.communicate()
    assert process.returncode == 9
    assert numbers_in(url) == [0, 1, 2]


def test_writers_share_a_new_store(url):
    code = """
sys.stdout.write("ready\\n")
sys.stdout.flush()
sys.stdin.readline()
with Store(sys.argv[1]) as store:
    study = store.study(Study("s", **identity))
    print(sum(store.add_trial(study, sample(number)) for number in range(int(sys.argv[2]), int(sys.argv[3]))))
"""
    writers = [start(code, url, first, first + 30) for first in (0, 15, 30)]
    for writer in writers:
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    told = [ended(writer) for writer in writers]
    assert [code for code, _, _ in told] == [0] * 3, told
    assert sum(int(lines[0]) for _, lines, _ in told) == 60
    assert sorted(numbers_in(url)) == list(range(60))


@pytest.mark.postgresql
@pytest.mark.parametrize("crash", ["backend", "postmaster", "immediate stop"])
def test_a_crash_of_the_server_loses_nothing_that_was_acknowledged(server, crash):
    # Each goes on until it has met the crash, and tries again what failed; what was told to be kept is never repeated.
    code = """
import time
from thinwire.errors import StoreError
with Store(sys.argv[1]) as store:
    study = store.study(Study("s", **identity))
    number, end = int(sys.argv[2]), int(sys.argv[2]) + 3000
    failures = 0
    while number < end:
        try:
            store.add_trial(study, sample(number))
        except StoreError:
            if not failures:
                end = number + 10
            failures += 1
            time.sleep(0.05)
            continue
        print(number, flush=True)
        number += 1
assert failures
"""
    url = server.empty_database()
    recoveries = server.recoveries()
    starts = (0, 3000, 6000)
    writers = [start(code, url, first) for first in starts]
    for _ in range(12):
        for writer in writers:
            writer.stdout.readline()
    if crash == "backend":
        server.kill_a_backend()
    else:
        server.stop(signal.SIGKILL if crash == "postmaster" else signal.SIGQUIT)
    server.start()
    told = [ended(writer) for writer in writers]
    assert [code for code, _, _ in told] == [0] * 3, told
    assert server.recoveries() > recoveries
    kept = [range(first, first + 12 + len(lines)) for first, (_, lines, _) in zip(starts, told, strict=True)]
    assert sorted(numbers_in(url)) == [number for mine in kept for number in mine]
    assert_sound(url)
