"""The requests in the README and the responses that it shows for them."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
_BLOCK = re.compile(r"^```(bash|json)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def examples() -> list[tuple[str, Any]]:
    """Each request as shell text, with the set-up before it, and the JSON that the README shows for it."""
    setup, request, found = "", "", []
    for kind, text in _BLOCK.findall((ROOT / "README.md").read_text()):
        if kind == "json":
            found.append((setup + request, json.loads(text)))
        elif text.startswith("curl"):
            request = text
        else:
            setup += text
    return found


def ask(script: str) -> Any:
    """Run a request as the README has it."""
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
