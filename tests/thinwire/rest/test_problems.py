"""Every error of an application is problem+json (RFC 9457), and none tells more than it should."""

import json
import logging

import httpx
import pytest
from fastapi import FastAPI, HTTPException, Query

from thinwire import errors
from thinwire.errors import BudgetError, FrameLostError, OverloadedError, StoreError, ThinwireError, UnavailableError
from thinwire.rest import problems
from thinwire.rest.problems import MAX_ERRORS, MAX_PART_CHARACTERS, describe_validation, name_of, problem
from thinwire.rest.schemas import ProblemBody

CLASSES = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ThinwireError)]


def make_app():
    app = FastAPI()
    problems.install(app)

    @app.get("/ours/{code}")
    async def ours(code: str):
        raise next(kind for kind in CLASSES if kind.code == code)("what went wrong: é 犬 %s %d")

    @app.get("/http")
    async def http():
        raise HTTPException(418, "no coffee", {"x-pot": "tea"})

    @app.get("/number")
    async def number(value: int = Query(le=3)):
        return value

    @app.get("/unexpected")
    async def unexpected():
        secret = "secret"
        raise KeyError(secret)

    return app


@pytest.fixture(name="client")
async def client_fixture():
    # Starlette raises an unexpected exception again behind its answer, for the server's log.
    transport = httpx.ASGITransport(make_app(), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


def body_of(response):
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    ProblemBody.model_validate(body, strict=True)
    assert body.keys() == {"type", "title", "status", "detail", "error"}
    assert body["status"] == response.status_code
    return body


@pytest.mark.parametrize("kind", CLASSES)
async def test_errors_of_ours(client, kind):
    response = await client.get(f"/ours/{kind.code}")
    assert body_of(response) == {
        "type": "about:blank",
        "title": kind.title,
        "status": kind.http_status,
        "detail": "what went wrong: é 犬 %s %d",
        "error": kind.code,
    }
    assert ("retry-after" in response.headers) == (kind in (UnavailableError, FrameLostError, OverloadedError))


@pytest.mark.parametrize(("seconds", "header"), [(None, "1"), (0.001, "1"), (1.0, "1"), (1.2, "2"), (60.0, "60")])
def test_overload_says_in_whole_seconds_when_to_come_again(seconds, header):
    assert problem(OverloadedError("x", seconds)).headers["retry-after"] == header


@pytest.mark.parametrize(("kind", "logged"), [(StoreError, True), (UnavailableError, True), (BudgetError, False)])
async def test_what_is_the_servers_fault_is_logged(client, caplog, kind, logged):
    caplog.set_level(logging.INFO, problems.log.name)
    await client.get(f"/ours/{kind.code}")
    records = [record for record in caplog.records if record.name == problems.log.name]
    assert len(records) == logged
    if logged:
        assert records[0].getMessage() == "what went wrong: é 犬 %s %d"
        assert records[0].error == kind.code


async def test_an_unknown_route(client):
    body = body_of(await client.get("/nowhere"))
    assert (body["status"], body["error"], body["title"]) == (404, "http_error", "Not Found")


async def test_another_method(client):
    response = await client.post("/number")
    body = body_of(response)
    assert (body["status"], body["error"]) == (405, "http_error")
    assert response.headers["allow"] == "GET"


async def test_http_exceptions_keep_their_headers(client):
    response = await client.get("/http")
    assert body_of(response)["detail"] == "no coffee"
    assert response.status_code == 418
    assert response.headers["x-pot"] == "tea"


@pytest.mark.parametrize("query", ["", "?value=x", "?value=4"])
async def test_fastapis_own_validation(client, query):
    body = body_of(await client.get(f"/number{query}"))
    assert (body["status"], body["error"]) == (422, "invalid_request")
    assert body["detail"].startswith("query.value: ")


async def test_an_unexpected_exception_leaks_nothing(client, caplog):
    response = await client.get("/unexpected")
    body = body_of(response)
    assert (body["status"], body["error"], body["title"]) == (500, "internal", "Internal error")
    for word in ("secret", "KeyError", "Traceback", __file__):
        assert word not in response.text
    (record,) = [record for record in caplog.records if record.name == problems.log.name]
    assert record.levelno == logging.ERROR
    assert isinstance(record.exc_info[1], KeyError)


def test_a_problem_is_utf8_json():
    response = problem(BudgetError("犬"))
    assert json.loads(response.body.decode("utf-8"))["detail"] == "犬"


def test_validation_in_one_line():
    described = describe_validation(
        [{"loc": ("a", 0, "b"), "msg": "too small"}, {"loc": (), "msg": "not JSON"}, {"loc": ("c",), "msg": "missing"}]
    )
    assert described == "a.0.b: too small; not JSON; c: missing"


def test_a_value_is_shown_if_it_is_one():
    def described(value, kind="greater_than"):
        return describe_validation([{"type": kind, "loc": ("a",), "msg": "wrong", "input": value}])

    assert described(3.5) == "a: wrong, got 3.5"
    assert described(None) == "a: wrong, got null"
    assert described({"b": [True]}) == 'a: wrong, got {"b": [true]}'
    assert described("x" * 10**6) == 'a: wrong, got "' + "x" * 79
    assert described(10**5000) == "a: wrong"
    assert described({"b": 1}, "missing") == described("{", "json_invalid") == "a: wrong"


def test_a_chats_field_is_named_without_the_kind_of_its_part():
    def name(*loc):
        return name_of({"loc": loc})

    assert name("messages", 0, "content", 1, "image_url", "image_url", "url") == "messages.0.content.1.image_url.url"
    assert name("messages", 0, "content", 1, "text", "text") == "messages.0.content.1.text"
    assert name("messages", 0, "content", 1) == "messages.0.content.1"
    assert name("messages", 0, "content") == "messages.0.content"
    assert name("inputs", "content", 1, "text", "text") == "inputs.content.1.text.text"


def test_validation_stays_short():
    mistakes = [
        {"loc": ("x" * 10_000, number), "msg": "unknown", "type": "extra_forbidden", "input": "y" * 10_000}
        for number in range(MAX_ERRORS + 7)
    ]
    described = describe_validation(mistakes)
    assert described.count("unknown") == MAX_ERRORS
    assert described.endswith("; and 7 more")
    assert len(described) < MAX_ERRORS * (2 * MAX_PART_CHARACTERS + 30) + 20
    assert "more" not in describe_validation(mistakes[:MAX_ERRORS])
