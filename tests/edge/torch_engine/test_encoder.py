"""The encoder: power per frame, rates, and independence of what else is in the batch."""

import pytest
import torch

from edge.torch_engine.encoder import JsccEncoder


@pytest.fixture(name="encoder")
def encoder_fixture():
    torch.manual_seed(0)
    return JsccEncoder(width=12, hidden=20, max_symbols_per_token=8).eval()


def inputs(batch=3, tokens=6):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(batch, tokens, 12, generator=generator)
    sizes = torch.randint(1, 9, (batch, tokens), generator=generator).float()
    counts = torch.tensor([6, 3, 1])[:batch]
    valid = torch.arange(tokens) < counts[:, None]
    return x, sizes, valid, torch.tensor([10.0, -5.0, 20.0])[:batch], torch.tensor([8, 3, 1])[:batch]


@torch.inference_mode()
def test_every_frame_has_unit_mean_power_over_what_it_sends(encoder):
    x, sizes, valid, snr, rate = inputs()
    symbols = encoder(x, sizes, valid, snr, rate)
    for index in range(3):
        count, symbols_per_token = int(valid[index].sum()), int(rate[index])
        sent = symbols[index, :count, :symbols_per_token]
        assert sent.abs().square().mean().item() == pytest.approx(1, abs=1e-5)
        rest = symbols[index].clone()
        rest[:count, :symbols_per_token] = 0
        assert rest.abs().max() == 0


@torch.inference_mode()
def test_a_frame_depends_on_nothing_else_in_its_batch(encoder):
    x, sizes, valid, snr, rate = inputs()
    together = encoder(x, sizes, valid, snr, rate)
    for index in range(3):
        count = int(valid[index].sum())
        one = slice(index, index + 1)
        alone = encoder(x[one, :count], sizes[one, :count], valid[one, :count], snr[one], rate[one])
        torch.testing.assert_close(together[index, :count], alone[0], rtol=0, atol=1e-6)


@torch.inference_mode()
def test_power_follows_size(encoder):
    x, _, valid, snr, rate = inputs(batch=1)
    x = x[:, :1].expand(-1, 2, -1)
    # The same token with the same features, but for the size in its amplitude: sizes 1 and 4.
    encoder.first.weight.data[:, -1] = 0
    symbols = encoder(x, torch.tensor([[1.0, 4.0]]), valid[:, :2], snr, rate)
    torch.testing.assert_close(symbols[0, 1], 2 * symbols[0, 0])


@torch.inference_mode()
def test_snr_changes_the_symbols(encoder):
    x, sizes, valid, snr, rate = inputs()
    assert not torch.allclose(encoder(x, sizes, valid, snr, rate), encoder(x, sizes, valid, snr - 3, rate))
