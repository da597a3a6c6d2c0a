import sqlite3
from contextlib import closing

import pytest
import sqlalchemy as sa

from policies.store import Store, database
from policies.study import Study
from tests.policies.store.parts import IDENTITY, alter
from thinwire.errors import StoreError


@pytest.fixture(name="path")
def path_fixture(tmp_path):
    return tmp_path / "policies.db"


@pytest.fixture(name="url")
def url_fixture(path):
    return f"sqlite:///{path}"


def test_it_writes_ahead_waits_and_asks_the_disk(url):
    names = ("journal_mode", "busy_timeout", "synchronous", "foreign_keys")
    with closing(database.Database(url, create=True)) as opened, opened.transaction("look") as connection:
        pragmas = [connection.execute(sa.text(f"PRAGMA {name}")).scalar_one() for name in names]
    assert pragmas == ["wal", database.WAIT_FOR_LOCK_MS, 2, 1]


def test_the_folder_is_made(tmp_path):
    with Store(f"sqlite:///{tmp_path / 'a' / 'b' / 'policies.db'}") as store:
        assert store.studies() == ()


def test_a_file_that_is_missing_is_not_made_unless_asked(tmp_path):
    path = tmp_path / "runs" / "policies.sqlite"
    with pytest.raises(StoreError, match="there is none"):
        Store(f"sqlite:///{path}", create=False)
    assert not path.parent.exists()


def test_a_store_in_memory_works(measured):
    with Store("sqlite://") as store:
        study = store.study(Study("s", **IDENTITY))
        assert store.add_trial(study, measured())
        assert store.trials(study) == (measured(),)


def test_a_start_that_fails_keeps_nothing_open(url, path):
    Store(url).close()
    alter(url, "UPDATE schema_version SET version = 9")
    # The error is held, and with it all that its traceback refers to: only a real close removes SQLite's log.
    with pytest.raises(StoreError) as held:
        Store(url)
    assert [found.name for found in path.parent.iterdir()] == ["policies.db"], held


def test_a_file_that_is_no_database_is_refused_and_kept(url, path):
    path.write_bytes(b"these are my notes, not a database\n" * 100)
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"policies\.db: cannot open it: file is not a database"):
        Store(url)
    assert path.read_bytes() == before


def test_a_path_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot open it"):
        Store(f"sqlite:///{tmp_path / 'file' / 'policies.db'}")
    with pytest.raises(StoreError, match="cannot open it: unable to open database file"):
        Store(f"sqlite:///{tmp_path}")


def test_a_locked_store_is_told_after_the_wait(url, path, monkeypatch, measured):
    monkeypatch.setattr(database, "WAIT_FOR_LOCK_MS", 50)
    with Store(url) as store, closing(sqlite3.connect(path)) as other:
        study = store.study(Study("s", **IDENTITY))
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match=r"cannot add policy .*: database is locked"):
            store.add_trial(study, measured())
        other.rollback()
        assert store.add_trial(study, measured())


def test_a_store_that_is_written_to_can_be_opened_and_read(url, path, measured):
    with Store(url) as store:
        study = store.study(Study("s", **IDENTITY))
        store.add_trial(study, measured())
    with closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        with Store(url) as store:
            assert store.trials(study) == (measured(),)
        other.rollback()


def test_a_store_held_by_another_is_told_at_the_start(url, path, monkeypatch):
    monkeypatch.setattr(database, "WAIT_FOR_LOCK_MS", 50)
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("CREATE TABLE held (x)")
        other.commit()
        with pytest.raises(StoreError, match="cannot open it: database is locked"):
            Store(url)


def test_a_backup_may_be_taken_between_writes(url, path, measured):
    with Store(url) as store, closing(sqlite3.connect(path)) as other:
        study = store.study(Study("s", **IDENTITY))
        store.add_trial(study, measured((0.1,)))
        other.execute("VACUUM INTO ?", (str(path.parent / "copy.sqlite"),))
        store.add_trial(study, measured((0.2,)))
    with Store(f"sqlite:///{path.parent / 'copy.sqlite'}", create=False) as copy:
        assert copy.trials(study) == (measured((0.1,)),)
