"""Many frames over one call, as the channel and the cloud both serve them."""

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable

import grpc.aio
from google.protobuf.message import DecodeError

from thinwire import rpc
from thinwire.errors import InvalidFrameError, ThinwireError
from thinwire.frames import identified
from thinwire.v1 import link_pb2

Context = grpc.aio.ServicerContext[link_pb2.Frame, link_pb2.Result]
MAX_IN_FLIGHT = 64


async def answer_each(
    frames: AsyncIterable[link_pb2.Frame],
    context: Context,
    answer: Callable[[link_pb2.Frame], Awaitable[link_pb2.Result]],
    max_in_flight: int = MAX_IN_FLIGHT,
) -> None:
    """Write the result of each frame as soon as it is ready; an error is the problem of its frame's result.

    When the client goes away, gRPC cancels this coroutine, and the task group cancels what is in flight.

    Args:
        frames: of the call.
        context: of the call.
        answer: gives a frame's result, or raises `ThinwireError`.
        max_in_flight: frames that are handled at once; beyond it the stream is not read.
    """
    slots, writing = asyncio.Semaphore(max_in_flight), asyncio.Lock()

    async def write(frame: link_pb2.Frame) -> None:
        try:
            result = await answer(frame)
        except ThinwireError as error:
            result = identified(frame)
            result.problem.CopyFrom(rpc.to_problem(error))
        # The slot is held until the peer takes the result: one that does not read cannot make us hoard.
        async with writing:
            await context.write(result)
        slots.release()

    unreadable = False
    async with asyncio.TaskGroup() as tasks:
        try:
            async for frame in frames:
                await slots.acquire()
                tasks.create_task(write(frame))
        except DecodeError:
            unreadable = True
    # Only now, so that what came before it is answered.
    if unreadable:
        await rpc.abort(context, InvalidFrameError("the stream holds a message that is no frame"))
