"""Models are found by name, and a user can add one."""

import numpy as np
import pytest

from channel.models import registry
from channel.models.noise import complex_noise, noise_variance
from channel.realisation import Realisation, Symbols
from thinwire.errors import InvalidRequestError


class Erasing:
    """A model such as a user would write: every other frame is lost in noise."""

    def draw(self, shape: tuple[int, ...], snr_db: float, generator: np.random.Generator) -> Realisation[Symbols]:
        gain = complex(generator.integers(0, 2))
        variance = noise_variance(snr_db)
        return Realisation(gain, complex_noise(shape, variance, generator), variance)


@pytest.fixture
def _own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_MODELS", dict(registry._MODELS))


def test_known_models() -> None:
    assert registry.names() == ["awgn", "rayleigh"]


@pytest.mark.parametrize("name", ["none", "", "AWGN", "os:system", "x" * 10_000])
def test_an_unknown_name_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(InvalidRequestError, match="awgn, rayleigh") as caught:
        registry.get(name)
    assert len(str(caught.value)) < 200


@pytest.mark.usefixtures("_own_registry")
def test_a_registered_model_is_found() -> None:
    model = Erasing()
    registry.register("erasing", model)
    assert registry.get("erasing") is model
    assert registry.names() == ["awgn", "erasing", "rayleigh"]


@pytest.mark.usefixtures("_own_registry")
@pytest.mark.parametrize("name", ["", "awgn"])
def test_a_name_must_be_new(name: str) -> None:
    with pytest.raises(ValueError, match="name of its own"):
        registry.register(name, Erasing())
