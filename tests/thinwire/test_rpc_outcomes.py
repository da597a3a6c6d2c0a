import asyncio

import grpc
import grpc.aio
import pytest
from starlette.requests import ClientDisconnect

from thinwire.errors import BudgetError, ThinwireError
from thinwire.rpc import outcome_of


def rpc_error(status: grpc.StatusCode, *trailing: tuple[str, str]) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(status, grpc.aio.Metadata(), grpc.aio.Metadata(*trailing))


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (BudgetError("too little"), "budget_not_met"),
        (ThinwireError("broken"), "internal"),
        (RuntimeError("a bug"), "internal"),
        (asyncio.CancelledError(), "cancelled"),
        (ClientDisconnect(), "cancelled"),
        (GeneratorExit(), "cancelled"),
        (rpc_error(grpc.StatusCode.FAILED_PRECONDITION, ("thinwire-error", "bundle_mismatch")), "bundle_mismatch"),
        (rpc_error(grpc.StatusCode.UNAVAILABLE), "unavailable"),
        (rpc_error(grpc.StatusCode.DEADLINE_EXCEEDED), "deadline_exceeded"),
        # A peer cannot make a word of its own a label.
        (rpc_error(grpc.StatusCode.INTERNAL, ("thinwire-error", "made-up-17")), "internal"),
    ],
)
def test_every_end_has_one_word(error: BaseException, outcome: str) -> None:
    assert outcome_of(error) == outcome
