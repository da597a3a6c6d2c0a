import pytest
import sqlalchemy as sa

from policies.store import Store
from policies.study import Study
from tests.policies.store.parts import IDENTITY, alter, past_the_store
from thinwire.errors import StoreError


def tables(url):
    with past_the_store(url) as connection:
        return sorted(sa.inspect(connection).get_table_names())


@pytest.mark.parametrize("version", [0, 1, 9])
def test_another_schema_is_refused(url, store, version):
    alter(url, "UPDATE schema_version SET version = :version", version=version)
    with pytest.raises(StoreError, match=f"has schema {version}; this version reads 2"):
        Store(url)


@pytest.mark.parametrize("rest", [[], ["baselines"], ["baselines", "fronts", "trials", "studies"]])
def test_a_start_cut_short_is_completed(url, rest):
    Store(url).close()
    whole = tables(url)
    for table in rest:
        alter(url, f"DROP TABLE {table}")
    alter(url, "DELETE FROM schema_version")
    Store(url, create=False).close()
    assert tables(url) == whole


def test_a_database_of_something_else_is_left_alone(url):
    alter(url, "CREATE TABLE studies (study_id INTEGER)")
    with pytest.raises(StoreError, match=r"is no policy store: it has tables \['studies'\]"):
        Store(url)
    assert tables(url) == ["studies"]


def test_an_empty_database_becomes_no_store_unless_asked(url):
    with past_the_store(url) as connection:
        connection.execute(sa.text("SELECT 1"))
    with pytest.raises(StoreError, match="there is none"):
        Store(url, create=False)
    assert tables(url) == []
    Store(url).close()
    Store(url, create=False).close()


def test_a_store_may_stand_beside_other_tables(url):
    alter(url, "CREATE TABLE notes (note INTEGER)")
    with Store(url) as store:
        assert store.study(Study("s", **IDENTITY)).name == "s"
    assert "notes" in tables(url)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("policies.db", "sqlite:///policies.db"),
        ("postgresql+psycopg://host:port/db", "sqlite:///policies.db"),
        ("mysql://host/db", r"mysql://host/db: expected sqlite:/// or postgresql\+psycopg://"),
        ("postgresql+asyncpg://host/db", r"expected sqlite:/// or postgresql\+psycopg://"),
    ],
)
def test_a_wrong_url_is_refused(url, message):
    with pytest.raises(StoreError, match=message):
        Store(url)


@pytest.mark.parametrize(
    "url",
    [
        "nothing://user:secret@host/db",
        "nothing://host/db?user=u&password=secret",
        "postgresql+psycopg://u:secret@host:x/db",
    ],
)
def test_a_password_stays_out_of_messages(url):
    with pytest.raises(StoreError) as caught:
        Store(url)
    assert "secret" not in str(caught.value)
