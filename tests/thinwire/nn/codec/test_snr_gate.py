"""The gate's bounds and saturation, its formula in plain numbers, and the mask of a rate."""

import math

import pytest
import torch

from thinwire.nn.codec.snr_gate import SNR_LIMITS_DB, SnrGate, rate_mask

CHANNELS, TOKENS = 6, 5


@pytest.fixture(name="gate")
def gate_fixture():
    torch.manual_seed(0)
    gate = SnrGate(CHANNELS, 16, hidden=8).double()
    with torch.no_grad():
        for parameter in gate.parameters():
            parameter.mul_(3.0)
    return gate


def factors(gate, snr_db, rates):
    """What the gate multiplies with: a ``batch x CHANNELS`` tensor."""
    snr = torch.tensor(snr_db, dtype=torch.float64)
    x = torch.ones(len(snr_db), TOKENS, CHANNELS, dtype=torch.float64)
    with torch.inference_mode():
        result = gate(x, snr, torch.tensor(rates))
    assert result.shape == x.shape
    assert (result == result[:, :1]).all()
    return result[:, 0]


@pytest.mark.parametrize("rate", [1, 3, 16])
def test_factors_lie_between_zero_and_two(gate, rate):
    snr = torch.linspace(*SNR_LIMITS_DB, 51, dtype=torch.float64).tolist()
    result = factors(gate, snr, [rate] * len(snr))
    assert (result > 0).all()
    assert (result < 2).all()
    assert (result.max(dim=0).values - result.min(dim=0).values > 1e-3).all()


def test_the_factor_against_its_formula(gate):
    first, second = gate.layers[0], gate.layers[2]
    for snr_db, rate in [(10.0, 8), (-3.5, 1), (0.0, 16)]:
        given = [snr_db / 10, math.log2(rate) / math.sqrt(16)]
        hidden = [
            max(0.0, sum(weight * value for weight, value in zip(row, given, strict=True)) + bias)
            for row, bias in zip(first.weight.tolist(), first.bias.tolist(), strict=True)
        ]
        logits = [
            sum(weight * value for weight, value in zip(row, hidden, strict=True)) + bias
            for row, bias in zip(second.weight.tolist(), second.bias.tolist(), strict=True)
        ]
        expected = [2 / (1 + math.exp(-logit)) for logit in logits]
        assert factors(gate, [snr_db], [rate])[0].tolist() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("limit", "beyond"), [(30.0, [31.0, 60.0, math.inf]), (-20.0, [-21.0, -200.0, -math.inf])])
def test_it_saturates_beyond_the_limits(gate, limit, beyond):
    expected = factors(gate, [limit], [4])
    for snr_db in beyond:
        assert torch.equal(factors(gate, [snr_db], [4]), expected)
    assert not torch.equal(factors(gate, [limit * 0.9], [4]), expected)


def test_each_image_has_its_own_factor(gate):
    snr, rates = [-5.0, 3.0, 12.0, 3.0], [1, 16, 4, 2]
    together = factors(gate, snr, rates)
    for row, pair in enumerate(zip(snr, rates, strict=True)):
        torch.testing.assert_close(together[row], factors(gate, *([value] for value in pair))[0], rtol=1e-12, atol=0)
    assert len({tuple(row) for row in together.tolist()}) == 4


def test_it_scales_what_it_gets(gate):
    x = torch.randn(2, TOKENS, CHANNELS, dtype=torch.float64)
    snr, rates = torch.tensor([1.0, 9.0], dtype=torch.float64), torch.tensor([2, 8])
    expected = x * factors(gate, snr.tolist(), rates.tolist())[:, None]
    torch.testing.assert_close(gate(x, snr, rates), expected)


def test_without_an_opinion_it_changes_nothing():
    gate = SnrGate(CHANNELS, 16)
    torch.nn.init.zeros_(gate.layers[2].weight)
    torch.nn.init.zeros_(gate.layers[2].bias)
    x = torch.randn(2, TOKENS, CHANNELS)
    assert torch.equal(gate(x, torch.tensor([0.0, 20.0]), torch.tensor([1, 16])), x)


def test_one_symbol_is_a_rate_too():
    gate = SnrGate(CHANNELS, 1)
    assert gate(torch.ones(1, 1, CHANNELS), torch.tensor([10.0]), torch.tensor([1])).isfinite().all()


def test_a_rate_sends_the_first_symbols():
    rates, most = [1, 8, 3, 0], 8
    mask = rate_mask(torch.tensor(rates), most)
    assert mask.dtype == torch.bool
    assert mask.tolist() == [[[position < rate for position in range(most)]] for rate in rates]
