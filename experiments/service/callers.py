"""Callers that send frames and wait for the answers, over gRPC, with as little work of their own as can be."""

import asyncio
import itertools
import secrets
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from thinwire import rpc
from thinwire.bundle import Bundle
from thinwire.equalise import ReceivedTokens
from thinwire.frames import pack_symbols
from thinwire.v1 import link_pb2

INFER = "/thinwire.v1.SemanticLink/Infer"
SNR_DB = 10.0
TIMEOUT_S = 60.0
# Stands in a serialised frame for its id, which must be another for each.
_NO_ID = b"0" * 32


def mixed_frames(bundle: Bundle, count: int, seed: int, received: bool) -> list[link_pb2.Frame]:
    """Frames of Gaussian symbols, their token counts even between a sixteenth of the patches and all of them.

    Args:
        received: whether the channel's proxy has stamped them.
    """
    generator = np.random.default_rng(seed)
    rate = bundle.reference.symbols_per_token if bundle.reference else bundle.codec.max_symbols_per_token
    frames = []
    for number in range(count):
        tokens = max(1, bundle.patches // 16 + (bundle.patches - bundle.patches // 16) * number // max(1, count - 1))
        tokens += bundle.prefix_tokens
        parts = generator.standard_normal((tokens, rate, 2)).astype(np.float32)
        # The power that a device's encoder sends with.
        symbols = (parts / np.sqrt(np.mean(np.sum(np.square(parts), -1)))).view(np.complex64)[..., 0]
        frame = link_pb2.Frame(
            link_id="benchmark",
            request_id=_NO_ID.decode(),
            task=bundle.task,
            bundle_digest=bundle.digest,
            policy_id="none",
            tokens=tokens,
            symbols_per_token=rate,
            symbols=pack_symbols(symbols),
        )
        if received:
            frame.reception.CopyFrom(
                link_pb2.Reception(model="awgn", snr_db=SNR_DB, noise_variance=10 ** (-SNR_DB / 10), gain_real=1.0)
            )
        frames.append(frame)
    return [frames[index] for index in generator.permutation(count)]


def to_received(frame: link_pb2.Frame) -> ReceivedTokens:
    """What the cloud's model gets of such a frame."""
    symbols = np.frombuffer(frame.symbols, dtype="<c8").reshape(frame.tokens, frame.symbols_per_token)
    return ReceivedTokens(symbols, 10 ** (-SNR_DB / 10))


def run(
    address: str, method: str, frames: Sequence[link_pb2.Frame], concurrent: int, seconds: float
) -> tuple[float, float, float]:
    """Have so many callers send frames, each the next one as soon as it has its answer, for so many seconds.

    Returns:
        answers per second, and of the milliseconds of each the median and the 99% quantile.
    """
    source = itertools.cycle([frame.SerializeToString() for frame in frames])
    latencies: list[float] = []

    async def load() -> float:
        async with rpc.open_channel(address) as channel:
            # Bytes in and bytes out: what the caller does is the same whoever answers.
            call: Any = channel.unary_unary(method)

            async def ask() -> None:
                await call(next(source).replace(_NO_ID, secrets.token_hex(16).encode()), timeout=TIMEOUT_S)

            await ask()
            begin = time.perf_counter()

            async def send() -> None:
                while (started := time.perf_counter()) < begin + seconds:
                    await ask()
                    latencies.append((time.perf_counter() - started) * 1e3)

            await asyncio.gather(*(send() for _ in range(concurrent)))
            return time.perf_counter() - begin

    took = asyncio.run(load())
    p50, p99 = np.percentile(latencies, (50, 99)).tolist()
    return len(latencies) / took, p50, p99
