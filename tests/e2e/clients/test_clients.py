"""OpenAI's clients, as people have them, against an edge and a cloud with the shipped bundle for questions.

They run in an environment of their own, THINWIRE_CLIENTS: a folder with requirements.txt of this folder installed into
``venv`` and package.json into ``node_modules``, as .ci/run makes it.
"""

import asyncio
import base64
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cloud.server import CloudServer, Settings
from cloud.torch_answerer import TorchAnswerer
from deploy.ports import Ports
from deploy.testbed import LocalTestbed
from tests.llava import make_decoder, make_language, make_vqa_bundle

pytestmark = [pytest.mark.clients, pytest.mark.timeout(300)]
HERE = Path(__file__).parent
PICTURE = (HERE.parents[2] / "docs/triangle.png").read_bytes()
PYTHON = ("openai", "langchain", "litellm")
NODE = ("openai-node", "ai-sdk-openai", "ai-sdk-compatible")
# These two ask for models as well.
OPENAI = ("openai", "openai-node")
ENDS = ("edge", "cloud")
Shown = dict[str, dict[str, Any]]


def case(kind: str = "plain", image: bytes = PICTURE, **options: Any) -> dict[str, Any]:
    url = "data:image/png;base64," + base64.b64encode(image).decode()
    asked = {"kind": kind, "model": "easy-vqa", "question": "what is in the image?", "image": url}
    return asked | {"fields": {}, "ours": {}} | options


CASES = {
    "plain": case(),
    "stream": case("stream"),
    "neutral": case("neutral"),
    "above": case(fields={"max_tokens": 300}),
    "short": case(fields={"max_tokens": 1}),
    "short stream": case("stream", fields={"max_tokens": 1}),
    "models": case("models"),
    "model": case("model"),
    "no model": case("model", model="gpt-4o"),
    "image": case(image=b"no image"),
    "image in a stream": case("stream", image=b"no image"),
    "limit": case(fields={"max_tokens": 0}),
    "stop": case(fields={"stop": ["."]}),
    "budget": case(ours={"budget": {"edge_gmacs": 1e-6}}),
    "web": case() | {"image": "https://example.org/a.png"},
}


def cases_of(client: str) -> dict[str, Any]:
    """What a client has a way to ask."""
    without: set[str] = set()
    if client not in OPENAI:
        without |= {"models", "model", "no model"}
    if client == "openai":
        # To what collects its stream an answer that was cut off is an error of its own, LengthFinishReasonError.
        without |= {"short stream"}
    if client == "ai-sdk-openai":
        without |= {"budget"}
    if client in NODE[1:]:
        # It would fetch the picture itself, and refuses such a limit.
        without |= {"web", "limit"}
    return {name: case for name, case in CASES.items() if name not in without}


class Breaking(TorchAnswerer):
    """An answerer that ends in the middle of its first word."""

    def answer(self, questions: Any) -> Any:
        """Half a word."""
        for question in questions:
            question.on_text("half")
        raise ValueError("a secret of the model")


@pytest.fixture(name="run", scope="module")
def run_fixture(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, dict[str, Any]], Shown]:
    """Runs cases in a client."""
    if "THINWIRE_CLIENTS" not in os.environ:
        pytest.skip("THINWIRE_CLIENTS names no folder with OpenAI's clients")
    clients, home = Path(os.environ["THINWIRE_CLIENTS"]).resolve(), tmp_path_factory.mktemp("home")
    # Node looks for packages beside the script.
    (home / "node_modules").symlink_to(clients / "node_modules")
    script = home / "node_clients.mjs"
    script.write_bytes((HERE / "node_clients.mjs").read_bytes())
    commands = {name: [str(clients / "venv/bin/python"), str(HERE / "python_clients.py")] for name in PYTHON}
    commands |= {name: ["node", str(script)] for name in NODE}
    # Nothing of this environment: no proxy, no key. And what they would fetch or tell by themselves, they do not.
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "LANGSMITH_TRACING": "false",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_TELEMETRY": "False",
    }

    def run(client: str, cases: dict[str, Any]) -> Shown:
        asked = json.dumps({"client": client, "cases": cases})
        done = subprocess.run(
            commands[client], input=asked, env=environment, cwd=home, capture_output=True, text=True, timeout=240
        )
        assert done.returncode == 0, done.stderr
        shown: Shown = json.loads(done.stdout)
        return shown

    return run


@pytest.fixture(name="urls", scope="module")
def urls_fixture(run: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with LocalTestbed(["easy-vqa"], Ports.free(), log_folder=tmp_path_factory.mktemp("logs")) as testbed:
        yield {"edge": f"{testbed.edge_url}/v1", "cloud": f"{testbed.cloud_url}/v1"}


@pytest.fixture(name="client", scope="module", params=PYTHON + NODE)
def client_fixture(request: pytest.FixtureRequest) -> str:
    client: str = request.param
    return client


@pytest.fixture(name="shown", scope="module")
def shown_fixture(client: str, run: Callable[[str, dict[str, Any]], Shown], urls: dict[str, str]) -> Shown:
    """What a client shows of each case, named "edge plain" and so on; it is slow to start, so all in one process."""

    async def ask() -> Shown:
        answerer = Breaking(make_vqa_bundle(), make_language(0), make_decoder())
        server = CloudServer([(answerer.bundle, answerer)], Settings("127.0.0.1:0", rest_port=0))
        await server.start()
        cases = {f"{end} {name}": case | {"url": urls[end]} for name, case in cases_of(client).items() for end in ENDS}
        cases["break"] = CASES["stream"] | {"url": f"http://127.0.0.1:{server.rest_port}/v1"}
        try:
            return await asyncio.to_thread(run, client, cases)
        finally:
            await server.stop()

    return asyncio.run(ask())


@pytest.mark.parametrize("end", ENDS)
def test_answers(shown: Shown, end: str, client: str) -> None:
    for name in ("plain", "stream", "neutral", "above"):
        answer = shown[f"{end} {name}"].get("answer")
        assert answer, shown[f"{end} {name}"]
        assert answer.pop("tokens") > 3, name
        assert answer == {"role": "assistant", "text": "blue triangle", "finish": "stop"}, name
    for name in {"short", "short stream"} & cases_of(client).keys():
        answer = shown[f"{end} {name}"]["answer"]
        assert (answer["role"], answer["text"], answer["finish"]) == ("assistant", "blue", "length"), name


@pytest.mark.parametrize("end", ENDS)
def test_errors(shown: Shown, end: str, client: str) -> None:
    # One has a new name for it.
    limit = "max_completion_tokens" if client == "langchain" else "max_tokens"
    expected = {
        "image": ("invalid_image", "messages", "8 bytes that are not an image"),
        "image in a stream": ("invalid_image", "messages", "8 bytes that are not an image"),
        "limit": ("invalid_request", limit, f"{limit}: Input should be greater than or equal to 1"),
        "stop": ("invalid_request", "stop", 'stop: not supported here: expected null or [], got ["."]'),
        "budget": ("budget_not_met", "budget", "no policy of bundle easy-vqa meets the budget")
        if end == "edge"
        else ("invalid_request", "budget", "send this to the edge"),
        "web": ("invalid_request", "messages", "nothing is fetched"),
    }
    for name in expected.keys() & cases_of(client).keys():
        code, param, words = expected[name]
        error = shown[f"{end} {name}"].get("error")
        assert error, shown[f"{end} {name}"]
        assert words in error["message"], name
        assert (error["status"], error["code"], error["param"]) == (422, code, param), (name, error)


@pytest.mark.parametrize("end", ENDS)
def test_models(shown: Shown, end: str, client: str) -> None:
    if client not in OPENAI:
        pytest.skip("it asks for no models")
    ((*model, created),) = shown[f"{end} models"]["answer"]
    assert model == ["easy-vqa", "model", "thinwire"]
    assert 0 <= time.time() - created < 3600
    assert shown[f"{end} model"]["answer"] == "easy-vqa"
    error = shown[f"{end} no model"]["error"]
    assert (error["status"], error["code"], error["param"]) == (404, "model_not_found", "model")
    assert "no model 'gpt-4o' here; there is easy-vqa" in error["message"]


def test_what_breaks_in_a_stream_is_told(shown: Shown) -> None:
    message = shown["break"]["error"]["message"]
    assert "an unexpected error; see the log" in message
    assert "secret" not in message
