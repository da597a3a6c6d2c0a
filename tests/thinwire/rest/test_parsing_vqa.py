"""The forms of a question about an image, and the problem that each mistake gets."""

import json

import httpx
import pytest
from fastapi import FastAPI, Request

from tests.thinwire.rest.requests import FILE, FORM, IMAGE, JSON, PNG, check_problem, form, part
from thinwire.rest import problems
from thinwire.rest.parsing import parse_only_json, parse_vqa
from thinwire.rest.schemas import QuestionsBody

BODY = {"inputs": {"image": "AAEC", "question": "où?"}, "parameters": {"max_new_tokens": 3}}


@pytest.fixture(name="client")
async def client_fixture():
    app = FastAPI()
    problems.install(app)

    @app.post("/")
    async def echo(request: Request):
        image, question, parameters = await parse_vqa(request)
        return {"bytes": len(image), "question": question, "tokens": parameters.max_new_tokens}

    @app.post("/json")
    async def only_json(request: Request):
        return (await parse_only_json(request, QuestionsBody)).model_dump()

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        yield client


async def test_json(client):
    response = await client.post("/", json=BODY)
    assert response.json() == {"bytes": 3, "question": "où?", "tokens": 3}


async def test_multipart(client):
    fields = part("question", "où?"), part("parameters", '{"max_new_tokens": 4}')
    for parts in ((FILE, *fields), (*fields[::-1], FILE)):
        response = await client.post("/", content=form(*parts), headers=FORM)
        assert response.json() == {"bytes": len(IMAGE), "question": "où?", "tokens": 4}
    response = await client.post("/", content=form(FILE, fields[0]), headers=FORM)
    assert response.json()["tokens"] == 16


FORMS = {
    "no question": (form(FILE), "question"),
    "empty question": (form(FILE, part("question", "")), "question"),
    "long question": (form(FILE, part("question", "a" * 100_000)), "2000 characters"),
    "not UTF-8": (form(FILE, part("question", b"\xff\xfe")), "'question' is not UTF-8"),
    "no image": (form(part("question", "q")), "'image'"),
    "two questions": (form(FILE, part("question", "q"), part("question", "r")), "more than once"),
    "another field": (form(FILE, part("question", "q"), part("top_k", "3")), "got 'top_k'"),
    "parameters": (form(FILE, part("question", "q"), part("parameters", '{"top_k": 3}')), "parameters: top_k"),
}


@pytest.mark.parametrize("name", FORMS)
async def test_forms_that_are_refused(client, name):
    content, words = FORMS[name]
    assert words in check_problem(await client.post("/", content=content, headers=FORM), 422, "invalid_request")


@pytest.mark.parametrize("question", ["", "a" * 2001, 7, None, ["q"]])
async def test_questions_that_are_refused(client, question):
    body = BODY | {"inputs": {"image": "AAEC", "question": question}}
    assert "question" in check_problem(await client.post("/", json=body), 422, "invalid_request")


@pytest.mark.parametrize("text", [b'"\xff"', b'"\\ud800"'], ids=["not UTF-8", "surrogate"])
async def test_questions_that_are_no_text(client, text):
    body = b'{"inputs": {"image": "AAEC", "question": ' + text + b"}}"
    check_problem(await client.post("/", content=body, headers=JSON), 422, "invalid_request")


async def test_what_is_not_base64(client):
    body = BODY | {"inputs": {"image": "*", "question": "q"}}
    assert "inputs.image" in check_problem(await client.post("/", json=body), 422, "invalid_image")


async def test_a_raw_image_has_no_question(client):
    for params in ({}, {"parameters": "{}"}):
        response = await client.post("/", content=IMAGE, headers=PNG, params=params)
        detail = check_problem(response, 422, "invalid_request")
    assert "the query may hold nothing" in detail
    assert "no question" in check_problem(await client.post("/", content=IMAGE, headers=PNG), 422, "invalid_request")


async def test_only_json(client):
    body = {"inputs": {"question": "q"}, "stream": True}
    content = (await client.post("/json", json=body)).json()
    assert (content["inputs"], content["stream"]) == ({"question": "q"}, True)
    assert content["parameters"]["max_new_tokens"] == 16
    text = json.dumps(body)
    response = await client.post("/json", content=text, headers={"content-type": "text/plain"})
    assert "application/json" in check_problem(response, 422, "invalid_request")
    check_problem(await client.post("/json", json=body, params={"stream": "1"}), 422, "invalid_request")
