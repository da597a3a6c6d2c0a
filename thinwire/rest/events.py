"""Server-sent events."""

import json
import logging
from collections.abc import AsyncGenerator, Callable
from typing import Any

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from thinwire.errors import ThinwireError
from thinwire.rest import problems

log = logging.getLogger(__name__)
MEDIA_TYPE = "text/event-stream"


def event(content: Any, name: str = "") -> str:
    """One event; text stands as it is, all else as JSON.

    Args:
        name: of the event, where it is not a message.
    """
    data = content if isinstance(content, str) else json.dumps(content)
    return f"event: {name}\ndata: {data}\n\n" if name else f"data: {data}\n\n"


def problem_event(error: ThinwireError) -> str:
    """The event of an error."""
    return event(problems.body(error), "error")


def openai_event(error: ThinwireError) -> str:
    """The event of an error in OpenAI's form, whose clients look for it in a message and not in a name."""
    return event(problems.openai_body(error))


class EventStream(StreamingResponse):
    """A response of events, whose source is closed as soon as the client goes away.

    The first event is there before the response begins, so that what fails before it has a status of its own.

    Args:
        first: the first event.
        events: the others.
        failure: the event of an error of their source, which is the last.
    """

    media_type = MEDIA_TYPE

    def __init__(
        self, first: str, events: AsyncGenerator[str], failure: Callable[[ThinwireError], str] = problem_event
    ) -> None:
        self._events = events
        # Caches and proxies must pass events on as they come.
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        super().__init__(_told(first, events, failure), headers=headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._events.aclose()


async def _told(
    first: str, events: AsyncGenerator[str], failure: Callable[[ThinwireError], str]
) -> AsyncGenerator[str]:
    """The events, the last of them an error if their source fails."""
    yield first
    try:
        async for one in events:
            yield one
    except ThinwireError as error:
        if error.http_status >= 500:
            log.warning(str(error), extra={"error": error.code})
        yield failure(error)
    except Exception as error:
        log.error("unexpected error", exc_info=error)
        yield failure(ThinwireError("an unexpected error; see the log"))
