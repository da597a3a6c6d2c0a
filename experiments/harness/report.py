"""What an experiment found: tables, curves and pictures, as JSON and as a page."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Estimate:
    """A figure with its standard error, both in the unit of its column."""

    value: float
    se: float

    @classmethod
    def percent(cls, value: float, se: float) -> "Estimate":
        """A share and its error in per cent."""
        return cls(100 * value, 100 * se)


@dataclass(frozen=True)
class Interval:
    """A figure within two bounds, all in the unit of its column."""

    value: float
    low: float
    high: float


Cell = str | int | float | Estimate | Interval | None


def accuracy(right: ArrayLike) -> Estimate:
    """The share of right answers, in %.

    Args:
        right: 1 for each image that was answered rightly, else 0.
    """
    values = np.asarray(right, dtype=np.float64)
    return Estimate(100 * float(values.mean()), 100 * float(values.std()) / len(values) ** 0.5)


def change(right: ArrayLike, before: ArrayLike) -> Estimate:
    """The share of right answers less that of another run, in points; the images are the same, in the same order."""
    return accuracy(np.asarray(right, dtype=np.float64) - np.asarray(before, dtype=np.float64))


def mean(values: NDArray[np.float64]) -> Estimate:
    """The mean of a sample in its own unit, with the unbiased variance's standard error."""
    return Estimate(float(values.mean()), float(values.std(ddof=1) / len(values) ** 0.5))


@dataclass(frozen=True)
class Table:
    """Rows under the same columns.

    Attributes:
        title: what the rows are.
        rows: each with the same keys, the names of the columns, units included.
        digits: behind the point, of the columns whose figures need more or fewer than one.
        timed: columns that hold times, which no second run gives again.
    """

    title: str
    rows: Sequence[Mapping[str, Cell]]
    digits: Mapping[str, int] = field(default_factory=dict)
    timed: Sequence[str] = ()

    def text(self, column: str, cell: Cell) -> str:
        """A cell as it is printed; two runs agree if this does."""
        digits = self.digits.get(column, 1)
        if cell is None:
            return ""
        if isinstance(cell, Estimate):
            return f"{cell.value:.{digits}f} ± {cell.se:.{digits}f}"
        if isinstance(cell, Interval):
            return f"{cell.value:.{digits}f} ({cell.low:.{digits}f} to {cell.high:.{digits}f})"
        return f"{cell:.{digits}f}" if isinstance(cell, float) else str(cell)

    def markdown(self) -> str:
        """The table as Markdown."""
        columns = list(self.rows[0])
        lines = [columns, ["---"] * len(columns)]
        lines += [[self.text(column, row[column]) for column in columns] for row in self.rows]
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)


@dataclass(frozen=True)
class Curve:
    """One line of a plot; ``y_se`` are standard errors."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    y_se: Sequence[float] | None = None

    @classmethod
    def through(cls, label: str, x: Sequence[float], estimates: Sequence[Estimate]) -> "Curve":
        """The curve through estimates, with their errors."""
        return cls(label, x, [one.value for one in estimates], [one.se for one in estimates])


@dataclass(frozen=True)
class Plot:
    """Panels side by side under shared axes.

    Attributes:
        name: of the file, without its suffix; the experiment's name goes before it.
        x_label: with its unit.
        y_label: with its unit.
        panels: curves by the title of their panel.
        log_x: whether the horizontal axis is logarithmic.
        scatter: points instead of lines.
    """

    name: str
    x_label: str
    y_label: str
    panels: Mapping[str, Sequence[Curve]]
    log_x: bool = False
    scatter: bool = False


@dataclass(frozen=True)
class Report:
    """All that an experiment found.

    Attributes:
        tables: in the order in which they are read.
        plots: drawn from what they hold.
        remarks: sentences made from the figures, one a line.
        pictures: ``height x width x 3`` arrays of uint8, by the name of their file, without its suffix.
    """

    tables: Sequence[Table]
    plots: Sequence[Plot] = ()
    remarks: Sequence[str] = ()
    pictures: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Everything but the pictures."""
        content = asdict(self)
        del content["pictures"]
        return content


def table_from_json(content: Mapping[str, Any]) -> Table:
    """The table that `Report.to_json` wrote."""

    def cell(value: Any) -> Cell:
        if not isinstance(value, dict):
            return cast(Cell, value)
        return Estimate(**value) if "se" in value else Interval(**value)

    rows = [{name: cell(value) for name, value in row.items()} for row in content["rows"]]
    return Table(content["title"], rows, content["digits"], content["timed"])
