"""What holds for every model: its draws begin alike, and the two that shipped figures rest on stay as they were."""

import hashlib

import numpy as np
import pytest

from channel.models import registry
from channel.profiles import Profile
from channel.realisation import Realisation, Symbols
from channel.transmission import carry, transmit
from thinwire.channels import Channel
from thinwire.csi import Csi
from thinwire.frames import pack_symbols
from thinwire.v1 import link_pb2

MODELS = [*registry.names(), "rayleigh:coherence=1", "rayleigh:coherence=7", "rician:coherence=3"]


def draw(model: str, shape: tuple[int, ...]) -> Realisation[Symbols]:
    return registry.get(model).draw(shape, 3.0, np.random.default_rng(5))


@pytest.mark.parametrize("model", MODELS)
def test_a_frame_of_fewer_tokens_meets_the_beginning_of_the_same(model: str) -> None:
    long, short = draw(model, (9, 4)), draw(model, (2, 4))
    assert np.array_equal(short.noise, long.noise[:2])
    for name in ("gain", "noise_variance", "phase_error"):
        whole, part = getattr(long, name), getattr(short, name)
        assert (whole is None and part is None) or np.array_equal(part, whole[:2] if np.ndim(whole) else whole)


@pytest.mark.parametrize("model", MODELS)
def test_the_shape_says_nothing_but_the_order(model: str) -> None:
    flat, folded = draw(model, (36,)), draw(model, (9, 4))
    assert np.array_equal(flat.noise, folded.noise.ravel())
    assert np.array_equal(flat.gain, np.ravel(folded.gain) if np.ndim(folded.gain) else folded.gain)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("csi", ["pilots:count=2", "pilots:count=3,every=5"])
def test_so_does_one_with_pilots(model: str, csi: str) -> None:
    sent = np.exp(1j * np.arange(48)).astype(np.complex64).reshape(12, 4)
    long, short = (
        carry(symbols, Channel(model, 3.0, Csi.parse(csi)), np.random.default_rng(1)) for symbols in (sent, sent[:5])
    )
    assert np.array_equal(short.symbols, long.symbols[:5])
    assert np.array_equal(short.gain, np.asarray(long.gain)[:5] if np.ndim(long.gain) else long.gain)


@pytest.mark.parametrize(
    ("model", "digest"), [("awgn", "1915ee5d4f35f4c1"), ("rayleigh", "71d4cde933b99991")], ids=["awgn", "rayleigh"]
)
def test_awgn_and_rayleigh_blocks_are_what_they_were_when_the_shipped_figures_were_measured(
    model: str, digest: str
) -> None:
    symbols = np.exp(1j * np.arange(48)).astype(np.complex64).reshape(6, 8)
    frame = link_pb2.Frame(
        link_id="golden", request_id="0" * 31 + "1", sequence_number=3, tokens=6, symbols_per_token=8,
        symbols=pack_symbols(symbols),
    )  # fmt: skip
    received = transmit(frame, Profile(model, 7.0, seed=42)).frame.symbols
    assert hashlib.blake2b(received, digest_size=8).hexdigest() == digest
