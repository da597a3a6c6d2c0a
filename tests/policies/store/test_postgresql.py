import socket
import sys
import time
import traceback
from signal import SIGINT
from urllib.parse import quote

import pytest
import sqlalchemy as sa

from policies.store import Store, database
from policies.study import Study
from tests.policies.store.parts import IDENTITY, alter, past_the_store
from tests.policies.store.server import PASSWORD
from thinwire.errors import StoreError

SECRET = "a-secret"


@pytest.fixture(name="url")
def url_fixture(server):
    return server.empty_database()


def assert_secret(error, secret=PASSWORD):
    assert secret not in "".join(traceback.format_exception(error.value))


def test_a_missing_driver_is_told_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(StoreError, match=r"pip install -e '\.\[postgresql\]'") as caught:
        Store(f"postgresql+psycopg://user:{SECRET}@host/db")
    assert_secret(caught, SECRET)


def test_a_server_that_is_not_there_is_told_at_once():
    with socket.socket() as taken:
        # Bound and never listening: what connects is refused.
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(StoreError, match=r"cannot open it: .*refused") as caught:
            Store(f"postgresql+psycopg://user:{SECRET}@127.0.0.1:{taken.getsockname()[1]}/db")
    assert_secret(caught, SECRET)


def test_a_server_that_says_nothing_is_given_up(monkeypatch):
    monkeypatch.setattr(database, "CONNECT_TIMEOUT_S", 2)
    with (
        socket.create_server(("127.0.0.1", 0)) as mute,
        pytest.raises(StoreError, match=r"cannot open it: .*timeout") as caught,
    ):
        Store(f"postgresql+psycopg://user:{SECRET}@127.0.0.1:{mute.getsockname()[1]}/db")
    assert_secret(caught, SECRET)


@pytest.mark.postgresql
@pytest.mark.parametrize("wrong", [SECRET, ""])
def test_a_wrong_password_is_told_and_not_repeated(url, wrong):
    with pytest.raises(StoreError, match=r"cannot open it: .*password") as caught:
        Store(url.replace(PASSWORD, wrong))
    assert_secret(caught, wrong or PASSWORD)


@pytest.mark.postgresql
def test_a_database_that_is_missing_is_told(url):
    with pytest.raises(StoreError, match='database "nowhere" does not exist') as caught:
        Store(url.replace("/postgres?", "/nowhere?"))
    assert_secret(caught)


@pytest.mark.postgresql
def test_connections_that_died_between_two_calls_are_made_again(url, server, measured):
    with Store(url) as store:
        study = store.study(Study("s", **IDENTITY))
        ended = server.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
        assert ended == [(True,)]
        assert store.add_trial(study, measured())
        assert store.trials(study) == (measured(),)


@pytest.mark.postgresql
def test_a_server_that_went_down_is_told_and_found_again(url, server, measured):
    with Store(url) as store:
        study = store.study(Study("s", **IDENTITY))
        server.stop(SIGINT)
        began = time.monotonic()
        with pytest.raises(StoreError, match="cannot add policy") as caught:
            store.add_trial(study, measured())
        assert_secret(caught)
        with pytest.raises(StoreError, match="cannot open it") as caught:
            Store(url)
        assert_secret(caught)
        # Nobody waited half a minute, as for a lock.
        assert time.monotonic() - began < 25
        server.start()
        assert store.add_trial(study, measured())


@pytest.mark.postgresql
def test_a_lock_is_waited_for_and_then_told(url, monkeypatch, measured):
    monkeypatch.setattr(database, "WAIT_FOR_LOCK_MS", 50)
    with Store(url) as store:
        study = store.study(Study("s", **IDENTITY))
        with past_the_store(url) as other:
            other.execute(sa.text("LOCK TABLE trials"))
            with pytest.raises(StoreError, match=r"cannot add policy .*lock timeout"):
                store.add_trial(study, measured())
        assert store.add_trial(study, measured())


@pytest.mark.postgresql
def test_settings_of_the_url_win_but_not_over_the_isolation(url):
    options = quote("-c lock_timeout=7000 -c default_transaction_isolation=serializable")
    opened = database.Database(f"{url}&options={options}", create=False)
    with opened.transaction("look") as connection:
        shown = [
            connection.execute(sa.text(f"SHOW {name}")).scalar_one()
            for name in ("lock_timeout", "transaction_isolation")
        ]
    opened.close()
    assert shown == ["7s", "read committed"]


@pytest.mark.postgresql
def test_a_database_without_an_encoding_keeps_texts(server):
    server.execute("DROP DATABASE IF EXISTS plain")
    server.execute("CREATE DATABASE plain TEMPLATE template0 ENCODING 'SQL_ASCII'")
    with Store(server.url("plain")) as store:
        study = store.study(Study("大小", **IDENTITY))
        assert store.studies() == (study,)


@pytest.mark.postgresql
def test_a_key_that_is_taken_by_accident_drops_nothing_in_silence(url, measured):
    # As after a careless restore, which sets the rows but not the sequence of their keys.
    with Store(url) as store:
        study = store.study(Study("s", **IDENTITY))
        store.add_trial(study, measured((0.1,)))
        alter(url, "ALTER SEQUENCE trials_id_seq RESTART")
        with pytest.raises(StoreError, match="trials_pkey"):
            store.add_trial(study, measured((0.2,)))


@pytest.mark.postgresql
def test_a_dump_is_a_backup(url, server, measured):
    with Store(url) as store:
        study = store.study(Study("s", **IDENTITY))
        store.add_trial(study, measured((0.1,)))
        dump = server.dump()
    url = server.empty_database()
    server.restore(dump)
    with Store(url, create=False) as store:
        assert store.studies() == (study,)
        assert store.add_trial(study, measured((0.2,)))
        assert store.trials(study) == (measured((0.1,)), measured((0.2,)))
