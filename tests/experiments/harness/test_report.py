"""Tables as they are printed, and back from JSON."""

import json

import pytest

from experiments.harness.report import Cell, Curve, Estimate, Interval, Plot, Report, Table, table_from_json

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
