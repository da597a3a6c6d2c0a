"""A client of the application that answers with what it has read."""

import pytest

from tests.thinwire.rest.requests import connect


@pytest.fixture(name="client")
async def client_fixture():
    async with connect() as client:
        yield client
