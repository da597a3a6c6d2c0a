"""The commands of the README and of the guides, their requests, and what they show for them."""

import doctest
import io
import json
import re
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
USE = ROOT / "docs" / "use.md"
EDGE, CLOUD = "http://127.0.0.1:8080", "http://127.0.0.1:8000"
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PROGRAM = re.compile(r"(\S+=\S+ )*(\S+/bin/)?(make|thinwire|docker|pip|curl|python) .*")


class Block(NamedTuple):
    """A fenced block: its language and its text."""

    language: str
    text: str


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page."""
    return [Block(*found) for found in _BLOCK.findall(page.read_text())]


def commands(text: str) -> list[str]:
    """The commands of shell text, without comments; one that goes on behind a backslash is one."""
    lines = (re.sub(r"(^|\s+)#\s.*", "", line) for line in text.replace("\\\n", "").splitlines())
    return [line.strip() for line in lines if line.strip()]


def inline_commands(page: Path) -> list[str]:
    """The commands that stand within sentences."""
    spans = re.findall(r"`([^`]+)`", _BLOCK.sub("", page.read_text()))
    return [command for span in spans if _PROGRAM.fullmatch(command := " ".join(span.split()))]


def examples(*pages: Path) -> list[tuple[str, Any]]:
    """Each request of pages (left out: the README and its guide) as shell text, and the JSON shown for it.

    A request is a block of curl; what sets the variable CAT counts for all that follow.
    """
    setup, request, found = "", "", []
    for block in (block for page in pages or (README, USE) for block in blocks(page)):
        if block.language == "json" and request:
            found.append((request, json.loads(block.text)))
        request = ""
        if block.language == "bash" and "curl " in block.text:
            setup = "".join(re.findall(r"^CAT=.*\n", block.text, re.MULTILINE)) or setup
            request = block.text if "CAT=" in block.text else setup + block.text
    return found


def ask(script: str) -> Any:
    """Run a request as the page has it."""
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=ROOT, capture_output=True, check=True)
    return json.loads(done.stdout)


def rounded(answer: Any) -> Any:
    """An answer without its times, and with scores to three decimals."""
    if not isinstance(answer, dict):
        return answer
    kept = {key: value for key, value in answer.items() if key != "timings_ms"}
    if "outputs" in kept:
        kept["outputs"] = [output | {"score": round(output["score"], 3)} for output in kept["outputs"]]
    return kept


def run_example(documented: Any, **names: object) -> str:
    """Run the one example of a docstring, and give what failed.

    Args:
        documented: a class or a function.
        names: what the example takes for given.
    """
    told = io.StringIO()
    (example,) = doctest.DocTestFinder(recurse=False).find(documented, documented.__name__, globs=dict(names))
    assert len(example.examples) > 1
    doctest.DocTestRunner(verbose=False).run(example, out=told.write)
    return told.getvalue()
