"""Results as files: JSON, plots and a page for each experiment, and an index of all."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

from experiments.harness.experiment import Experiment
from experiments.harness.plots import draw
from experiments.harness.report import Cell, Estimate, Report, Table, table_from_json
from experiments.registry import MODULES, load
from policies.files import write_whole
from thinwire.errors import InvalidRequestError
from thinwire.images import to_png

INDEX = "index.md"


def read(name: str, folder: Path) -> dict[str, Any] | None:
    """The JSON of an experiment, if the folder has it.

    Raises:
        InvalidRequestError: it cannot be read.
    """
    path = folder / f"{name}.json"
    if not path.exists():
        return None
    try:
        content: dict[str, Any] = json.loads(path.read_text())
        # Files of before there was one form for all have none.
        content["tables"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise InvalidRequestError(f"no readable results {path}: {error}") from None
    return content


def write(experiment: Experiment, report: Report, content: Mapping[str, Any], folder: Path) -> None:
    """Write what was found; the JSON comes last, so that where it is, all is there."""
    folder.mkdir(parents=True, exist_ok=True)
    page = experiment.page(content.get("options", {}).get("bundle"))
    for plot in report.plots:
        write_whole(folder / f"{page}-{plot.name}.png", draw(plot))
    for name, pixels in report.pictures.items():
        write_whole(folder / f"{page}-{name}.png", to_png(pixels))
    write_whole(folder / f"{page}.md", _page(page, experiment, report, content).encode())
    write_whole(folder / f"{page}.json", (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())


def write_index(folder: Path) -> None:
    """Write the list of what the folder has."""
    rows = []
    for name in MODULES:
        for page in (name, *sorted(path.stem for path in folder.glob(f"{name}-*.json"))):
            if (content := read(page, folder)) is not None:
                title = load(name).title + page.removeprefix(name).replace("-", ": ", 1)
                rows.append(f"| [{title}]({page}.md) | `{content['command']}` | {content['seconds']:.0f} |")
    text = (
        "# Results\n\nEach page was written by the command beside it. Seconds are on two busy cores, without what was "
        "killed.\n\n"
        "| experiment | command | seconds |\n| --- | --- | --- |\n" + "\n".join(rows) + "\n"
    )
    write_whole(folder / INDEX, text.encode())


def _page(page: str, experiment: Experiment, report: Report, content: Mapping[str, Any]) -> str:
    about = experiment.about.strip().replace("{bundle}", next(iter(content["bundles"]), ""))
    parts = [f"# {experiment.title}", about, f"    {content['command']}"]
    if content["quick"]:
        parts.append("A quick run: it shows that all works, and its figures mean little.")
    for table in report.tables:
        parts += [f"**{table.title}**", table.markdown()]
    parts += [f"![{plot.y_label} over {plot.x_label}]({page}-{plot.name}.png)" for plot in report.plots]
    parts += [f"![{name}]({page}-{name}.png)" for name in report.pictures]
    if report.remarks:
        parts.append("\n".join(f"- {remark}" for remark in report.remarks))
    versions = ", ".join(f"{name} {number}" for name, number in content["versions"].items())
    bundles = ", ".join(f"{name} {digest[:12]}" for name, digest in content["bundles"].items())
    parts.append(f"Seed {content['seed']}; {f'bundles {bundles}; ' if bundles else ''}{versions}.")
    return "\n\n".join(parts) + "\n"


@dataclass(frozen=True)
class Comparison:
    """Two runs of an experiment.

    Attributes:
        differences: where they disagree, one line each.
        estimates: how many were compared by their standard errors, which is done for two seeds.
        outside: how many of them are further apart than 1.96 standard errors of the difference, as one in twenty of
            equal ones is.
    """

    differences: list[str]
    estimates: int = 0
    outside: int = 0


def compare(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Comparison:
    """Compare two runs of an experiment.

    With one seed every cell must be printed alike, but for times. With two, estimates must be as near as their standard
    errors allow, in all of them at once: of equal runs, one in twenty has a difference (Bonferroni's correction).
    """
    tables = [[table_from_json(table) for table in content["tables"]] for content in (ours, theirs)]
    if [len(table.rows) for table in tables[0]] != [len(table.rows) for table in tables[1]]:
        return Comparison(["other tables, or other numbers of rows"])
    cells = [
        (mine, number, column, row[column], other_row.get(column))
        for mine, other in zip(*tables, strict=True)
        for number, (row, other_row) in enumerate(zip(mine.rows, other.rows, strict=True), 1)
        for column in row
        if column not in mine.timed
    ]

    def line(table: Table, number: int, column: str, cell: Cell, other: Cell) -> str:
        return f"{table.title}, row {number}, {column}: {table.text(column, cell)}, not {table.text(column, other)}"

    if ours["seed"] == theirs["seed"]:
        return Comparison([line(*one) for one in cells if one[0].text(*one[2:4]) != one[0].text(one[2], one[4])])
    distances = [(one, _distance(*one[3:])) for one in cells]
    compared = [(one, distance) for one, distance in distances if distance is not None]
    limit = NormalDist().inv_cdf(1 - 0.025 / max(1, len(compared)))
    far = [line(*one) for one, distance in compared if distance > limit]
    return Comparison(far, len(compared), sum(distance > 1.96 for _, distance in compared))


def _distance(cell: Cell, other: Cell) -> float | None:
    """Of two estimates, in standard errors of their difference."""
    if not (isinstance(cell, Estimate) and isinstance(other, Estimate)):
        return None
    apart, error = abs(cell.value - other.value), math.hypot(cell.se, other.se)
    return apart / error if error else math.inf if apart else 0.0
