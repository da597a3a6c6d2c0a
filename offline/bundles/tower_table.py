"""The table of towers: which vision transformers build, split, merge and export, measured name by name."""

import fnmatch
import json
import multiprocessing
import resource
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from importlib import resources
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from thinwire.errors import InvalidRequestError, ThinwireError

# Of timm's files, those that hold vision transformers of one resolution, and the nearest of kin, which are refused.
MODULES = (
    "vision_transformer",
    "deit",
    "eva",
    "vision_transformer_hybrid",
    "vision_transformer_relpos",
    "vision_transformer_sam",
    "naflexvit",
    "beit",
)
TRANSFORMERS = "transformers:"
LAYERS, CLASSES = 2, 10
# Of the symbols and logits of an export, as a share of the largest.
TOLERANCE = 1e-3
TIMEOUT_S = 1800


@dataclass(frozen=True)
class Row:
    """What was measured of a name.

    Attributes:
        name: of timm, or ``transformers:`` and a class.
        built: a model of it can be built and planned as a tower.
        equal: logits of the unmerged split are within 1e-4 of the largest of the library's own forward pass.
        merged: it runs with thresholds that merge, to finite logits.
        exported: its ONNX graphs give torch's tokens, symbols and logits, merged and plain.
        preprocessing: how its bundle prepares pictures: fit, crop, interpolation, size; "" where none was built.
        reason: why not, where one of these is false; otherwise how the library prepares pictures differently, if so.
    """

    name: str
    built: bool = False
    equal: bool = False
    merged: bool = False
    exported: bool = False
    preprocessing: str = ""
    reason: str = ""


def table_path() -> Path:
    """Where the table lies that comes with the package."""
    return Path(str(resources.files("offline"))) / "bundles" / "towers.json"


def read_table(path: Path) -> list[Row]:
    """The rows of a file, none of one that is not there.

    Raises:
        InvalidRequestError: it is no table of towers.
    """
    try:
        return [Row(**row) for row in json.loads(path.read_text())] if path.is_file() else []
    except (OSError, TypeError, ValueError) as error:
        raise InvalidRequestError(f"output: expected a table of towers, got {path}: {error}") from None


def write_table(path: Path, rows: list[Row]) -> None:
    """Write rows, one a line, by name.

    Raises:
        InvalidRequestError: the file cannot be written.
    """
    lines = [json.dumps(asdict(row)) for row in sorted(rows, key=lambda row: row.name)]
    temporary = path.with_name(f".{path.name}")
    try:
        temporary.write_text("[\n" + ",\n".join(lines) + "\n]\n")
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise InvalidRequestError(f"output: expected a file that can be written, got {path}: {error}") from None


def summary(rows: list[Row]) -> str:
    """Counts of a table, as a table in Markdown."""
    lines = ["| names of | rows | built | equal | merged | exported |", "| --- | --- | --- | --- | --- | --- |"]
    for library in ("timm", "transformers"):
        own = [row for row in rows if row.name.startswith(TRANSFORMERS) == (library == "transformers")]
        counts = [sum(getattr(row, column) for row in own) for column in ("built", "equal", "merged", "exported")]
        lines.append(f"| {library} | {len(own)} | {' | '.join(map(str, counts))} |")
    return "\n".join(lines)


def tower_names(pattern: str) -> list[str]:
    """Names that a pattern fits: of timm's `MODULES`, and of transformers' classes."""
    import timm

    import thinwire.nn  # noqa: F401
    from thinwire.nn.towers.hub_model import ARCHITECTURES

    known = [name for name in timm.list_models() if timm.model_entrypoint(name).__module__.split(".")[-1] in MODULES]
    known += [TRANSFORMERS + name for name in ARCHITECTURES]
    return [name for name in known if fnmatch.fnmatch(name, pattern)]


def check_towers(names: list[str], output: Path | None, memory_gib: float = 8.0) -> Iterator[Row]:
    """Measure names one after the other, each in a process of its own that ends with it.

    Args:
        names: of `tower_names`.
        output: where rows are kept as they come; names that are in it are not measured again.
        memory_gib: the most that one may take.

    Raises:
        InvalidRequestError: the output is no table, or cannot be written; told before anything is measured.
    """
    rows = read_table(output) if output else []
    done = {row.name for row in rows}
    names = [name for name in names if name not in done]
    if output and names:
        write_table(output, rows)
    for name in names:
        row = _apart(name, memory_gib)
        rows.append(row)
        if output:
            write_table(output, rows)
        yield row


def _apart(name: str, memory_gib: float) -> Row:
    _warm_up()
    context = multiprocessing.get_context("fork")
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(name, memory_gib, sending))
    process.start()
    sending.close()
    row = Row(name)
    try:
        # The last that came stands: each step sends what is known so far.
        while receiving.poll(TIMEOUT_S):
            row = receiving.recv()
    except EOFError:
        pass
    finally:
        process.kill()
        process.join()
    if process.exitcode and not row.reason and not row.exported:
        row = replace(row, reason=f"ended with {process.exitcode}: out of memory ({memory_gib:g} GiB) or of time")
    return row


@lru_cache(maxsize=1)
def _warm_up() -> None:
    """Import what every row needs before the fork, and what the exporter imports at its first use: half of a row."""
    import torch

    from offline.bundles import tower_checks
    from offline.export.export import export

    torch.set_num_threads(1)
    assert tower_checks.steps()
    export(torch.nn.Linear(2, 2), {"input": torch.zeros(1, 2)})


def _child(name: str, memory_gib: float, sending: Connection) -> None:
    import torch

    from offline.bundles.tower_checks import steps

    resource.setrlimit(resource.RLIMIT_DATA, (int(memory_gib * 2**30),) * 2)
    torch.set_num_threads(1)
    row = Row(name)
    with tempfile.TemporaryDirectory() as folder:
        step: tuple[str, Callable[[dict[str, Any]], None]]
        state: dict[str, Any] = {"name": name, "folder": Path(folder) / "bundle"}
        for step in steps():
            try:
                step[1](state)
            except MemoryError:
                sending.send(replace(row, reason=f"{step[0]}: out of memory ({memory_gib:g} GiB)"))
                return
            except Exception as error:
                kind = "" if isinstance(error, ThinwireError) else f"{type(error).__name__}: "
                reason = " ".join(f"{kind}{error}".split())[:300]
                sending.send(replace(row, reason=reason))
                return
            row = replace(row, preprocessing=state["preprocessing"], **{step[0]: True})  # type: ignore[arg-type]
            sending.send(row)
        sending.send(replace(row, reason=state["remark"]))
    sending.close()
