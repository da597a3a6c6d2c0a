import dataclasses
import json
import math
from typing import Literal

import numpy as np
import pytest

from thinwire.errors import BundleError, InvalidRequestError
from thinwire.records import Count, JsonObject, Number, Real, Text, read, read_file, record


@record("inner", BundleError)
class Inner:
    share: Real
    kind: Literal["a", "b"] = "a"


@record()
class Outer:
    name: Text
    counts: tuple[Count, ...]
    inner: Inner
    level: Number = 0
    more: JsonObject = dataclasses.field(default_factory=dict, hash=False)


CONTENT = {"name": "one", "counts": [1, 2], "inner": {"share": 0.5}}


def test_a_record_is_read_with_all_that_it_holds():
    assert read(Outer, CONTENT) == Outer("one", (1, 2), Inner(0.5))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": ""}, "file.name must be a text that is not empty, got ''"),
        ({"name": 3}, "file.name must be a text, got 3"),
        ({"counts": [1, 0]}, "file.counts.1 must be at least 1, got 0"),
        ({"counts": [True]}, "file.counts.0 must be a whole number, got True"),
        ({"counts": 4}, "file.counts must be a list, got 4"),
        ({"inner": {"share": "0.5"}}, "file.inner.share must be a number, got '0.5'"),
        ({"inner": {"share": math.inf}}, "file.inner.share must be a finite number, got inf"),
        ({"inner": {}}, "file.inner.share is missing"),
        ({"inner": {"share": 1, "kind": "c"}}, "file.inner.kind must be 'a' or 'b', got 'c'"),
        ({"surprise": 1}, "file.surprise is unknown"),
        ({"level": "high"}, "file.level must be a finite number, got 'high'"),
        ({"more": [1]}, "file.more must be an object, got [1]"),
    ],
)
def test_a_wrong_field_is_told_with_its_place(change, message):
    with pytest.raises(InvalidRequestError) as caught:
        read(Outer, CONTENT | change, "file")
    assert str(caught.value) == message


def test_a_caller_is_told_by_the_records_own_error_and_name():
    with pytest.raises(BundleError, match=r"^inner\.share must be a number, got None$"):
        Inner(None)
    with pytest.raises(InvalidRequestError, match=r"^counts\.0 must be a whole number, got 1\.5$"):
        Outer("one", (1.5,), Inner(1))


def test_many_errors_and_long_values_are_cut_short():
    with pytest.raises(InvalidRequestError) as caught:
        read(Outer, CONTENT | {"counts": ["x" * 1000] * 9})
    assert str(caught.value).endswith("; and 4 more")
    assert len(str(caught.value)) < 1000


def test_numpys_scalars_become_plain_numbers_and_nothing_else_is_converted():
    built = Outer("one", (np.int64(3),), Inner(np.float32(0.5)), np.float64(2))
    assert [type(value) for value in (built.counts[0], built.inner.share, built.level)] == [int, float, float]
    assert type(Inner(1).share) is float
    # A digest goes by how it was written.
    assert [json.dumps(read(Outer, CONTENT | {"level": level}).level) for level in (5, 5.0)] == ["5", "5.0"]


def test_later_changes_to_an_object_stay_outside():
    given = {"a": {"b": (1, 2)}}
    built = Outer("one", (), Inner(1), more=given)
    given["a"]["b"] = 3
    assert built.more == {"a": {"b": [1, 2]}}


def test_a_record_is_frozen_and_replaced_with_checks():
    built = Inner(1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        built.share = 2
    with pytest.raises(BundleError, match="kind must be"):
        dataclasses.replace(built, kind="c")


def test_a_file_may_begin_with_a_byte_order_mark_but_not_be_nested_without_end(tmp_path):
    path = tmp_path / "file.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(CONTENT).encode())
    assert read_file(path) == CONTENT
    path.write_text("[" * 100_000)
    with pytest.raises(ValueError, match=r"nested too deeply|Expecting"):
        read_file(path)
