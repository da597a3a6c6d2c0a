"""What an error must look like where OpenAI's clients read it."""

from typing import Any

import httpx


def check_openai(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The error, which is in OpenAI's form."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    content = response.json()
    assert content.keys() == {"error"}
    error: dict[str, Any] = content["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["code"] == code
    assert error["message"]
    return error
