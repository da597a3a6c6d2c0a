"""The channels of a training batch against the proxy's and the cloud's own, one frame at a time."""

import numpy as np
import pytest
import torch

from channel.models.registry import get
from channel.realisation import apply
from offline.train.channels import draw_channels, equalise
from thinwire.equalise import receive
from thinwire.nn.codec.snr_gate import rate_mask

TOKENS, HIGHEST = 5, 8
MIX = (
    "awgn",
    "rayleigh",
    "rayleigh:coherence=3",
    "rician:coherence=16",
    "gilbert_elliott:share=0.4",
    "erasure:share=0.5",
    "phase_noise",
    "clipping:level_db=0",
    "jakes:doppler=0.1",
    "ofdm",
)
CPU = torch.device("cpu")


def draw(names, rates, snr_db, seed=0):
    models = [get(name) for name in names]
    shape = (len(rates), TOKENS, HIGHEST)
    return draw_channels(models, shape, np.asarray(rates), snr_db, np.random.default_rng(seed), CPU)


def test_drawn_channels_have_the_variance_of_their_snr():
    drawn = draw(("awgn", "rayleigh"), [HIGHEST] * 400, [0.0, 10.0] * 200)
    assert (drawn.gain.shape, drawn.noise.shape) == ((400, 1, 1), (400, TOKENS, HIGHEST))
    torch.testing.assert_close(drawn.noise_variance[:2, 0, 0], torch.tensor([1.0, 0.1]))
    for offset, expected in ((0, 1.0), (1, 0.1)):
        # 8,000 complex samples: the relative deviation of the mean power is 1/sqrt(8000).
        assert drawn.noise[offset::2].abs().square().mean().item() == pytest.approx(expected, rel=5 / 8000**0.5)
    # Half AWGN (gain 1), half Rayleigh (mean power 1).
    flat = (drawn.gain == 1).sum().item()
    assert 150 < flat < 250
    assert drawn.gain[drawn.gain != 1].abs().square().mean().item() == pytest.approx(1, rel=0.4)


def symbols_of(rates, seed=1):
    generator = torch.Generator().manual_seed(seed)
    sent = rate_mask(torch.tensor(rates), HIGHEST).expand(-1, TOKENS, -1)
    return torch.randn(len(rates), TOKENS, HIGHEST, dtype=torch.complex64, generator=generator) * sent, sent


@pytest.mark.parametrize("names", [("awgn", "rayleigh"), ("awgn", "clipping:level_db=0"), MIX], ids=len)
def test_a_batch_meets_what_each_frame_would_meet_in_the_proxy_and_the_cloud(names):
    generator = np.random.default_rng(0)
    rates = generator.integers(1, HIGHEST + 1, 40).tolist()
    snr_db = generator.uniform(-5, 20, 40).tolist()
    realisation = draw(names, rates, snr_db, seed=7)
    x, sent = symbols_of(rates)
    equalised, variance = equalise(apply(x, realisation), realisation, sent)
    # The same draws, one frame after another, as a proxy makes them for what is sent.
    again = np.random.default_rng(7)
    compared = 0
    for frame, (rate, snr) in enumerate(zip(rates, snr_db, strict=True)):
        model = get(names[int(again.integers(len(names)))])
        state = again.bit_generator.state
        whole = model.draw((TOKENS, HIGHEST), snr, again)
        after = again.bit_generator.state
        again.bit_generator.state = state
        one = model.draw((TOKENS, rate), snr, again)
        again.bit_generator.state = after
        if realisation.gain.shape[1:] == (1, 1) and realisation.phase_error is None:
            # Where nothing but the noise differs from symbol to symbol, it lies as it was drawn.
            one = type(one)(one.gain, whole.noise[:, :rate], one.noise_variance, clip=one.clip)
        there = receive(apply(x[frame, :, :rate].numpy(), one), one.gain, one.noise_variance)
        np.testing.assert_allclose(equalised[frame, :, :rate], there.symbols, rtol=2e-3, atol=2e-3)
        assert variance[frame].item() == pytest.approx(there.noise_variance, rel=2e-3)
        assert not equalised[frame, :, rate:].any() or realisation.gain.shape[1:] == (1, 1)
        compared += rate
    assert compared == sum(rates)


def test_gradients_pass_through_every_channel():
    rates = [1, 3, 8] * 10
    realisation = draw(MIX, rates, [-5.0] * 30)
    x, sent = symbols_of(rates)
    x.requires_grad_()
    equalised, variance = equalise(apply(x, realisation), realisation, sent)
    (equalised.abs().square().sum() + variance.sum()).backward()
    assert x.grad.isfinite().all()
    assert x.grad[sent].abs().sum() > 0
