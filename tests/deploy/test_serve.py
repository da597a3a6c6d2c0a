"""The options of ``thinwire edge|cloud serve`` that reach the HTTP server."""

import asyncio
from typing import Any

import pytest

import cloud.server
import edge.server
from deploy.cli.main import main


@pytest.fixture(name="serve")
def serve_fixture(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The settings that a command would serve with."""
    served: list[Any] = []

    async def keep(_: Any, settings: Any) -> None:
        await asyncio.sleep(0)
        served.append(settings)

    monkeypatch.setattr(edge.server, "serve", keep)
    monkeypatch.setattr(cloud.server, "serve", keep)
    monkeypatch.setattr("thinwire.logs.configure", lambda process: None)
    monkeypatch.setattr("deploy.cli.engines.edge_engine", lambda *_: None)
    monkeypatch.setattr("deploy.cli.engines.cloud_classifier", lambda *_: None)

    def serve(*arguments: str) -> Any:
        assert main([*arguments, "--bundle", "cifar10"]) == 0
        return served.pop()

    return serve


@pytest.mark.parametrize("process", ["edge", "cloud"])
def test_idle_connections_and_origins(serve: Any, process: str) -> None:
    settings = serve(process, "serve")
    assert (settings.keep_alive_s, settings.cors_origins) == (75, ())
    origins = ("https://a.example", "http://[::1]:3000", "http://localhost:8080", "app://b")
    named = ("--cors-origin", *origins[:2], "--cors-origin", *origins[2:])
    settings = serve(process, "serve", "--keep-alive", "20", *named)
    assert (settings.keep_alive_s, settings.cors_origins) == (20, origins)
    assert serve(process, "serve", "--cors-origin", "*").cors_origins == ("*",)


@pytest.mark.parametrize(
    "origin",
    ["a.example", "https://", "https://a.example/", "https://A.example", "https://a.example:443", "http://a.example:80",
     "https://*.example", "https://user@a.example", "null", ""],
)  # fmt: skip
def test_an_origin_that_no_browser_sends_is_refused(origin: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["edge", "serve", "--cors-origin", origin])
    assert f"--cors-origin: got {origin!r}, expected scheme://host[:port]" in capsys.readouterr().err


@pytest.mark.parametrize("seconds", ["0", "-1", "x", "1.5"])
def test_an_idle_time_that_is_none_is_refused(seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["cloud", "serve", "--keep-alive", seconds])
    assert "--keep-alive" in capsys.readouterr().err
