from dataclasses import replace

import pytest

from policies.study import Study
from thinwire.channels import Channel
from thinwire.errors import InvalidRequestError

STUDY = Study("s", "tiny", "b" * 64, Channel("awgn", 10.0), "select", "d" * 64, 7, {"a": "1"}, {"n": (1, 2)})


def test_settings_are_kept_as_json_keeps_them():
    assert STUDY.settings == {"n": [1, 2]}
    assert replace(STUDY, settings={"n": [1, 2]}) == STUDY


@pytest.mark.parametrize("settings", [{"n": object()}, [1], None])
def test_settings_that_are_no_json_object_are_refused(settings):
    with pytest.raises(InvalidRequestError, match=r"study\.settings must be"):
        replace(STUDY, settings=settings)


def test_differences_are_told_member_by_member():
    other = replace(STUDY, id=9, seed=8, versions={"a": "1", "b": "2"}, settings={"n": [1]})
    assert STUDY.differences(other) == [
        "seed is 7, got 8",
        "versions.b is not set, got '2'",
        "settings.n is [1, 2], got [1]",
    ]
    assert STUDY.differences(replace(STUDY, id=9)) == []
