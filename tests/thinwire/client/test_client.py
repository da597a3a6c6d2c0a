"""The client against something that answers like an edge, and against what does not."""

import asyncio
import io
import json
import socket
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import PIL.Image
import pytest

import thinwire
from tests.answers import body_of, standing_in
from thinwire.client import AsyncClient, Client, messages
from thinwire.errors import BudgetError, InvalidImageError, InvalidRequestError, OverloadedError, UnavailableError
from thinwire.rest.schemas import VqaResponse


@pytest.fixture(name="edge")
def edge_fixture():
    with standing_in() as server:
        server.response = (200, {}, json.dumps(body_of()).encode())
        yield server


@pytest.fixture(name="client")
def client_fixture(edge):
    with Client(edge.url, edge.url) as client:
        yield client


def asked_of(edge):
    """Path and parameters of the last request to classify."""
    path = urlsplit(edge.asked[-1][0])
    query = parse_qs(path.query)
    return path.path, json.loads(query["parameters"][0]) if query else {}


def test_only_what_is_given_is_sent(client, edge):
    answer = client.classify(b"image")
    assert asked_of(edge) == ("/v1/classify", {})
    assert edge.asked[-1][2] == b"image"
    assert "idempotency-key" not in edge.asked[-1][1]
    assert (answer.label, answer.score, answer.policy.id, answer.link.channel_uses) == ("cat", 0.5, "p-1", 24)


def test_all_that_is_given_is_sent(client, edge):
    channel = {"model": "awgn", "snr_db": 10, "seed": 7}
    client.classify(
        b"image", top_k=2, policy="none", budget=38, channel=channel, explain=True, timeout_ms=50, id="mine"
    )
    _, parameters = asked_of(edge)
    assert parameters == {
        "top_k": 2,
        "policy": "none",
        "budget": {"channel_uses": 38},
        "channel": channel,
        "explain": True,
        "timeout_ms": 50,
    }
    assert edge.asked[-1][1]["idempotency-key"] == "mine"


@pytest.mark.parametrize("budget", [{"bandwidth_hz": 1e4, "airtime_ms": 2.5}, {"channel_uses": 38, "edge_gmacs": 0.1}])
def test_a_budget_may_be_a_mapping(client, edge, budget):
    client.classify(b"image", budget=budget)
    assert asked_of(edge)[1] == {"budget": budget}


def test_a_budget_may_be_numpys(client, edge):
    client.classify(b"image", budget=np.int64(38))
    assert asked_of(edge)[1] == {"budget": {"channel_uses": 38}}
    with pytest.raises(InvalidRequestError, match=r"budget must be a whole number or a mapping, got 3\.5"):
        client.classify(b"image", budget=3.5)
    client.classify(b"image", top_k=np.int32(2), channel={"snr_db": np.float32(3), "seed": np.int64(4)})
    assert asked_of(edge)[1] == {"top_k": 2, "channel": {"snr_db": 3.0, "seed": 4}}


def test_an_image_may_be_a_file_or_pixels(client, edge, tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(b"content")
    for image in (path, str(path)):
        client.classify(image)
        assert edge.asked[-1][2] == b"content"
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    for image in (pixels, PIL.Image.fromarray(pixels)):
        client.classify(image)
        assert np.array_equal(np.asarray(PIL.Image.open(io.BytesIO(edge.asked[-1][2]))), pixels)


@pytest.mark.parametrize(
    ("image", "error", "told"),
    [
        (Path("no such file"), InvalidRequestError, "cannot read no such file: No such file"),
        ("nul\0nul", InvalidRequestError, "cannot read"),
        (np.zeros((4, 4, 3)), InvalidImageError, "expected H x W x 3 uint8 pixels, got .4, 4, 3. of float64"),
        (np.zeros((4, 4), np.uint8), InvalidImageError, "expected H x W x 3 uint8 pixels"),
        (PIL.Image.new("F", (0, 4)), InvalidImageError, "cannot be encoded as PNG"),
        (17, InvalidImageError, "expected bytes, a path, a Pillow image or a numpy array, got int"),
    ],
)
def test_what_is_no_image_is_told_before_anything_is_sent(client, edge, image, error, told):
    with pytest.raises(error, match=told):
        client.classify(image)
    assert edge.asked == []


def test_another_question_is_asked_of_the_cloud(edge):
    with standing_in() as cloud, Client(edge.url, cloud.url) as client:
        cloud.response = edge.response
        first = client.ask(b"image", "what is it?", model="tiny", budget=38, max_new_tokens=4)
        assert isinstance(first, VqaResponse)
        assert (first.answer, first.score) == ("cat", 0.5)
        path, headers, form = edge.asked[-1]
        assert path == "/v1/vqa"
        assert headers["content-type"].startswith("multipart/form-data")
        assert b"what is it?" in form
        assert b'{"model": "tiny", "max_new_tokens": 4, "budget": {"channel_uses": 38}}' in form
        client.ask(first, "and now?", temperature=0.5)
        path, _, body = cloud.asked[-1]
        assert path == f"/v1/frames/{first.id}/questions"
        assert json.loads(body) == {"inputs": {"question": "and now?"}, "parameters": {"temperature": 0.5}}
        with pytest.raises(InvalidRequestError, match="got explain"):
            client.ask(first, "and now?", explain=True)
        with pytest.raises(InvalidRequestError, match="got model"):
            client.ask(first, "and now?", model="asked")
        with pytest.raises(InvalidRequestError, match="crosses no link: got budget"):
            client.ask(first, "and now?", budget=38)
    assert len(edge.asked) == len(cloud.asked) == 1


def test_a_problem_is_an_exception_with_its_fields(client, edge):
    problem = {"title": "Budget not met", "status": 422, "detail": "no policy", "error": "budget_not_met"}
    edge.response = (422, {}, json.dumps(problem).encode())
    with pytest.raises(BudgetError) as caught:
        client.classify(b"image")
    error = caught.value
    assert isinstance(error, thinwire.ThinwireError)
    told = (error.title, error.http_status, error.detail, error.code, error.retry_after_s)
    assert told == (*problem.values(), None)


def test_a_problem_of_a_later_version_keeps_what_it_says(client, edge):
    problem = {"title": "Too early", "status": 425, "detail": "later", "error": "of_tomorrow"}
    edge.response = (425, {"retry-after": "3"}, json.dumps(problem).encode())
    with pytest.raises(thinwire.ThinwireError) as caught:
        client.classify(b"image")
    error = caught.value
    assert type(error) is thinwire.ThinwireError
    assert (error.title, error.http_status, error.detail, error.code) == tuple(problem.values())
    assert error.retry_after_s == 3
    assert thinwire.ThinwireError("x").code == "internal"


def test_what_is_overloaded_says_when_to_come_back(client, edge):
    edge.response = (429, {"retry-after": "7"}, json.dumps({"error": "overloaded", "detail": "full"}).encode())
    with pytest.raises(OverloadedError) as caught:
        client.classify(b"image")
    assert caught.value.retry_after_s == 7


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, b"<html>"),
        (404, b'{"error": "http_error", "detail": "Not Found"}'),
        (200, b'{"status": "ok"}'),
        (200, b"[1]"),
        (403, b"null"),
        (200, b"\xff\xfe\xff"),
    ],
)
def test_what_is_no_answer_of_ours_is_told(client, edge, status, body):
    edge.response = (status, {"content-type": "text/html"}, body)
    with pytest.raises(UnavailableError, match=f"/v1/classify: it is no address of an edge or a cloud: HTTP {status} "):
        client.classify(b"image")


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "127.0.0.1:8080", "http://[::1", "ftp://127.0.0.1", ""])
def test_nobody_there_is_told(url):
    with Client(url) as client, pytest.raises(UnavailableError, match="no answer from"):
        client.classify(b"image")


def test_a_stream_keeps_the_order(client, edge):
    read = []

    def images():
        for number in range(9):
            read.append(number)
            yield bytes([number])

    answers = client.stream(images(), overlap=2, budget=38)
    assert next(answers).label == "cat"
    assert len(read) < 9
    assert len(list(answers)) == 8
    assert sorted(body for _, _, body in edge.asked) == [bytes([number]) for number in range(9)]
    assert asked_of(edge)[1] == {"budget": {"channel_uses": 38}}


def test_a_stream_that_is_left_early_ends(client, edge):
    answers = client.stream([b"image"] * 100, overlap=2)
    next(answers)
    answers.close()
    assert len(edge.asked) < 10


def test_threads_may_share_a_client(client, edge):
    found = []
    threads = [threading.Thread(target=lambda: found.append(client.classify(b"x").label)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["cat"] * 5


def test_a_closed_client_says_so(edge):
    client = Client(edge.url)
    client.close()
    client.close()
    with pytest.raises(RuntimeError, match="the client is closed"):
        client.classify(b"x")


def test_pillows_images_are_set_upright_and_made_rgb(client, edge):
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    stored = io.BytesIO()
    PIL.Image.fromarray(np.arange(36, dtype=np.uint8).reshape(3, 4, 3)).save(stored, "PNG", exif=exif)
    for image, size in ((PIL.Image.open(stored), (3, 4)), (PIL.Image.new("CMYK", (4, 3)), (4, 3))):
        client.classify(image)
        sent = PIL.Image.open(io.BytesIO(edge.asked[-1][2]))
        assert (sent.size, sent.mode, sent.getexif().get(0x0112)) == (size, "RGB", None)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"id": "a\nb"}, "id must be a printable text"),
        ({"id": ""}, "id must be a printable text"),
        ({"id": 3}, "id must be a text, got 3"),
        ({"channel": {"seed": object()}}, "the parameters are no JSON: it holds <object"),
        ({"question": None}, "question must be a text, got None"),
        ({"question": "\udcff?"}, "question must be a text"),
    ],
)
def test_what_is_no_request_is_told_before_anything_is_sent(client, edge, given, told):
    asked = {"question": "what?"} | given
    with pytest.raises(InvalidRequestError, match=told):
        client.ask(b"image", asked.pop("question"), **asked)
    assert edge.asked == []


def test_an_id_may_be_of_any_alphabet(client, edge):
    client.classify(b"x", id="Kätzchen 1")
    assert edge.asked[-1][1]["idempotency-key"].encode("latin-1").decode() == "Kätzchen 1"


@pytest.mark.parametrize("options", [{"overlap": 0}, {"per_second": 0}, {"per_second": float("nan")}])
def test_a_stream_that_could_not_be_sent_is_told_at_once(options):
    with pytest.raises(InvalidRequestError, match=f"{next(iter(options))} must be"):
        Client().stream([b"x"], **options)
    with pytest.raises(InvalidRequestError, match=f"{next(iter(options))} must be"):
        AsyncClient().stream([b"x"], **options)
    with pytest.raises(TypeError, match="topk"):
        Client().stream([b"x"], topk=3)


@pytest.mark.parametrize("timeout_s", [0, -1, float("nan"), float("inf")])
def test_a_time_that_is_none_is_told(timeout_s):
    for kind in (Client, AsyncClient):
        with pytest.raises(InvalidRequestError, match="timeout_s must be above 0"):
            kind(timeout_s=timeout_s)


def test_a_call_with_a_time_of_its_own_waits_that_long():
    call = messages.classify("http://x", b"x", None, None, timeout_ms=90_000)
    assert call.options(60.0)["timeout"] == 95
    assert messages.classify("http://x", b"x", None, None, timeout_ms=50).options(60.0)["timeout"] == 60


def test_a_secret_in_an_address_is_not_told():
    with Client("http://me:secret@127.0.0.1:9") as client, pytest.raises(UnavailableError) as caught:
        client.classify(b"x")
    assert "secret" not in str(caught.value)
    assert caught.value.retry_after_s == 1.0


@pytest.mark.parametrize("url", ["127.0.0.1:8080", "ftp://127.0.0.1", "http://[::1"])
def test_another_try_of_an_address_that_cannot_be_is_not_asked_for(url):
    with Client(url) as client, pytest.raises(UnavailableError) as caught:
        client.classify(b"x")
    assert caught.value.retry_after_s is None


def test_policies_that_are_none_are_told(client, edge):
    edge.response = (200, {}, b'{"policies": null}')
    with pytest.raises(UnavailableError, match="its policies are none that this version reads"):
        client.policies()


SCRIPTS = {
    "a client that is never closed": "client.classify(b'x')",
    "a stream that is left early": "answers = client.stream([b'x'] * 9); next(answers)",
    "a client closed as Python ends": (
        "class Robot:\n    def __init__(self, client): self.client = client\n"
        "    def __del__(self): self.client.close()\n"
        "robot = Robot(client); client.classify(b'x')"
    ),
    "a client closed while threads ask": (
        "import threading\n"
        "for _ in range(4): threading.Thread(target=client.classify, args=(b'x',), daemon=True).start()\n"
        "client.close(); client.close()"
    ),
    "an iterator that gives up": (
        "import sys\n"
        "def images():\n    yield b'x'\n    sys.exit('camera gone')\n"
        "try: list(client.stream(images()))\nexcept SystemExit: pass\nclient.classify(b'x')"
    ),
}


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_a_script_ends(edge, script):
    program = f"import thinwire\nclient = thinwire.Client({edge.url!r})\n{script}\nprint('end')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.returncode) == ("end\n", 0), done.stderr


@pytest.mark.parametrize("ask", ["client.classify(b'x')", "list(client.stream([b'x'] * 9))"])
def test_ctrl_c_ends_a_call(ask):
    program = (
        "import signal, threading, thinwire\n"
        # A script that begins the tests with & has them ignore it.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "main = threading.main_thread().ident\n"
        "threading.Timer(0.3, signal.pthread_kill, (main, signal.SIGINT)).start()\n"
        f"try:\n    with thinwire.Client({{url!r}}) as client: {ask}\nexcept KeyboardInterrupt: print('caught')"
    )
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        done = subprocess.run(
            [sys.executable, "-c", program.format(url=url)], capture_output=True, text=True, timeout=60, check=False
        )
    assert (done.stdout, done.returncode) == ("caught\n", 0), done.stderr


async def test_without_blocking(edge):
    async with AsyncClient(edge.url, edge.url) as client:
        one, two = await asyncio.gather(client.classify(b"a"), client.ask(b"b", "what?"))
        assert (one.label, two.answer) == ("cat", "cat")
        assert (await client.ask(two, "again?")).answer == "cat"
        assert [answer.label async for answer in client.stream([b"a"] * 3)] == ["cat"] * 3


def test_policies_are_typed(client, edge):
    bundle = thinwire.load_bundle("cifar10")
    front = json.loads(bundle.path("policies.json").read_text())
    listed = front["fronts"][0]["policies"] if "fronts" in front else front["policies"]
    edge.response = (200, {}, json.dumps({"policies": listed}).encode())
    policies = client.policies("cifar10")
    assert edge.asked[-1][0] == "/v1/policies?bundle=cifar10"
    assert [one.policy.id for one in policies] == [one["id"] for one in listed]
    assert policies[0].accuracy_at(policies[0].channel.snr_db) == policies[0].objectives.accuracy
