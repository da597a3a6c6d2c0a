"""What the documentation says of the clients that are run."""

import json
from pathlib import Path

HERE = Path(__file__).parent


def test_the_documented_versions_are_those_that_run() -> None:
    document = " ".join((HERE.parents[2] / "docs/vqa.md").read_text().split())
    pins = dict(line.split("==") for line in (HERE / "requirements.txt").read_text().splitlines())
    for name in ("openai", "langchain-openai", "litellm"):
        assert f"{name} {pins[name]}" in document
    packages = json.loads((HERE / "package.json").read_text())
    for name, version in packages["dependencies"].items():
        assert name == "zod" or f"{name} {version}" in document.replace("`", ""), name
    # No range: what is installed is what was tried.
    for version in (packages["dependencies"] | packages["overrides"]).values():
        assert all(part.isdecimal() for part in version.split("."))


def test_so_is_that_of_tritons_client() -> None:
    pins = dict(line.split("==") for line in (HERE / "requirements-kserve.txt").read_text().splitlines())
    assert f"tritonclient {pins['tritonclient']}" in (HERE.parents[2] / "docs/use.md").read_text()
