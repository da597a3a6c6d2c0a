"""Tables as they are printed, and back from JSON."""

import json

import numpy as np
import pytest

from experiments.harness.report import (
    Cell,
    Curve,
    Estimate,
    Interval,
    Plot,
    Report,
    Table,
    accuracy,
    change,
    mean,
    table_from_json,
)

TABLE = Table(
    "Accuracy",
    [
        {
            "policy": "none",
            "accuracy, %": Estimate(85.94, 0.493),
            "GMACs": 0.11123,
            "tokens": 64,
            "note": None,
            "ms": Interval(2.345, 2.2, 2.4),
        }
    ],
    digits={"GMACs": 4, "ms": 2},
    timed=("tokens",),
)


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ("policy", "none"),
        ("accuracy, %", "85.9 ± 0.5"),
        ("GMACs", "0.1112"),
        ("tokens", "64"),
        ("note", ""),
        ("ms", "2.35 (2.20 to 2.40)"),
    ],
)
def test_a_cell_is_printed_with_the_digits_of_its_column(column: str, expected: str) -> None:
    assert TABLE.text(column, TABLE.rows[0][column]) == expected


def test_a_table_as_markdown() -> None:
    assert TABLE.markdown().splitlines() == [
        "| policy | accuracy, % | GMACs | tokens | note | ms |",
        "| --- | --- | --- | --- | --- | --- |",
        "| none | 85.9 ± 0.5 | 0.1112 | 64 |  | 2.35 (2.20 to 2.40) |",
    ]


def test_tables_come_back_from_json() -> None:
    plot = Plot("p", "x", "y", {"": [Curve("a", [1, 2], [3, 4])]})
    content = json.loads(json.dumps(Report([TABLE], [plot], ["a remark"]).to_json()))
    back = table_from_json(content["tables"][0])
    assert back.rows == TABLE.rows
    assert (back.title, back.digits, list(back.timed)) == (TABLE.title, TABLE.digits, list(TABLE.timed))
    assert content["remarks"] == ["a remark"]


@pytest.mark.parametrize("cell", [3, 3.0, "3", None, Estimate(3.0, 1.0)])
def test_a_column_without_digits_of_its_own_has_one(cell: Cell) -> None:
    assert Table("t", [{"c": cell}]).text("c", cell) in ("3", "3.0", "", "3.0 ± 1.0")


def test_a_share_has_the_standard_error_of_a_binomial() -> None:
    found = accuracy([1] * 30 + [0] * 10)
    assert (found.value, found.se) == (75, pytest.approx(100 * (0.75 * 0.25 / 40) ** 0.5))


def test_a_change_counts_only_the_images_whose_answer_changed() -> None:
    found = change([1, 1, 0, 0] * 25, [1, 0, 1, 0] * 25)
    assert (found.value, found.se) == (0, pytest.approx(100 * (0.5 / 100) ** 0.5))
    assert change([1, 0], [1, 0]).se == 0


def test_estimate_is_mean_and_standard_error() -> None:
    found = mean(np.array([1.0, 2.0, 3.0, 4.0]))
    assert found.value == 2.5
    assert found.se == pytest.approx((5 / 3) ** 0.5 / 2)
