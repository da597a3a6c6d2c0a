"""The token file: its lines, what is refused, and that it is read again."""

import os
import time

import pytest

from thinwire.access import TokenFile
from thinwire.access.files import LOOK_S, SETTLED_S
from thinwire.errors import InvalidRequestError


def write(path, text, age_s=10.0):
    """Write the file as if some time ago, in one piece."""
    new = path.with_suffix(".new")
    new.write_text(text)
    written = time.time() - age_s
    os.utime(new, (written, written))
    new.replace(path)
    time.sleep(LOOK_S)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "tokens"


def test_a_line_is_a_name_a_token_and_what_it_permits(path):
    path.write_text("# who may\n\nalice:aaa\nbob:b/b+b==:control,metrics\n  carol:ccc:infer \n")
    tokens = TokenFile(path)
    assert tokens.find("aaa").name == "alice"
    assert tokens.find("aaa").permissions == {"infer"}
    assert tokens.find("b/b+b==").permissions == {"control", "metrics"}
    assert tokens.find("ccc").permissions == {"infer"}
    assert tokens.find("aa") is None
    assert tokens.find("") is None
    assert tokens.find("\udcff") is None


def test_a_name_may_have_several_tokens(path):
    path.write_text("alice:old\nalice:new\n")
    tokens = TokenFile(path)
    assert tokens.find("old").name == tokens.find("new").name == "alice"
    assert tokens.of("alice") == ("old", "new")
    assert tokens.of("bob") == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no tokens"),
        ("# nobody\n", "no tokens"),
        ("alice\n", "line 1: the token of alice"),
        ("alice:\n", "line 1"),
        ("a:x\nal ice:aaa\n", "line 2: expected name:token"),
        ("alice:a b\n", "the token of alice must be"),
        ("alice:aaa:infer,rule\n", "got 'rule'"),
        ("alice:aaa:\n", "got ''"),
        ("alice:aaa\nbob:aaa\n", "line 2: this token stands in the file twice"),
    ],
)
def test_what_is_no_token_file_is_refused_by_line(path, text, said):
    path.write_text(text)
    with pytest.raises(InvalidRequestError, match=said):
        TokenFile(path)


def test_no_message_has_a_token(path):
    path.write_text("alice:secretsecret secretsecret\n")
    with pytest.raises(InvalidRequestError) as caught:
        TokenFile(path)
    assert "secret" not in str(caught.value)
    path.write_text("alice:secretsecret\n")
    assert "secret" not in repr(TokenFile(path).find("secretsecret"))


def test_a_missing_file_is_refused(path):
    with pytest.raises(InvalidRequestError, match="cannot read the token file"):
        TokenFile(path)


def test_a_file_that_changes_is_read_again(path):
    write(path, "alice:aaa\n")
    tokens = TokenFile(path)
    write(path, "alice:new\nbob:bbb\n", 5.0)
    assert tokens.find("aaa") is None
    assert tokens.find("bbb").name == "bob"


@pytest.mark.parametrize("broken", ["", "alice\n", None])
def test_a_broken_file_leaves_what_was_and_is_told_once(path, caplog, broken):
    write(path, "alice:aaa\n")
    tokens = TokenFile(path)
    if broken is None:
        path.unlink()
    else:
        write(path, broken, 5.0)
    for _ in range(3):
        time.sleep(LOOK_S)
        assert tokens.find("aaa").name == "alice"
    assert len([one for one in caplog.records if one.levelname == "ERROR"]) == 1
    write(path, "bob:bbb\n", 3.0)
    assert tokens.find("bbb").name == "bob"


def test_a_file_that_is_being_written_is_left_alone_until_it_lies_still(path):
    write(path, "alice:aaa\n")
    tokens = TokenFile(path)
    path.write_text("bob:bbb\n")
    time.sleep(LOOK_S / 2)
    assert tokens.find("aaa") is not None
    time.sleep(2 * SETTLED_S)
    assert tokens.find("bbb") is not None


def test_two_files_are_one(tmp_path, path):
    path.write_text("alice:aaa\n")
    other = tmp_path / "more"
    other.write_text("bob:bbb\n")
    tokens = TokenFile(path, other)
    assert tokens.find("aaa").name == "alice"
    assert tokens.find("bbb").name == "bob"
