"""`docker compose up` for real: healthy, hardened, and the edge cannot get around the channel."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from deploy.demo import drawing, photographs
from tests.readme import ask, examples, rounded
from thinwire.bundle import load_bundle
from thinwire.client import Client

pytestmark = [pytest.mark.docker, pytest.mark.timeout(1800)]
ROOT = Path(__file__).parent.parent
EDGE, CLOUD = "http://127.0.0.1:8080", "http://127.0.0.1:8000"


def compose(*arguments: str) -> str:
    command = ["docker", "compose", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module", autouse=True)
def stack_fixture() -> Iterator[None]:
    """The three containers, up and healthy."""
    try:
        compose("up", "--build", "--detach", "--wait", "--wait-timeout", "300")
        yield
    finally:
        compose("down", "--volumes", "--timeout", "20")


def test_all_are_healthy():
    states = [json.loads(line) for line in compose("ps", "--format", "json").splitlines()]
    assert {state["Service"]: state["Health"] for state in states} == dict.fromkeys(
        ("edge", "channel", "cloud"), "healthy"
    )


@pytest.mark.parametrize("name", ["cifar10", "photos"])
def test_the_path_answers_under_a_budget(name):
    bundle = load_bundle(name)
    image = dict(photographs(None))["chelsea.png" if name == "cifar10" else "rocket.jpg"]
    budget = bundle.reference.channel_uses // 5
    # The first bundle answers where none is named.
    model = None if name == "cifar10" else name
    with Client(EDGE) as edge, Client(CLOUD) as cloud:
        answer = edge.classify(image, model=model, budget=budget)
        assert answer.label in bundle.labels
        assert 0 < answer.link.channel_uses <= budget
        assert cloud.classify(image, model=model).link is None


def test_questions_are_answered_and_the_picture_crosses_the_link_once():
    bundle = load_bundle("easy-vqa")
    budget = bundle.reference.channel_uses // 10
    with Client(EDGE, CLOUD) as edge, Client(CLOUD) as cloud:
        answer = edge.ask(drawing(), "what color is the triangle?", budget=budget)
        assert answer.answer == "blue"
        assert 0 < answer.link.channel_uses <= budget
        again = edge.ask(answer, "is there a circle?")
        assert (again.answer, again.link) == ("no", None)
        assert cloud.ask(drawing(), "what color is the triangle?").answer == "blue"


@pytest.mark.parametrize(
    ("parameters", "status", "error"),
    [
        ({"policy": "p-unknown"}, 404, "unknown_policy"),
        ({"budget": {"channel_uses": 8, "min_accuracy": 0.99}}, 422, "budget_not_met"),
        ({"channel": {"model": "tin can"}}, 422, "invalid_request"),
    ],
)
def test_errors_are_problems(parameters, status, error):
    _, cat = next(photographs(None))
    answer = httpx.post(
        f"{EDGE}/v1/classify",
        content=cat,
        params={"parameters": json.dumps(parameters)},
        headers={"content-type": "image/png"},
    )
    assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(("script", "shown"), examples())
def test_the_readmes_requests_give_the_readmes_answers(script, shown):
    assert rounded(ask(script)) == rounded(shown)


def reach(service: str, host: str, port: int) -> int:
    """Exit status of opening a connection from inside a container."""
    code = f"import socket; socket.create_connection(({host!r}, {port}), 3)"
    command = ["docker", "compose", "exec", "-T", service, "python3", "-c", code]
    return subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode


def test_the_edge_reaches_the_cloud_only_through_the_channel():
    network = ["docker", "compose", "exec", "-T", "cloud", "hostname", "-I"]
    addresses = subprocess.run(network, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert addresses
    assert reach("edge", "channel", 50061) == 0
    assert reach("channel", "cloud", 50051) == 0
    for host in ("cloud", *addresses):
        assert reach("edge", host, 50051) != 0


@pytest.mark.parametrize("service", ["edge", "channel", "cloud"])
def test_containers_are_locked_down(service):
    container = compose("ps", "--quiet", service).strip()
    inspected = subprocess.run(["docker", "inspect", container], capture_output=True, text=True, check=True).stdout
    (content,) = json.loads(inspected)
    assert content["Config"]["User"] == "thinwire"
    assert content["HostConfig"]["ReadonlyRootfs"] is True
    assert content["HostConfig"]["CapDrop"] == ["ALL"]
    assert "no-new-privileges:true" in content["HostConfig"]["SecurityOpt"]
