"""Errors cross a real connection whole, and in a stream's results; what is unavailable is tried again."""

import asyncio
import contextlib
import socket

import grpc
import grpc.aio
import pytest

from tests.thinwire.rpc_serving import LINK, failure, serving
from thinwire import errors
from thinwire.errors import (
    BudgetError,
    DeadlineError,
    InvalidFrameError,
    OverBudgetError,
    OverloadedError,
    ThinwireError,
    UnavailableError,
)
from thinwire.rpc import (
    MAX_DETAIL_CHARACTERS,
    abort,
    from_problem,
    from_rpc_error,
    open_channel,
    to_problem,
)
from thinwire.v1 import link_pb2, link_pb2_grpc

CLASSES = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ThinwireError)]


@pytest.fixture(name="served")
async def served_fixture():
    async with serving(LINK) as served:
        yield served


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


@pytest.mark.parametrize("kind", CLASSES)
def test_a_problem_in_a_stream_is_the_same_error(kind):
    received = from_problem(link_pb2.Problem(code=kind.code, detail="detail"))
    assert type(received) is kind
    assert str(received) == "detail"


def test_a_problem_of_a_newer_version_is_an_error_still():
    assert type(from_problem(link_pb2.Problem(code="of_tomorrow", detail="x"))) is ThinwireError
