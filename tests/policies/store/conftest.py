"""Stores in both databases."""

import pytest

from policies.store import Store
from tests.policies.store import server as postgresql


@pytest.fixture(scope="session", name="shared_server")
def shared_server_fixture():
    """The PostgreSQL server of all tests, which some of them kill."""
    programs = postgresql.programs()
    if programs is None:
        pytest.skip("no PostgreSQL server's programs under /usr/lib/postgresql")
    server = postgresql.Server(programs)
    try:
        yield server
    finally:
        server.remove()


@pytest.fixture(name="server")
def server_fixture(shared_server):
    """A PostgreSQL server that runs."""
    shared_server.start()
    return shared_server


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)], name="url")
def url_fixture(request, tmp_path):
    """An empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'policies.db'}"
    return request.getfixturevalue("server").empty_database()


@pytest.fixture(name="store")
def store_fixture(url):
    """An open store in an empty database."""
    with Store(url) as opened:
        yield opened
