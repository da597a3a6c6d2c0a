"""An OpenAPI document as one page of HTML, without a script and without anything from another host.

FastAPI's own pages load Swagger UI and ReDoc from a host of others, which a closed network does not reach and an open
one need not know of.
"""

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse

_STYLE = """
body { font: 16px/1.5 sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em; color: #222; }
h2 { margin-top: 2em; border-top: 1px solid #ccc; padding-top: 1em; }
code, pre { font: 14px/1.4 monospace; background: #f4f4f4; }
pre { padding: 1em; overflow-x: auto; }
table { border-collapse: collapse; }
td, th { border: 1px solid #ccc; padding: .2em .6em; text-align: left; vertical-align: top; }
"""
_DIGEST = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_HEADERS = {
    "content-security-policy": (
        f"default-src 'none'; style-src 'sha256-{_DIGEST}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}
_METHODS = ("get", "post", "put", "patch", "delete")


def add_to(app: FastAPI) -> None:
    """Serve the page at ``/docs``; what the application was made with must not have done so."""
    app.add_route("/docs", _page, include_in_schema=False)


async def _page(request: Request) -> HTMLResponse:
    return HTMLResponse(render(request.app.openapi()), headers=_HEADERS)


def render(document: Mapping[str, Any]) -> str:
    """The page.

    Args:
        document: OpenAPI 3, whose references all are to its own schemas.
    """
    about = document["info"]
    operations = [
        (f"{method.upper()} {path}", item[method])
        for path, item in document["paths"].items()
        for method in _METHODS
        if method in item
    ]
    schemas = document.get("components", {}).get("schemas", {})
    title = escape(about["title"])
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width">',
            f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>",
            _text(about.get("description")),
            # Relative, for a proxy that serves this under a prefix.
            f'<p>Version {escape(about["version"])}; for programs: <a href="openapi.json">openapi.json</a></p>',
            _list(f'<a href="#{_anchor(name)}"><code>{escape(name)}</code></a>' for name, _ in operations),
            *(_operation(name, operation) for name, operation in operations),
            "<h2>Schemas</h2>" if schemas else "",
            *(f'<h3 id="{_anchor(name)}">{escape(name)}</h3>{_json(schema)}' for name, schema in schemas.items()),
            "</body>\n</html>\n",
        ]
    )


def _operation(name: str, operation: Mapping[str, Any]) -> str:
    parts = [f'<h2 id="{_anchor(name)}"><code>{escape(name)}</code></h2>', _text(operation.get("description"))]
    if parameters := operation.get("parameters"):
        parts += ["<h3>Parameters</h3>", _parameters(parameters)]
    if body := operation.get("requestBody"):
        parts += ["<h3>Body</h3>", _content(body)]
    parts.append("<h3>Answers</h3>")
    for status, answer in operation["responses"].items():
        parts += [f"<p><code>{escape(status)}</code> {escape(answer['description'])}</p>", _content(answer)]
    return "\n".join(parts)


def _parameters(parameters: Iterable[Mapping[str, Any]]) -> str:
    rows = ["<tr><th>name</th><th>in</th><th></th><th>schema</th></tr>"]
    for one in parameters:
        # A schema, or one of a media type.
        schema = one["schema"] if "schema" in one else one["content"]
        cells = (
            f"<code>{escape(one['name'])}</code>{' (required)' if one.get('required') else ''}",
            escape(one["in"]),
            escape(one.get("description", "")),
            f"<details><summary>show</summary>{_json(schema)}</details>",
        )
        rows.append(f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    return f"<table>\n{chr(10).join(rows)}\n</table>"


def _content(holder: Mapping[str, Any]) -> str:
    return "\n".join(
        f"<details><summary><code>{escape(kind)}</code></summary>{_json(content.get('schema', {}))}</details>"
        for kind, content in holder.get("content", {}).items()
    )


def _json(value: Any) -> str:
    return f"<pre>{escape(json.dumps(value, indent=2, ensure_ascii=False))}</pre>"


def _text(text: str | None) -> str:
    return f"<p>{escape(text)}</p>" if text else ""


def _list(items: Iterable[str]) -> str:
    return f"<ul>{''.join(f'<li>{item}</li>' for item in items)}</ul>"


def _anchor(name: str) -> str:
    return escape("".join(letter if letter.isalnum() else "-" for letter in name))
