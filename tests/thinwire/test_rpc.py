"""gRPC over a real connection: errors cross it whole, health and reflection tell the truth."""

import asyncio
import contextlib
import socket

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from thinwire import errors
from thinwire.errors import (
    BudgetError,
    DeadlineError,
    InvalidFrameError,
    InvalidRequestError,
    OverBudgetError,
    OverloadedError,
    ThinwireError,
    UnavailableError,
)
from thinwire.rpc import (
    MAX_DETAIL_CHARACTERS,
    MAX_MESSAGE_BYTES,
    Server,
    abort,
    from_problem,
    from_rpc_error,
    open_channel,
    to_problem,
)
from thinwire.v1 import link_pb2, link_pb2_grpc

CLASSES = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ThinwireError)]
LINK = "thinwire.v1.SemanticLink"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Cloud(link_pb2_grpc.SemanticLinkServicer):
    """Answers with whatever ``answer`` does."""

    def __init__(self):
        self.calls = 0
        self.answer = None

    async def Infer(self, request, context):  # noqa: N802
        self.calls += 1
        return await self.answer(request, context)


@contextlib.asynccontextmanager
async def serving(*services):
    server, cloud = Server(services), Cloud()
    link_pb2_grpc.add_SemanticLinkServicer_to_server(cloud, server.grpc_server)
    port = await server.start("127.0.0.1:0")
    try:
        async with open_channel(f"127.0.0.1:{port}") as channel:
            yield server, cloud, channel
    finally:
        await server.stop(0)


@pytest.fixture(name="served")
async def served_fixture():
    async with serving(LINK) as served:
        yield served


async def failure(served, frame=None, timeout=20.0):
    """The error that a call ends in."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await link_pb2_grpc.SemanticLinkStub(served[2]).Infer(frame or link_pb2.Frame(), timeout=timeout)
    return caught.value


def raising(error):
    async def answer(_, context):
        await abort(context, error)

    return answer


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("text", ["", "got 3, expected 4: é 犬 %41\n\tnext line"], ids=["empty", "text"])
async def test_errors_cross_the_wire(served, kind, text):
    served[1].answer = raising(kind(text))
    error = await failure(served)
    assert error.code() is grpc.StatusCode[kind.grpc_status]
    received = from_rpc_error(error)
    assert type(received) is kind
    assert str(received) == text


async def test_overload_tells_when_to_come_again(served):
    served[1].answer = raising(OverloadedError("x", 2.5))
    assert from_rpc_error(await failure(served)).retry_after_s == 2.5
    served[1].answer = raising(OverloadedError("x", 0.0))
    assert from_rpc_error(await failure(served)).retry_after_s == 0.001


async def test_a_frame_over_its_budget_tells_what_receivers_know(served):
    error = OverBudgetError("x", "pilots:count=4")
    served[1].answer = raising(error)
    assert from_rpc_error(await failure(served)).csi == from_problem(to_problem(error)).csi == "pilots:count=4"


@pytest.mark.parametrize("text", ["", "soon", "-1", "1e3", "9" * 5000])
async def test_a_peer_that_tells_nonsense_of_it_is_not_believed(served, text):
    async def answer(_, context):
        metadata = (("thinwire-error", "overloaded"), ("retry-after-ms", text))
        await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "x", metadata)

    served[1].answer = answer
    assert from_rpc_error(await failure(served)).retry_after_s == OverloadedError.retry_after_s


@pytest.mark.parametrize("kind", CLASSES)
def test_errors_pass_in_streams(kind):
    problem = to_problem(kind("text"))
    received = from_problem(problem)
    assert (type(received), str(received), received.retry_after_s) == (kind, "text", kind.retry_after_s)


@pytest.mark.parametrize("character", ["x", "犬", "𝄞"])
async def test_a_long_text_is_cut_and_not_lost(served, character):
    text = character * 100_000
    served[1].answer = raising(BudgetError(text))
    received = from_rpc_error(await failure(served))
    assert type(received) is BudgetError
    assert str(received) == text[: MAX_DETAIL_CHARACTERS - 3] + "..."
    served[1].answer = raising(BudgetError(text[:MAX_DETAIL_CHARACTERS]))
    assert str(from_rpc_error(await failure(served))) == text[:MAX_DETAIL_CHARACTERS]


async def test_nothing_runs_behind_an_abort(served):
    after = []

    async def answer(_, context):
        with contextlib.suppress(ThinwireError):
            await abort(context, InvalidFrameError("x"))
        after.append(True)

    served[1].answer = answer
    await failure(served)
    assert after == []


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (grpc.StatusCode.UNAVAILABLE, UnavailableError),
        (grpc.StatusCode.CANCELLED, UnavailableError),
        (grpc.StatusCode.DEADLINE_EXCEEDED, DeadlineError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, ThinwireError),
        (grpc.StatusCode.INVALID_ARGUMENT, ThinwireError),
        (grpc.StatusCode.INTERNAL, ThinwireError),
        (grpc.StatusCode.UNKNOWN, ThinwireError),
        (grpc.StatusCode.UNIMPLEMENTED, ThinwireError),
    ],
)
@pytest.mark.parametrize("metadata", [(), (("thinwire-error", "of_tomorrow"),), (("other", "budget_not_met"),)])
async def test_a_bare_status_means_what_it_says(served, status, kind, metadata):
    async def answer(_, context):
        await context.abort(status, "the proxy's words", metadata)

    served[1].answer = answer
    received = from_rpc_error(await failure(served))
    assert type(received) is kind
    assert "the proxy's words" in str(received)
    if kind is ThinwireError:
        assert status.name in str(received)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(grpc.StatusCode.UNAVAILABLE, UnavailableError), (grpc.StatusCode.DEADLINE_EXCEEDED, DeadlineError)],
)
def test_a_status_without_words_gets_some(status, kind):
    received = from_rpc_error(grpc.aio.AioRpcError(status, grpc.aio.Metadata(), grpc.aio.Metadata()))
    assert type(received) is kind
    assert str(received)


async def test_nobody_there():
    with socket.socket() as bound:
        # Bound and not listening: no other process can take the port and answer.
        bound.bind(("127.0.0.1", 0))
        async with open_channel(f"127.0.0.1:{bound.getsockname()[1]}") as channel:
            error = await failure((None, None, channel))
    assert type(from_rpc_error(error)) is UnavailableError


async def test_an_answer_that_does_not_come(served):
    released = asyncio.Event()

    async def answer(*_):
        await released.wait()

    served[1].answer = answer
    assert type(from_rpc_error(await failure(served, timeout=0.2))) is DeadlineError
    released.set()


async def test_what_is_unavailable_is_tried_again_and_what_is_wrong_is_not(served):
    _, cloud, channel = served

    async def answer(_, context):
        if cloud.calls < 3:
            await abort(context, UnavailableError("not yet"))
        return link_pb2.Result(link_id="third")

    cloud.answer = answer
    result = await link_pb2_grpc.SemanticLinkStub(channel).Infer(link_pb2.Frame(), timeout=20)
    assert (result.link_id, cloud.calls) == ("third", 3)
    cloud.calls, cloud.answer = 0, raising(InvalidFrameError("x"))
    await failure(served)
    assert cloud.calls == 1


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


@pytest.mark.parametrize("kind", CLASSES)
def test_a_problem_in_a_stream_is_the_same_error(kind):
    received = from_problem(link_pb2.Problem(code=kind.code, detail="detail"))
    assert type(received) is kind
    assert str(received) == "detail"


def test_a_problem_of_a_newer_version_is_an_error_still():
    assert type(from_problem(link_pb2.Problem(code="of_tomorrow", detail="x"))) is ThinwireError
