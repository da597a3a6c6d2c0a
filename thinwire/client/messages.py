"""What the client sends and what it makes of what comes back, apart from any connection."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, SupportsIndex, TypeAlias
from urllib.parse import urlsplit

import httpx
from pydantic import BaseModel, ValidationError

from thinwire.client.pictures import Image, read_image
from thinwire.client.sounds import Sound, read_sound
from thinwire.errors import InvalidRequestError, ThinwireError, UnavailableError, from_code
from thinwire.rest.schemas import ClassifyResponse, ModelsBody, VqaResponse
from thinwire.rest.transcription_answers import TranscriptResponse

Budget: TypeAlias = SupportsIndex | Mapping[str, Any]
# How much longer than the server a client waits that names the time of an answer.
GRACE_S = 5.0
TRANSCRIPTIONS = "/v1/audio/transcriptions"


@dataclass(frozen=True)
class Call:
    """One request.

    Attributes:
        method: of HTTP.
        url: where it goes.
        kind: what the answer is read as; None leaves it a JSON object.
        content: further arguments of a request of httpx.
        timeout_ms: how long the server may take; None: as long as it takes by itself.
    """

    method: str
    url: str
    kind: type[BaseModel] | None = None
    content: dict[str, Any] = field(default_factory=dict)
    timeout_ms: float | None = None

    def options(self, timeout_s: float) -> dict[str, Any]:
        """The arguments, with the longest silence that is waited through."""
        if self.timeout_ms is not None:
            timeout_s = max(timeout_s, self.timeout_ms / 1e3 + GRACE_S)
        return {"method": self.method, "url": self.url, "timeout": timeout_s, **self.content}


def classify(base: str, image: Image, key: str | None, budget: Budget | None, **asked: Any) -> Call:
    """A request to classify an image: the image as the body, its parameters in the query."""
    parameters = _parameters(budget, asked)
    content = {
        "content": read_image(image),
        "headers": {"content-type": "application/octet-stream"} | _key(key),
        "params": {"parameters": _json(parameters)} if parameters else {},
    }
    return Call("POST", f"{base}/v1/classify", ClassifyResponse, content, parameters.get("timeout_ms"))


def question(
    edge: str,
    cloud: str,
    about: "Image | VqaResponse",
    text: str,
    link: Mapping[str, Any],
    generation: Mapping[str, Any],
) -> tuple[str, Call]:
    """A question about an image or, where that is an earlier answer, about the tokens that the cloud holds of it.

    Args:
        edge: where images are asked about.
        cloud: where tokens are.
        about: the image or the answer.
        text: the question.
        link: ``model``, ``policy``, ``budget``, ``channel``, ``explain`` and ``id``, each of which may be None.
        generation: the other parameters, likewise.

    Returns:
        which of the two it goes to, and the request.

    Raises:
        InvalidRequestError: something was given of a link that is not crossed.
    """
    timeout_ms = generation.get("timeout_ms")
    if isinstance(about, VqaResponse):
        _check_no_link(link, "a question about")
        body = {"inputs": {"question": _text("question", text)}, "parameters": _parameters(None, generation)}
        content = {"content": _json(body), "headers": {"content-type": "application/json"}}
        return cloud, Call("POST", f"{cloud}/v1/frames/{about.id}/questions", VqaResponse, content, timeout_ms)
    asked = {name: link[name] for name in ("model", "policy", "channel", "explain")} | dict(generation)
    # A form: a raw image has no room for a question.
    parts = {
        "image": ("image", read_image(about), "application/octet-stream"),
        "question": (None, _text("question", text).encode(), "text/plain; charset=utf-8"),
        "parameters": (None, _json(_parameters(link["budget"], asked)), "application/json"),
    }
    content = {"files": parts, "headers": _key(link["id"])}
    return edge, Call("POST", f"{edge}/v1/vqa", VqaResponse, content, timeout_ms)


def transcription(
    edge: str,
    cloud: str,
    about: "Sound | TranscriptResponse",
    link: Mapping[str, Any],
    asked: Mapping[str, Any],
) -> tuple[str, Call]:
    """A request to write down a clip or, where that is an earlier answer, the tokens that the cloud holds of it.

    Arguments, result and errors are those of `question`; ``asked`` has the other parameters.
    """
    fields = _parameters(None, asked) | {"response_format": "verbose_json"}
    timeout_ms = fields.get("timeout_ms")
    if isinstance(about, TranscriptResponse):
        _check_no_link(link, "a transcript of")
        content = {"content": _json({"id": about.id} | fields), "headers": {"content-type": "application/json"}}
        return cloud, Call("POST", f"{cloud}{TRANSCRIPTIONS}", TranscriptResponse, content, timeout_ms)
    fields |= _parameters(link["budget"], {name: link[name] for name in ("model", "policy", "channel", "explain")})
    parts: dict[str, Any] = {"file": ("file", read_sound(about), "application/octet-stream")}
    for name, value in fields.items():
        text = _text(name, value) if isinstance(value, str) else _json(value)
        parts[name] = (None, text.encode(), "text/plain; charset=utf-8")
    content = {"files": parts, "headers": _key(link["id"])}
    return edge, Call("POST", f"{edge}{TRANSCRIPTIONS}", TranscriptResponse, content, timeout_ms)


def _check_no_link(link: Mapping[str, Any], what: str) -> None:
    if given := [name for name, value in link.items() if value is not None]:
        raise InvalidRequestError(f"{what} tokens that the cloud holds crosses no link: got {given[0]}")


def models(base: str) -> Call:
    """All bundles that are served."""
    return Call("GET", f"{base}/v1/models", ModelsBody)


def policies(base: str, bundle: str | None) -> Call:
    """All policies of a bundle; see `read_policies`."""
    return Call("GET", f"{base}/v1/policies", None, {"params": {} if bundle is None else {"bundle": bundle}})


def _parameters(budget: Budget | None, asked: Mapping[str, Any]) -> dict[str, Any]:
    """What was given, and no more; a whole number as budget is channel uses."""
    parameters = {name: value for name, value in asked.items() if value is not None}
    if budget is not None:
        if isinstance(budget, Mapping):
            parameters["budget"] = dict(budget)
        else:
            parameters["budget"] = {"channel_uses": _index("budget", budget)}
    return parameters


def _index(name: str, value: Any) -> int:
    try:
        return int(value.__index__())
    except (AttributeError, TypeError):
        raise InvalidRequestError(f"{name} must be a whole number or a mapping, got {value!r}", name) from None


def _text(name: str, value: Any) -> str:
    # Half of a surrogate pair is no text, though a string of Python holds it.
    if not isinstance(value, str) or any(0xD800 <= ord(character) < 0xE000 for character in value):
        raise InvalidRequestError(f"{name} must be a text, got {value!r:.80}", name)
    return value


def _key(key: str | None) -> dict[str, Any]:
    if key is None:
        return {}
    if not _text("id", key).isprintable() or not key:
        raise InvalidRequestError(f"id must be a printable text, got {key!r:.80}", "id")
    return {"idempotency-key": key.encode()}


def _json(content: Any) -> str:
    def plain(value: Any) -> Any:
        # numpy's scalars.
        if hasattr(value, "item") and not getattr(value, "shape", ()):
            return value.item()
        raise TypeError(f"it holds {value!r:.80}")

    try:
        return json.dumps(content, default=plain)
    except (TypeError, ValueError) as error:
        raise InvalidRequestError(f"the parameters are no JSON: {error}") from None


def check_timeout(timeout_s: float) -> None:
    """Check a client's time.

    Raises:
        InvalidRequestError: it is not above zero.
    """
    if not 0 < timeout_s < math.inf:
        raise InvalidRequestError(f"timeout_s must be above 0 and finite, got {timeout_s}")


def options_for(base: str) -> dict[str, Any]:
    """Arguments of httpx's client for an address."""
    # A proxy of the environment is for the web; certificates are read where they are needed.
    return {"trust_env": not is_loopback(base), "verify": base.startswith("https"), "limits": _LIMITS}


# Under the edge's five seconds, so that no request meets a connection that is being closed.
_LIMITS = httpx.Limits(keepalive_expiry=2.0)


def is_loopback(url: str) -> bool:
    """Whether an address is on this machine; a proxy of the environment would look for it on its own."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


# What a server that is asked again would not mend: addresses, proxies and certificates that cannot be.
_IN_VAIN = (
    httpx.InvalidURL,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
    ValueError,
    OverflowError,
    ImportError,
)
# What httpx raises, of its own and of the libraries below it.
FAILURES = (httpx.HTTPError, OSError, ExceptionGroup, *_IN_VAIN)


def no_answer(url: str, error: Exception | str) -> UnavailableError:
    """Nothing answers at an address, or nothing of ours."""
    hint = " (cloud_url, or --cloud-url, says where the cloud is)" if "/frames/" in url else ""
    # Some of httpx's errors have no text.
    reason = str(error) or type(error).__name__
    found = UnavailableError(f"no answer from {re.sub('//[^/@]*@', '//', url)}: {reason}{hint}")
    if isinstance(error, (str, *_IN_VAIN)):
        found.retry_after_s = None
    return found


def read_answer(call: Call, response: httpx.Response) -> Any:
    """What a response holds.

    Raises:
        ThinwireError: the problem that it tells, with its code, title, status and detail.
        UnavailableError: it is no answer of an edge or a cloud.
    """
    try:
        content = response.json()
    # What is no JSON, or no text at all, or nested without end.
    except (ValueError, RecursionError):
        content = None
    code, detail = _problem(content)
    # A problem of ours has a code; of a path that is not served, one that tells no more than the status.
    if response.is_error and isinstance(content, dict) and isinstance(code, str) and code != "http_error":
        # JSON may hold half of a surrogate pair, which no terminal prints.
        text = str(response.text if detail is None else detail).encode("utf-8", "replace").decode()
        retry_after_s = _seconds(response.headers.get("retry-after"))
        raise from_code(code, text, str(content.get("title", "")), response.status_code, retry_after_s)
    if not response.is_error and isinstance(content, dict):
        try:
            return content if call.kind is None else call.kind.model_validate(content)
        except ValidationError:
            pass
    media_type = response.headers.get("content-type", "no content type")[:80]
    told = f"HTTP {response.status_code} {response.reason_phrase}, {media_type}"
    raise no_answer(call.url, f"it is no address of an edge or a cloud: {told}")


def _problem(content: Any) -> tuple[Any, Any]:
    """Code and detail of a problem, in RFC 9457's form or in OpenAI's; None, None where it is neither."""
    if not isinstance(content, dict):
        return None, None
    error = content.get("error")
    if isinstance(error, dict):
        return error.get("code"), error.get("message")
    return error, content.get("detail")


def read_policies(call: Call, content: Mapping[str, Any]) -> list[Any]:
    """The typed policies of an answer.

    Raises:
        UnavailableError: it is no answer of an edge.
    """
    # Called from above: this package stands below policies.
    from policies.policy import MeasuredPolicy

    try:
        return [MeasuredPolicy.from_json(one) for one in content["policies"]]
    except (KeyError, TypeError, ThinwireError) as error:
        raise no_answer(call.url, f"its policies are none that this version reads: {error}") from None


def _seconds(text: str | None) -> float | None:
    # Or a date, which no server of ours sends.
    return float(text) if text is not None and text.isdecimal() else None
