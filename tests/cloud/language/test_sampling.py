import numpy as np
import pytest
import torch
from transformers import TopPLogitsWarper

from cloud.language.sampling import draw

LOGITS = torch.randn(40, generator=torch.Generator().manual_seed(0)) * 2


def drawn(temperature, top_p, count=4000, logits=LOGITS):
    return [draw(logits, temperature, top_p, (index + 0.5) / count) for index in range(count)]


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.0])
def test_over_all_numbers_the_draws_are_the_softmax(temperature):
    shares = np.bincount(drawn(temperature, 1.0), minlength=40) / 4000
    np.testing.assert_allclose(shares, (LOGITS.double() / temperature).softmax(-1).numpy(), atol=1 / 4000)


@pytest.mark.parametrize("top_p", [0.05, 0.5, 0.9, 0.999])
def test_the_kept_tokens_are_those_of_transformers(top_p):
    kept = TopPLogitsWarper(top_p)(None, LOGITS[None])[0].isfinite().nonzero()[:, 0].tolist()
    assert sorted(set(drawn(1.0, top_p, 6_000))) == kept
    inside = LOGITS[kept].double().softmax(-1).numpy()
    shares = np.bincount(drawn(1.0, top_p), minlength=40)[kept] / 4000
    np.testing.assert_allclose(shares, inside, atol=1 / 4000)


@pytest.mark.parametrize("temperature", [1e-3, 1e-300, 5e-324])
def test_a_tiny_temperature_takes_the_likeliest(temperature):
    assert set(drawn(temperature, 1.0, 10)) == {int(LOGITS.argmax())}


@pytest.mark.parametrize("uniform", [0.0, np.nextafter(1.0, 0.0)])
@pytest.mark.parametrize("top_p", [1e-12, 0.3, 1.0])
def test_the_ends_of_the_interval_draw_a_kept_token(uniform, top_p):
    logits = torch.tensor([0.0, 1.0, -torch.inf, 2.0])
    assert draw(logits, 1.0, top_p, uniform) in {0, 1, 3}


def test_one_token_takes_all():
    assert draw(torch.tensor([-torch.inf, 3.0]), 1.0, 1.0, 0.999) == 1
