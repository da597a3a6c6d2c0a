"""What the proxy counts, and where it shows it."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio
import httpx
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from channel.exposition import Exposition
from channel.profiles import Profile
from channel.server import ChannelServer, Settings
from tests.channel.conftest import MakeFrame, Rig, StartRig, until
from tests.exposition import outcomes, samples
from tests.ports import reserved_port
from thinwire.errors import BundleMismatchError, UnavailableError
from thinwire.rpc import abort
from thinwire.v1 import link_pb2

FRAMES = "thinwire_frames_total"


def show(rig: Rig) -> str:
    return generate_latest(rig.proxy._metrics.registry).decode()


async def fails(call: Any) -> None:
    with pytest.raises(grpc.aio.AioRpcError):
        await call


async def test_frames_are_counted_by_outcome_and_uses_by_part(start_rig: StartRig, make_frame: MakeFrame) -> None:
    rig = await start_rig(Profile(snr_db=-3.0, symbol_rate_hz=1000.0))

    async def refuse(frame: link_pb2.Frame, context: Any) -> None:
        if frame.link_id == "stranger":
            await abort(context, BundleMismatchError("another bundle"))
        if frame.link_id == "bug":
            raise RuntimeError("a bug")

    rig.cloud.behave = refuse
    assert outcomes(show(rig), FRAMES) == {}
    frame = make_frame(side_information=b"abc", side_information_bits=20)
    await rig.link.Infer(frame)
    await rig.link.Infer(frame)
    await fails(rig.link.Infer(make_frame(link_id="stranger")))
    await fails(rig.link.Infer(make_frame(link_id="bug")))
    # Refused at the entrance: they never enter the channel.
    await fails(rig.link.Infer(make_frame(symbols=b"")))
    await fails(rig.link.Infer(make_frame(channel=link_pb2.ChannelRequest(model="pigeon"))))

    async def frames() -> AsyncIterator[link_pb2.Frame]:
        yield make_frame(sequence_number=9, channel=link_pb2.ChannelRequest(snr_db=20.0))
        yield make_frame(sequence_number=10, symbols=b"")

    assert len([result async for result in rig.link.Stream(frames())]) == 2
    text = show(rig)
    assert outcomes(text, FRAMES) == {
        "ok": 3,
        "bundle_mismatch": 1,
        "internal": 1,
        "invalid_frame": 2,
        "invalid_request": 1,
    }
    seen = samples(text)
    uses = {part: seen[f"thinwire_channel_uses_total{{part={part}}}"] for part in ("payload", "side_information")}
    assert uses == {"payload": 5 * 32, "side_information": 2 * 20}
    assert seen["thinwire_channel_uses_total{part=pilots}"] == 0
    assert seen["thinwire_airtime_seconds_total"] == pytest.approx(sum(uses.values()) / 1000)
    assert seen["thinwire_frames_in_flight"] == 0
    for stage in ("channel", "upstream"):
        assert seen[f"thinwire_stage_seconds_count{{service=channel,stage={stage}}}"] == 3
    buckets = {
        sample.labels["le"]: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "thinwire_frame_snr_db_bucket"
    }
    assert (buckets["-5.0"], buckets["0.0"], buckets["15.0"], buckets["20.0"], buckets["+Inf"]) == (0, 4, 4, 5, 5)


async def test_frames_in_flight_and_one_whose_client_goes(rig: Rig, make_frame: MakeFrame) -> None:
    release = asyncio.Event()

    async def hold(frame: link_pb2.Frame, context: Any) -> None:
        await release.wait()

    rig.cloud.behave = hold
    calls = [asyncio.ensure_future(rig.link.Infer(make_frame(sequence_number=n))) for n in range(3)]
    await until(lambda: len(rig.cloud.frames) == 3)
    assert samples(show(rig))["thinwire_frames_in_flight"] == 3
    calls[0].cancel()
    await until(lambda: samples(show(rig))["thinwire_frames_in_flight"] == 2)
    release.set()
    await asyncio.gather(*calls[1:])
    assert outcomes(show(rig), FRAMES) == {"ok": 2, "cancelled": 1}
    assert samples(show(rig))["thinwire_frames_in_flight"] == 0


async def test_the_time_on_the_air_and_the_time_of_the_cloud_are_told_apart(
    start_rig: StartRig, make_frame: MakeFrame
) -> None:
    rig = await start_rig(Profile(symbol_rate_hz=320.0, inject_airtime=True))

    async def think(frame: link_pb2.Frame, context: Any) -> None:
        await asyncio.sleep(1.5)

    rig.cloud.behave = think
    await rig.link.Infer(make_frame())
    seen = samples(show(rig))
    channel, upstream = (
        seen[f"thinwire_stage_seconds_sum{{service=channel,stage={stage}}}"] for stage in ("channel", "upstream")
    )
    assert 0.1 <= channel < 1.5 <= upstream


async def test_no_label_takes_a_word_from_a_client(rig: Rig, make_frame: MakeFrame) -> None:
    for n in range(20):
        await rig.link.Infer(make_frame(link_id=f"camera-{n}", policy_id=f"p-{n}", sequence_number=n))
    assert show(rig).count("camera") == show(rig).count("p-1") == 0


async def test_the_port_shows_them_until_the_proxy_is_drained(rig: Rig, make_frame: MakeFrame) -> None:
    server = ChannelServer(Settings(rig.cloud_address, "127.0.0.1:0", metrics_port=0))
    await server.start()
    url = f"http://127.0.0.1:{server.metrics_port}/metrics"
    async with httpx.AsyncClient(timeout=60) as client:
        response = await client.get(url)
        assert response.headers["content-type"].startswith("text/plain")
        assert samples(response.text)["thinwire_frames_in_flight"] == 0
        async with asyncio.timeout(60):
            await server.stop()
        with pytest.raises(httpx.ConnectError):
            await client.get(url)


async def test_head_is_answered_with_the_head_alone() -> None:
    exposition = Exposition(CollectorRegistry(), "127.0.0.1", 0)
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", exposition.port)
        writer.write(b"HEAD /metrics HTTP/1.0\r\n\r\n")
        head, _, body = (await asyncio.wait_for(reader.read(), 10)).partition(b"\r\n\r\n")
        writer.close()
        await writer.wait_closed()
        async with httpx.AsyncClient() as client:
            whole = await client.get(f"http://127.0.0.1:{exposition.port}/metrics", headers={"accept-encoding": ""})
            refused = await client.delete(f"http://127.0.0.1:{exposition.port}/metrics")
            options = await client.options(f"http://127.0.0.1:{exposition.port}/metrics")
    finally:
        await exposition.stop()
    assert head.startswith(b"HTTP/1.0 200 OK")
    assert f"Content-Length: {len(whole.content)}".encode() in head
    assert f"Content-Type: {whole.headers['content-type']}".encode() in head
    assert body == b""
    assert (refused.status_code, options.status_code) == (405, 200)
    assert refused.headers["allow"] == options.headers["allow"] == "GET, HEAD, OPTIONS"


async def test_metrics_are_at_their_path_alone() -> None:
    exposition = Exposition(CollectorRegistry(), "127.0.0.1", 0)
    base = f"http://127.0.0.1:{exposition.port}"
    try:
        async with httpx.AsyncClient(base_url=base) as client:
            for path in ("/", "/health/live", "/metrics/", "/metrics2", "/favicon.ico", "/v1/classify"):
                answers = [await client.request(method, path) for method in ("GET", "HEAD", "POST")]
                assert [answer.status_code for answer in answers] == [404] * 3
                assert answers[1].content == b""
            assert (await client.get("/metrics?name[]=a")).status_code == 200
        # As through a proxy, which would be asked for the whole URL.
        async with httpx.AsyncClient(proxy=base) as client:
            assert (await client.get("http://channel.example/metrics")).status_code == 200
    finally:
        await exposition.stop()


async def test_without_a_port_there_is_none(rig: Rig) -> None:
    assert rig.proxy.metrics_port is None


@pytest.mark.parametrize("port", [-1, 2**16])
async def test_a_port_that_is_none_is_refused(port: int) -> None:
    server = ChannelServer(Settings("127.0.0.1:1", "127.0.0.1:0", metrics_port=port))
    with pytest.raises(UnavailableError, match="cannot listen"):
        await server.start()
    await server.stop()


async def test_a_taken_port_is_told_and_nothing_is_left_listening(rig: Rig) -> None:
    with reserved_port() as port:
        exposition = Exposition(CollectorRegistry(), "127.0.0.1", port)
        taken = ChannelServer(Settings("127.0.0.1:1", "127.0.0.1:0", metrics_port=port))
        with pytest.raises(UnavailableError, match="cannot listen"):
            await taken.start()
        await taken.stop()
        await exposition.stop()
        # The other way about: the link's address is taken, and the port of the metrics is given back.
        server = ChannelServer(Settings("127.0.0.1:1", rig.address, metrics_port=port))
        with pytest.raises(UnavailableError, match="cannot listen"):
            await server.start()
        again = Exposition(CollectorRegistry(), "127.0.0.1", port)
        await again.stop()
        await server.stop()


def test_the_channels_image_needs_neither_rest_nor_opentelemetry() -> None:
    blocked = ("fastapi", "starlette", "uvicorn", "pydantic", "opentelemetry")
    program = f"import sys; sys.modules.update(dict.fromkeys({blocked})); import channel.server, thinwire.logs"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
