"""The one word for how a piece of work ended, in metrics, traces and logs."""

import asyncio
import sys

import grpc.aio

from thinwire.errors import ThinwireError
from thinwire.rpc import from_rpc_error

OK = "ok"
CANCELLED = "cancelled"


def outcome_of(error: BaseException) -> str:
    """The word: "cancelled", or the code of an error; what is none of `thinwire.errors` is "internal"."""
    # A stream that its reader leaves ends with a GeneratorExit.
    if isinstance(error, asyncio.CancelledError | GeneratorExit) or _is_disconnect(error):
        return CANCELLED
    if isinstance(error, grpc.aio.AioRpcError):
        error = from_rpc_error(error)
    return error.code if isinstance(error, ThinwireError) else ThinwireError.code


def _is_disconnect(error: BaseException) -> bool:
    # Looked up and not imported: the channel's image has no REST.
    requests = sys.modules.get("starlette.requests")
    return requests is not None and isinstance(error, requests.ClientDisconnect)
