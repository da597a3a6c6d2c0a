"""The table of towers, and a sample of it measured anew."""

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from offline.bundles.tower_table import Row, check_towers, read_table, summary, table_path, tower_names, write_table
from thinwire.errors import InvalidRequestError

ROOT = Path(__file__).parents[3]


def test_the_stored_table_is_long_enough_and_says_why_where_not():
    rows = read_table(table_path())
    assert len({row.name for row in rows}) == len(rows)
    for row in rows:
        # A tower that passes may still see other pictures than its library would show it.
        assert row.reason.startswith("pictures: ") if row.exported and row.reason else row.exported != bool(row.reason)
        assert bool(row.preprocessing) >= row.built
        # Each column needs the one before it.
        assert [row.built, row.equal, row.merged, row.exported] == sorted(
            (row.built, row.equal, row.merged, row.exported), reverse=True
        )


def test_the_page_states_its_counts():
    assert summary(read_table(table_path())) in (ROOT / "docs" / "towers.md").read_text()


def test_names_are_those_of_both_libraries():
    assert tower_names("test_vit") == ["test_vit"]
    assert "transformers:Dinov2ForImageClassification" in tower_names("transformers:*")
    assert tower_names("resnet*") == []


@pytest.mark.parametrize("name", ["test_vit2", "vit_relpos_small_patch16_224"])
def test_a_row_measured_anew_is_the_stored_one_and_is_not_measured_twice(tmp_path, name):
    output = tmp_path / "rows.json"
    # A process of its own: each row is forked, and this one may hold gRPC's threads, which a fork does not survive.
    command = [sys.executable, "-m", "deploy.cli.main", "bundle", "towers", "--check", name, "--output", str(output)]
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    (row,) = read_table(output)
    assert row.exported == (name == "test_vit2")
    assert json.loads(output.read_text()) == [asdict(row)]
    assert list(check_towers([name], output)) == []


def test_a_row_that_runs_out_of_memory_has_a_reason():
    (row,) = check_towers(["test_vit"], None, memory_gib=0.01)
    assert not row.exported
    # Which of the libraries runs out decides the words.
    assert row.reason


def test_rows_are_kept_by_name(tmp_path):
    path = tmp_path / "rows.json"
    write_table(path, [Row("b"), Row("a", True, reason="why")])
    assert [row.name for row in read_table(path)] == ["a", "b"]


@pytest.mark.parametrize("output", [".", "file/rows.json"])
def test_a_table_that_cannot_be_written_is_told_before_anything_is_measured(tmp_path, monkeypatch, output):
    (tmp_path / "file").write_text("mine")
    monkeypatch.setattr("offline.bundles.tower_table._apart", None)
    with pytest.raises(InvalidRequestError, match="output: expected a file that can be written, got"):
        list(check_towers(["test_vit"], tmp_path / output))
    assert not (tmp_path.parent / f".{tmp_path.name}").exists()


@pytest.mark.parametrize("content", ["{", "[1]", '{"rows": []}', '[{"built": true}]'])
def test_a_file_that_is_no_table_is_told(tmp_path, content):
    path = tmp_path / "rows.json"
    path.write_text(content)
    with pytest.raises(InvalidRequestError, match="output: expected a table of towers, got"):
        list(check_towers(["test_vit"], path))
    assert path.read_text() == content
