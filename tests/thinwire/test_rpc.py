"""gRPC over a real connection: large frames pass, health and reflection tell the truth, and ports are not shared."""

import asyncio
import socket

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tests.thinwire.rpc_serving import LINK, failure, serving
from thinwire.errors import (
    InvalidRequestError,
    ThinwireError,
    UnavailableError,
)
from thinwire.rpc import (
    MAX_MESSAGE_BYTES,
    Server,
    from_rpc_error,
)
from thinwire.v1 import link_pb2, link_pb2_grpc

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture(name="served")
async def served_fixture():
    async with serving(LINK) as served:
        yield served


async def test_a_frame_of_many_megabytes_passes_both_ways(served):
    async def answer(request, _):
        return link_pb2.Result(logits=[1.0] * (len(request.symbols) // 4))

    served[1].answer = answer
    # 4 MiB is where gRPC stops by itself.
    frame = link_pb2.Frame(symbols=b"\0" * (5 * 2**20))
    result = await link_pb2_grpc.SemanticLinkStub(served[2]).Infer(frame, timeout=20)
    assert len(result.logits) * 4 == len(frame.symbols)


async def test_a_larger_frame_than_allowed_is_an_error(served):
    frame = link_pb2.Frame(symbols=b"\0" * (MAX_MESSAGE_BYTES + 1))
    received = from_rpc_error(await failure(served, frame))
    assert type(received) is ThinwireError
    assert "RESOURCE_EXHAUSTED" in str(received)
    assert served[1].calls == 0


async def test_health_says_when_it_serves_and_when_no_longer():
    async with serving(LINK, "thinwire.v1.ChannelControl") as (server, _, channel):
        stub = health_pb2_grpc.HealthStub(channel)
        for name in ("", LINK, "thinwire.v1.ChannelControl"):
            request = health_pb2.HealthCheckRequest(service=name)
            assert (await stub.Check(request, timeout=20)).status == SERVING
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Check(health_pb2.HealthCheckRequest(service="nobody"), timeout=20)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND

        watched = [stub.Watch(health_pb2.HealthCheckRequest(service=name), timeout=20) for name in ("", LINK)]
        for call in watched:
            assert (await call.read()).status == SERVING
        stopping = asyncio.create_task(server.stop(10))
        for call in watched:
            assert (await call.read()).status == NOT_SERVING
            call.cancel()
        await asyncio.wait_for(stopping, 20)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Check(health_pb2.HealthCheckRequest(), timeout=20)
        assert type(from_rpc_error(caught.value)) is UnavailableError


@pytest.mark.parametrize(("grace_s", "finishes"), [(20.0, True), (0.0, False)])
async def test_stop_lets_what_runs_finish_within_its_grace(served, grace_s, finishes):
    server, cloud, channel = served
    begun, released = asyncio.Event(), asyncio.Event()

    async def answer(*_):
        begun.set()
        await released.wait()
        return link_pb2.Result(link_id="done")

    cloud.answer = answer
    call = link_pb2_grpc.SemanticLinkStub(channel).Infer(link_pb2.Frame(), timeout=20)
    await asyncio.wait_for(begun.wait(), 20)
    stopping = asyncio.create_task(server.stop(grace_s))
    if finishes:
        await asyncio.sleep(0.05)
        released.set()
        assert (await call).link_id == "done"
    else:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert type(from_rpc_error(caught.value)) is UnavailableError
    await asyncio.wait_for(stopping, 20)


async def test_reflection_lists_what_is_served(served):
    stub = reflection_pb2_grpc.ServerReflectionStub(served[2])
    requests = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol=LINK),
    ]
    call = stub.ServerReflectionInfo(iter(requests), timeout=20)
    listed, described = [await call.read() for _ in requests]
    names = {service.name for service in listed.list_services_response.service}
    assert names == {LINK, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}
    (file,) = described.file_descriptor_response.file_descriptor_proto
    assert file == link_pb2.DESCRIPTOR.serialized_pb


async def test_an_occupied_port_is_our_error():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(UnavailableError, match=f"cannot listen on {address}"):
            await Server(()).start(address)


async def test_two_servers_never_share_a_port():
    first, second = Server(()), Server(())
    port = await first.start("127.0.0.1:0")
    try:
        with pytest.raises(UnavailableError):
            await second.start(f"127.0.0.1:{port}")
    finally:
        await first.stop(0)


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        *(
            (text, InvalidRequestError)
            for text in ("nonsense", "127.0.0.1:65536", "127.0.0.1:", "127.0.0.1:x", "::1:1")
        ),
        # Well formed and nobody's.
        ("256.256.256.256:1", UnavailableError),
    ],
)
async def test_an_address_that_is_none_is_our_error(address, kind):
    with pytest.raises(kind, match="listen on"):
        await Server(()).start(address)
