"""The page at ``/docs``: all of the document, nothing that runs, nothing from elsewhere."""

import base64
import hashlib
import re

import httpx
from fastapi import FastAPI

from thinwire.rest import docs
from thinwire.rest.docs import render

DOCUMENT = {
    "info": {"title": "A & B", "version": "1", "description": "<script>alert(1)</script>"},
    "paths": {
        "/v1/things/{id}": {
            "get": {
                "description": "One <b>thing</b>",
                "parameters": [
                    {"name": "id", "in": "path", "required": True, "schema": {"type": "integer"}},
                    {"name": "how", "in": "query", "content": {"application/json": {"schema": {"enum": ["<x>"]}}}},
                ],
                "responses": {
                    "200": {
                        "description": "Well",
                        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}},
                    },
                    "default": {"description": "Not well"},
                },
            },
            "post": {
                "requestBody": {"content": {"image/*": {"schema": {"format": "binary"}}, "text/plain": {}}},
                "responses": {},
            },
        }
    },
    "components": {"schemas": {"Thing": {"type": "object"}}},
}


def test_all_of_the_document_is_there() -> None:
    page = render(DOCUMENT)
    for expected in (
        "A &amp; B",
        "One &lt;b&gt;thing&lt;/b&gt;",
        "GET /v1/things/{id}",
        "POST /v1/things/{id}",
        "<code>id</code> (required)",
        "&quot;type&quot;: &quot;integer&quot;",
        "&lt;x&gt;",
        "<code>200</code> Well",
        "<code>default</code> Not well",
        "image/*",
        "#/components/schemas/Thing",
    ):
        assert expected in page, expected


def test_text_of_the_document_is_text() -> None:
    page = render(DOCUMENT)
    assert "<script" not in page
    assert "<b>" not in page
    assert "<x>" not in page


def test_links_within_the_page_lead_somewhere() -> None:
    page = render(DOCUMENT)
    anchors = re.findall(r'id="([^"]*)"', page)
    assert len(anchors) == len(set(anchors)) == 3
    assert set(re.findall(r'href="#([^"]*)"', page)) <= set(anchors)
    assert page.count('href="#') == 2


async def test_the_page_may_load_nothing_but_its_own_style() -> None:
    app = FastAPI(title="edge", docs_url=None, redoc_url=None)
    docs.add_to(app)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://edge") as http:
        answer = await http.get("/docs")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(part.split(maxsplit=1) for part in answer.headers["content-security-policy"].split("; "))
    (style,) = re.findall(r"<style>(.*?)</style>", answer.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy["default-src"] == "'none'"
    assert policy["style-src"] == f"'sha256-{digest}'"
    assert "script-src" not in policy
    assert " style=" not in answer.text
