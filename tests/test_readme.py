"""What the README says can be done can be done, and what it quotes is what ships."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import thinwire
from deploy.cli.common import DEFAULT_BUNDLES
from deploy.cli.main import main, parser
from deploy.demo import SHARES, drawing, photographs
from policies.fronts import Fronts
from tests.readme import (
    CLOUD,
    EDGE,
    README,
    ROOT,
    USE,
    Block,
    ask,
    blocks,
    commands,
    examples,
    inline_commands,
    rounded,
    run_example,
)
from thinwire.bundle import FRONT, load_bundle

MOST_WORDS = 900
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
# Commands of the README that are not run just as they stand, and what runs them.
RUN_ELSEWHERE = {
    "make demo": "test_make_demo below, without the installation",
    "make demo IMAGES=folder": "test_what_make_would_do below; tests/deploy/test_testbed.py has a folder of images",
    "make demo EXTRAS=speech SOUND=file.wav": "test_what_make_would_do below; `.ci/run` completes the bundle",
    "make demo EXTRAS=vqa": "test_what_make_would_do below; requests of docs/use.md ask the same questions",
    "make test": ".ci/run",
    ".venv/bin/thinwire up": "the fixture `addresses` below, with --port 0",
    "docker compose up --build --wait": "tests/test_compose.py",
    "thinwire reproduce budgets": "tests/experiments/test_budgets.py, and .ci/run with --quick",
}
# A score, which depends on the noise, and that on the frame's id.
_SCORE = re.compile(r"\b[01]\.\d\d\b")


@pytest.fixture(name="addresses", scope="module")
def addresses_fixture(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Where a real `thinwire up` listens, on free ports."""
    log = tmp_path_factory.mktemp("up") / "log"
    command = [sys.executable, "-m", "deploy.cli.main", "up", "--port", "0"]
    with log.open("wb") as errors, subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors) as up:
        try:
            assert up.stdout is not None
            line = up.stdout.readline()
            assert line, log.read_text()[-3000:]
            yield json.loads(line)
        finally:
            up.terminate()


def rewritten(text: str, addresses: dict[str, str]) -> str:
    """Commands for this interpreter and for where the testbed listens."""
    for address, name in ((EDGE, "edge"), (CLOUD, "cloud")):
        text = text.replace(address, addresses[name])
    return text.replace(".venv/bin/python", shlex.quote(sys.executable))


@pytest.mark.parametrize(("script", "shown"), examples())
def test_requests_get_the_answers_that_are_shown(script, shown, addresses):
    assert rounded(ask(rewritten(script, addresses))) == rounded(shown)


def test_the_python_example_prints_what_is_shown(addresses):
    (example,) = [block.text for block in blocks(README) if block.language == "python"]
    (shown,) = [block.text for block in blocks(README) if block.language == "text"]
    client = "thinwire.Client({edge!r}, cloud_url={cloud!r})".format(**addresses)
    assert example.count("thinwire.Client()") == 1
    script = example.replace("thinwire.Client()", client)
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert _SCORE.sub("#", done.stdout) == _SCORE.sub("#", shown)


@pytest.mark.parametrize("client", [thinwire.Client, thinwire.AsyncClient])
def test_the_clients_own_examples_run(client, addresses, tmp_path):
    _, cat = next(photographs(None))
    (tmp_path / "cat.png").write_bytes(cat)
    files = {"photo": str(tmp_path / "cat.png"), "triangle": str(ROOT / "docs" / "triangle.png")}
    assert run_example(client, url=addresses["edge"], cloud_url=addresses["cloud"], **files) == ""


def test_the_parts_work_without_the_service(capsys):
    (example,) = [one.text for one in blocks(USE) if one.language == "python" and "Client" not in one.text]
    exec(example, {"__name__": "example"})
    counts, rest = capsys.readouterr().out.splitlines()
    assert counts.startswith("patch tokens at each layer: [64, ")
    assert "channel uses; gain" in rest


def test_every_command_is_run_here_or_known_to_be_run_elsewhere():
    of_requests = {command for script, _ in examples(README) for command in commands(script)}
    shell = [command for block in blocks(README) if block.language == "bash" for command in commands(block.text)]
    found = {*shell, *inline_commands(README)} - of_requests
    assert found == set(RUN_ELSEWHERE)


def test_every_block_is_of_a_kind_that_is_checked():
    assert {block.language for block in blocks(README)} == {"bash", "json", "python", "text"}


def made(*arguments: str) -> str:
    """What make prints, whether or not a make runs the tests."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    command = ["make", "--no-print-directory", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout


def test_make_demo(capfd, tmp_path):
    # As without the extra vqa.
    command = made("demo", "--dry-run").splitlines()[-1].strip()
    assert command == ".venv/bin/thinwire demo"
    picture = str(tmp_path / "tokens.png")
    assert main([*shlex.split(command)[1:], "--bundle", DEFAULT_BUNDLES[0], "--json", "--draw", picture]) == 0
    printed = capfd.readouterr()
    rows = json.loads(printed.out)
    assert f"tokens, drawn in {picture}\n" in printed.err
    uses = load_bundle(DEFAULT_BUNDLES[0]).reference.channel_uses
    budgets = [int(share * uses) for share in SHARES]
    assert sorted(row["budget"] or uses for row in rows) == [*budgets, uses]
    assert {row[whose]["outputs"][0]["label"] for row in rows for whose in ("answer", "plain")} == {"cat"}


@pytest.mark.parametrize("command", [command for command in RUN_ELSEWHERE if command.startswith("make ")])
def test_what_make_would_do(command):
    variables = re.findall(r"\w+=(\w+)", command)
    told = made(*shlex.split(command)[1:], "--dry-run", "--always-make")
    assert all(variable in told for variable in variables)


def thinwire_commands(page: Path) -> list[str]:
    """Every line of a page's blocks, fenced or indented, that runs ``thinwire``; one with an ellipsis is no command."""
    text = page.read_text().replace("\\\n", "")
    # What a page sets once for several commands.
    for name, value in re.findall(r'^    ([A-Z]+)="([^"$]+)"$', text, re.MULTILINE):
        text = text.replace(f"${name}", value)
    found = re.findall(r"^(?:    )?(?:\w+=\S+ )*(?:\.venv/bin/)?thinwire (.+)$", text, re.MULTILINE)
    return [re.sub(r"\s+2> \S+$", "", command) for command in found if "..." not in command]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_have_arguments_that_the_command_line_takes(page, capsys):
    for command in thinwire_commands(page):
        rest, status = [], 0
        try:
            options, rest = parser().parse_known_args(shlex.split(command, comments=True))
            # What an experiment takes, its own parser knows.
            rest = [] if hasattr(options, "rest") else rest
        except SystemExit as end:
            # 0, as --version and --help end.
            status = end.code
        assert (status, rest) == (0, []), f"thinwire {command}\n{capsys.readouterr().err}"


def test_the_guide_of_use_has_commands():
    assert len(thinwire_commands(USE)) > 20


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_compiles(page):
    for block in blocks(page):
        if block == Block("python", block.text):
            compile(block.text, page.name, "exec")


def test_the_readme_is_short():
    assert len(README.read_text().split()) <= MOST_WORDS


def test_the_policies_that_it_names_are_on_the_shipped_fronts():
    bundles = [load_bundle(name) for name in DEFAULT_BUNDLES]
    fronts = [Fronts.load(bundle.path(FRONT), bundle.digest) for bundle in bundles]
    shipped = {measured.policy.id for front in fronts for measured in front.policies}
    named = set(re.findall(r"\bp-[0-9a-f]{10}\b", README.read_text() + USE.read_text()))
    assert named
    assert named <= shipped


def test_its_picture_is_the_one_that_the_demo_asks_about():
    assert (ROOT / "docs" / "triangle.png").read_bytes() == drawing()
