"""Sets without padding get what each gets alone, by either kind of attention."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thinwire.nn.attention import run_block
from thinwire.nn.codec.decoder import JsccDecoder
from thinwire.nn.head import classify_packed, classify_tokens
from thinwire.nn.packed import Packing, run_packed

CPU = torch.device("cpu")
COUNTS = (3, 3, 1, 7, 7, 7, 2)


@pytest.fixture(name="padded", params=[False, True], ids=["set by set", "padded"])
def padded_fixture(request, monkeypatch):
    if request.param:
        monkeypatch.setattr(Packing, "_set_by_set", Packing._padded)


@pytest.mark.usefixtures("padded")
@pytest.mark.parametrize("sized", [False, True])
@pytest.mark.parametrize("options", [{}, {"qk_norm": True}, {"init_values": 0.3}], ids=str)
def test_a_block_gives_each_set_what_it_gets_alone(make_vit, options, sized):
    block = make_vit(**options).blocks[1]
    x = torch.randn(sum(COUNTS), 24, dtype=torch.float64)
    sizes = torch.randint(1, 9, (sum(COUNTS),)) if sized else None
    # A token that stands for k patches is attended to as k tokens are.
    repeats = torch.ones(len(x), dtype=torch.int64) if sizes is None else sizes
    with torch.no_grad():
        together = run_packed(block, x, Packing(COUNTS, CPU), sizes)
        for rows, times, found in zip(x.split(COUNTS), repeats.split(COUNTS), together.split(COUNTS), strict=True):
            alone = run_block(block, rows.repeat_interleave(times, 0)[None])[0]
            torch.testing.assert_close(found.repeat_interleave(times, 0), alone)


@settings(max_examples=30, deadline=None)
@given(counts=st.lists(st.integers(1, 9), min_size=1, max_size=8))
def test_sums_shares_and_places(counts):
    packing = Packing(tuple(counts), CPU)
    rows = torch.randn(sum(counts), 3, dtype=torch.float64)
    parts = rows.split(counts)
    torch.testing.assert_close(packing.per_set(rows), torch.stack([part.sum(0) for part in parts]))
    torch.testing.assert_close(packing.softmax(50 * rows[:, 0]), torch.cat([(50 * p[:, 0]).softmax(0) for p in parts]))
    assert torch.equal(packing.first(rows), torch.stack([part[0] for part in parts]))
    assert packing.owner.tolist() == [number for number, count in enumerate(counts) for _ in range(count)]
    assert packing.position.tolist() == [place for count in counts for place in range(count)]


@pytest.mark.usefixtures("padded")
@pytest.mark.parametrize("proportional", [False, True])
@pytest.mark.parametrize(
    "pool",
    [{}, {"global_pool": "avg", "class_token": False}, {"global_pool": "avg"}, {"global_pool": "token+avg"}],
    ids=str,
)
def test_decoder_and_head_agree_with_their_padded_forms(make_vit, pool, proportional):
    model = make_vit(**pool).float()
    torch.manual_seed(1)
    decoder = JsccDecoder(24, 32, 8).eval()
    # The first token of each may be a class token, so there are patches besides.
    counts = (4, 2, 9)
    rates = torch.tensor([8, 2, 5])
    noise = torch.tensor([0.0, 0.3, 50.0])
    symbols = torch.zeros(3, 9, 8, dtype=torch.complex64)
    valid = torch.arange(9) < torch.tensor(counts)[:, None]
    for frame, (count, rate) in enumerate(zip(counts, rates.tolist(), strict=True)):
        symbols[frame, :count, :rate] = torch.randn(count, rate, dtype=torch.complex64)
    packing = Packing(counts, CPU)
    with torch.no_grad():
        tokens, weights = decoder(symbols, noise, valid, rates)
        x, shares = decoder.forward_packed(symbols[valid], noise, packing, rates)
        expected = classify_tokens(model, 1, tokens, weights, valid, proportional)
        found = classify_packed(model, 1, x, shares, packing, proportional)
    torch.testing.assert_close(x, tokens[valid])
    torch.testing.assert_close(shares, weights[valid])
    torch.testing.assert_close(found, expected)


def test_another_way_of_pooling_is_refused(make_vit):
    model = make_vit(global_pool="").float()
    with pytest.raises(ValueError, match="got ''"):
        classify_packed(model, 3, torch.randn(4, 24), torch.ones(4), Packing((4,), CPU), False)
