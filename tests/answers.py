"""Answers as an edge gives them, and something that gives them over HTTP."""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from thinwire.rest.schemas import ClassifyResponse


def answer_of(policy: str | None = "p-1", uses: int | None = 24, task: str = "classify") -> ClassifyResponse:
    """The answer to an image; without a policy, that of the plain model."""
    return ClassifyResponse.model_validate(body_of(policy, uses))


def body_of(policy: str | None = "p-1", uses: int | None = 24) -> dict[str, Any]:
    """The body of an answer, of either task."""
    link = {
        "tokens": 4,
        "channel_uses": uses,
        "payload_uses": uses,
        "pilot_uses": 0,
        "side_information_uses": 0,
        "cbr": 0.01,
        "snr_db": 10.0,
        "airtime_ms": 2.4,
        "transmissions": 1,
    }
    return {
        "id": "00112233445566778899aabbccddeeff",
        "outputs": [{"label": "cat", "answer": "cat", "score": 0.5}],
        "policy": policy and {"id": policy, "digest": "d", "capped": False, "front": None},
        "link": link if policy else None,
        "cost": {"edge_gmacs": 0.1} if policy else None,
        "timings_ms": {"edge": 1.0, "channel": 1.0, "cloud": 1.0, "total": 3.0},
    }


_SEGMENT = {
    **{"id": 0, "seek": 0, "start": 0.0, "end": 1.5, "text": " one two", "tokens": [1, 2]},
    **{"temperature": 0.0, "avg_logprob": -0.1, "compression_ratio": 0.8, "no_speech_prob": 0.01},
}


def transcript_body() -> dict[str, Any]:
    """The body of a transcript in the form ``verbose_json``."""
    told = body_of()
    del told["outputs"]
    windows = [told | {"start": 0.0, "end": 1.5}]
    spoken = {"task": "transcribe", "text": "one two", "language": "english", "duration": 1.5, "segments": [_SEGMENT]}
    return spoken | {"usage": {"type": "duration", "seconds": 1.5}} | told | {"windows": windows}


class StandIn(ThreadingHTTPServer):
    """Gives the same response to all requests, which it keeps."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.response: tuple[int, dict[str, str], bytes] = (200, {}, b"{}")
        self.asked: list[tuple[str, dict[str, str], bytes]] = []

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that hang up."""


class _Handler(BaseHTTPRequestHandler):
    server: StandIn

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers["content-length"])))

    def _answer(self, body: bytes) -> None:
        self.server.asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
        status, headers, content = self.server.response
        self.send_response(status)
        for name, value in ({"content-length": str(len(content))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: Any) -> None:
        pass


@contextmanager
def standing_in():
    """A `StandIn` that serves."""
    with StandIn() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
