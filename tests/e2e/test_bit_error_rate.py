"""Uncoded QPSK through the served proxy against its closed form: the noise convention, seen from outside.

Es/N0 = g gives a bit error rate of Q(sqrt(g)) over AWGN, and of Q(sqrt(g |h|^2)) for a block of gain h. Over |h|^2
exponential with mean 1, that averages to (1 - sqrt(g / (2 + g))) / 2.
"""

import asyncio
import math
from statistics import NormalDist

import numpy as np
import pytest
from numpy.typing import NDArray

from channel.profiles import Profile
from channel.server import ChannelServer, Settings
from offline.measure.evaluator import request_id_of
from thinwire.csi import Csi
from thinwire.equalise import zero_forcing
from thinwire.frames import check_frame, pack_symbols, read_reception
from thinwire.rpc import Server, open_channel
from thinwire.v1 import link_pb2, link_pb2_grpc

Z = NormalDist().inv_cdf(0.9995)  # two-sided 99.9%
CONCURRENCY = 16


class Receiver(link_pb2_grpc.SemanticLinkServicer):
    """The cloud's place: keeps the frames that arrive."""

    def __init__(self) -> None:
        self.frames: dict[str, link_pb2.Frame] = {}

    async def Infer(self, request, context):  # noqa: N802
        self.frames[request.request_id] = request
        return link_pb2.Result(request_id=request.request_id)


async def errors_per_frame(profile: Profile, frames: int, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Share of wrong bits in each of ``frames`` frames of random QPSK symbols, after zero forcing."""
    receiver, upstream = Receiver(), Server(["thinwire.v1.SemanticLink"])
    link_pb2_grpc.add_SemanticLinkServicer_to_server(receiver, upstream.grpc_server)
    proxy = ChannelServer(Settings(f"127.0.0.1:{await upstream.start('127.0.0.1:0')}", "127.0.0.1:0", profile))
    generator = np.random.default_rng(11)
    slots, shares = asyncio.Semaphore(CONCURRENCY), np.zeros(frames)
    async with open_channel(f"127.0.0.1:{await proxy.start()}") as channel:
        link = link_pb2_grpc.SemanticLinkStub(channel)

        async def carry(index: int) -> None:
            bits = generator.integers(0, 2, (*shape, 2))
            symbols = ((1 - 2 * bits) @ np.array([1, 1j]) / math.sqrt(2)).astype(np.complex64)
            frame = link_pb2.Frame(
                link_id="qpsk",
                request_id=request_id_of(str(index)),
                tokens=shape[0],
                symbols_per_token=shape[1],
                symbols=pack_symbols(symbols),
            )
            async with slots:
                await link.Infer(frame)
            arrived = receiver.frames.pop(frame.request_id)
            gain, variance = read_reception(arrived)
            equalised, _ = zero_forcing(check_frame(arrived), np.asarray(gain), variance)
            decided = np.stack((equalised.real < 0, equalised.imag < 0), axis=-1)
            shares[index] = np.mean(decided != bits)

        await asyncio.gather(*(carry(index) for index in range(frames)))
    await proxy.stop()
    await upstream.stop()
    return shares


@pytest.mark.parametrize("snr_db", [4.0, 8.0])
async def test_awgn(snr_db):
    frames, shape = 50, (100, 100)
    shares = await errors_per_frame(Profile("awgn", snr_db, seed=3), frames, shape)
    bits = frames * shape[0] * shape[1] * 2
    assert bits == 10**6
    theory = NormalDist().cdf(-math.sqrt(10 ** (snr_db / 10)))
    assert abs(shares.mean() - theory) < Z * math.sqrt(theory * (1 - theory) / bits)


@pytest.mark.parametrize("snr_db", [5.0])
async def test_rayleigh_blocks(snr_db):
    blocks = 2500
    shares = await errors_per_frame(Profile("rayleigh", snr_db, seed=3), blocks, (5, 10))
    snr = 10 ** (snr_db / 10)
    theory = 0.5 * (1 - math.sqrt(snr / (2 + snr)))
    # Bits of one block share its gain, so the interval is over block means.
    assert abs(shares.mean() - theory) < Z * shares.std(ddof=1) / math.sqrt(blocks)


@pytest.mark.parametrize("model", ["rayleigh:coherence=1", "ofdm"])
async def test_gains_that_differ_by_symbol(model):
    frames = 500
    shares = await errors_per_frame(Profile(model, 5.0, seed=3), frames, (8, 16))
    snr = 10**0.5
    assert abs(shares.mean() - 0.5 * (1 - math.sqrt(snr / (2 + snr)))) < Z * shares.std(ddof=1) / math.sqrt(frames)


async def test_gains_estimated_from_pilots():
    frames, pilots = 1000, 2
    shares = await errors_per_frame(
        Profile("rayleigh", 5.0, seed=3, csi=Csi.parse(f"pilots:count={pilots}")), frames, (5, 10)
    )
    # y and the estimate are Gaussian; see tests/channel/models/test_bit_error_rates.py.
    half = 0.5 / ((1 + 10**-0.5) * (1 + 10**-0.5 / pilots))
    theory = 0.5 * (1 - math.sqrt(half / (1 - half)))
    assert abs(shares.mean() - theory) < Z * shares.std(ddof=1) / math.sqrt(frames)
