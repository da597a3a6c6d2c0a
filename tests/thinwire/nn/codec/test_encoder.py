"""The encoders: power per frame, rates, and independence of what else is in the batch."""

import pytest
import torch

from thinwire.bundle import Codec
from thinwire.nn.codec.encoders import OWN, LevelEncoder, build_encoder


def make_encoder(name):
    torch.manual_seed(0)
    return build_encoder(Codec(20, 8, (1, 8), (-5.0, 20.0), name), width=12).eval()


@pytest.fixture(name="encoder", params=OWN)
def encoder_fixture(request):
    encoder = make_encoder(request.param)
    for name, parameter in encoder.named_parameters():
        if name.endswith("gamma"):
            # As drawn, a block would add a tenth of itself.
            parameter.data.fill_(1)
    return encoder


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
    # But of the encoder that gives all tokens the same.
    times = 1 if isinstance(encoder, LevelEncoder) else 2
    torch.testing.assert_close(symbols[0, 1], times * symbols[0, 0])


@torch.inference_mode()
def test_snr_changes_the_symbols(encoder):
    x, sizes, valid, snr, rate = inputs()
    assert not torch.allclose(encoder(x, sizes, valid, snr, rate), encoder(x, sizes, valid, snr - 3, rate))


@torch.inference_mode()
def test_attention_sees_the_other_tokens_of_the_frame_and_the_first_encoder_does_not():
    x, sizes, valid, snr, rate = inputs(batch=1)
    changed = x.clone()
    changed[0, 5] += 1
    for name, sees in (("mlp", False), ("attention", True)):
        encoder = make_encoder(name)
        before, after = (encoder.symbols(tokens, sizes, valid, snr, rate)[0, :5] for tokens in (x, changed))
        assert torch.equal(before, after) != sees


@torch.inference_mode()
def test_attention_is_the_layers_written_out_one_token_at_a_time():
    encoder = make_encoder("attention").double()
    x, sizes, valid, snr, rate = (value[:1].double() for value in inputs())
    given = encoder.symbols(x, sizes, valid.bool(), snr, rate)[0]
    features = torch.cat((encoder.norm(x[0]), sizes[0].log2()[:, None]), dim=1)
    rows = torch.nn.functional.gelu(encoder.first(features) * encoder.first_gate.factors(snr, rate))
    # timm's own block, whose attention is its own.
    rows = encoder.block(rows[None])[0]
    expected = [
        encoder.second.weight @ (encoder.block_norm(row) * encoder.block_gate.factors(snr, rate)[0])
        + encoder.second.bias
        for row in rows
    ]
    torch.testing.assert_close(given, torch.stack(expected))
