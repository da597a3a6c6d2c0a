"""What a process says of being open to others, and the token of the environment."""

import pytest

from thinwire.access import Security, TokenFile
from thinwire.access.security import bearer, token_of_environment
from thinwire.errors import InvalidRequestError

BEYOND = ["0.0.0.0:8080", "127.0.0.1:8081", "[::]:9"]


@pytest.fixture
def tokens(tmp_path):
    path = tmp_path / "tokens"
    path.write_text("alice:aaa")
    return TokenFile(path)


def warnings(caplog):
    return [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]


def test_being_open_to_other_machines_is_told_once(caplog):
    Security().warn(BEYOND)
    (said,) = warnings(caplog)
    assert said.startswith("other machines reach 0.0.0.0:8080, [::]:9 without tokens (--token-file) and without TLS")


def test_what_is_lacking_is_told(caplog, tokens):
    Security(tokens=tokens).warn(BEYOND)
    (said,) = warnings(caplog)
    assert "--token-file" not in said
    assert "TLS" in said


@pytest.mark.parametrize("addresses", [["127.0.0.1:1", "[::1]:2", "localhost:3", "127.8.0.1:4"], []])
def test_loopback_is_nobodys_but_ours(caplog, addresses):
    Security().warn(addresses)
    assert not warnings(caplog)


def test_insecure_silences_it(caplog):
    Security(insecure=True).warn(BEYOND)
    assert not warnings(caplog)


def test_a_token_is_given_or_the_environments(monkeypatch):
    monkeypatch.setenv("THINWIRE_TOKEN", " theirs\n")
    assert token_of_environment() == "theirs"
    assert token_of_environment("mine") == "mine"
    assert token_of_environment("") is None
    assert bearer("mine") == (("authorization", "Bearer mine"),)
    monkeypatch.delenv("THINWIRE_TOKEN")
    assert token_of_environment() is None
    assert bearer(None) == ()


@pytest.mark.parametrize("token", ["two words", "line\nbreak", "ключ"])
def test_what_no_header_can_hold_is_refused(token):
    with pytest.raises(InvalidRequestError, match="THINWIRE_TOKEN"):
        token_of_environment(token)
