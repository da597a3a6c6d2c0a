"""Models are found by name, take parameters, and a user can add one."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from channel.models import registry
from channel.models.gilbert_elliott import GilbertElliott
from channel.models.rayleigh import Rayleigh
from channel.models.rician import Rician
from channel.realisation import Realisation, Symbols, complex_noise, noise_variance
from thinwire.errors import InvalidRequestError

OWN = [
    "awgn",
    "clipping",
    "erasure",
    "gilbert_elliott",
    "jakes",
    "ofdm",
    "phase_noise",
    "rayleigh",
    "rician",
]


@dataclass(frozen=True)
class Fading:
    """A model such as a user would write: every frame is as strong as its parameter says, or lost in noise."""

    strength: float = 1.0

    def draw(self, shape: tuple[int, ...], snr_db: float, generator: np.random.Generator) -> Realisation[Symbols]:
        gain = self.strength * complex(generator.integers(0, 2))
        variance = noise_variance(snr_db)
        return Realisation(gain, complex_noise(shape, variance, generator), variance)


@pytest.fixture
def _own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_MODELS", dict(registry._MODELS))


def test_known_models() -> None:
    assert registry.names() == OWN


@pytest.mark.parametrize("name", ["none", "", "AWGN", "os:system", "x" * 100, ":", "awgn "])
def test_an_unknown_name_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(InvalidRequestError, match=r"awgn, clipping|must be like name:key=value"):
        registry.get(name)


@pytest.mark.parametrize(
    ("text", "model", "canonical"),
    [
        ("rician", Rician(), "rician"),
        ("rician:k_db=6,coherence=0", Rician(), "rician"),
        ("rician:coherence=16,k_db=3.50", Rician(3.5, 16), "rician:k_db=3.5,coherence=16"),
        ("rayleigh:coherence=1", Rayleigh(1), "rayleigh:coherence=1"),
        ("gilbert_elliott:share=1e-3", GilbertElliott(0.001), "gilbert_elliott:share=0.001"),
    ],
)
def test_a_text_is_a_model_and_has_one_spelling(text: str, model: object, canonical: str) -> None:
    assert registry.get(text) == model
    assert registry.canonical(text) == canonical
    assert registry.get(canonical) == model


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("awgn:k_db=3", "takes no parameters, got 'k_db'"),
        ("rician:k=3", "the parameters k_db, coherence, got 'k'"),
        ("rician:k_db", "must be like name:key=value"),
        ("rician:", "must be like name:key=value"),
        ("rician:k_db=3,", "must be like name:key=value"),
        ("rician:k_db=3,k_db=4", "must be like name:key=value"),
        ("rician:k_db=three", "k_db must be a number, got 'three'"),
        ("rician:coherence=1.5", "coherence must be a whole number, got '1.5'"),
        ("rician:k_db=nan", "k_db must be from -40 to 60, got nan"),
        ("rician:k_db=inf", "k_db must be from -40 to 60, got inf"),
        ("rayleigh:coherence=-1", "coherence must be from 0"),
        ("rayleigh:coherence=99999999999999999999", "coherence must be from 0"),
        ("jakes:doppler=0.51", "doppler must be from 0 to 0.5"),
        ("erasure:share=1.01", "share must be from 0 to 1"),
        ("gilbert_elliott:share=1", "share must be from 0 to 0.999"),
        ("gilbert_elliott:length=0.9", "length must be from 1"),
        ("gilbert_elliott:share=0.5,length=1.5", "length must be at least 1 / \\(1 - share\\) = 2, got 1.5"),
        ("gilbert_elliott:drop_db=-1", "drop_db must be from 0"),
        ("ofdm:taps=0", "taps must be from 1"),
        ("ofdm:taps=65", "65 taps are more than the 64 subcarriers"),
        ("ofdm:subcarriers=4097", "subcarriers must be from 1 to 4096"),
        ("phase_noise:rms_deg=-1", "rms_deg must be from 0 to 180"),
        ("clipping:level_db=41", "level_db must be from -20 to 40"),
        ("rician:" + "k" * 200, "at most 128 characters"),
    ],
)
def test_what_no_model_can_be_is_refused(text: str, says: str) -> None:
    with pytest.raises(InvalidRequestError, match=says) as caught:
        registry.get(text)
    assert len(str(caught.value)) < 300


# Of a parameter's own kind or not, near its limits or far.
values = st.one_of(st.integers(-5, 5000), st.floats(), st.floats(0, 1), st.text(max_size=5)).map(str)
keys = st.sampled_from(["coherence", "k_db", "doppler", "share", "length", "drop_db", "taps", "rms_deg", "x", ""])


@given(st.sampled_from(OWN), st.dictionaries(keys, values, max_size=3))
def test_any_text_is_refused_or_is_a_model_that_draws(name: str, given_: dict[str, str]) -> None:
    text = f"{name}:{','.join(f'{key}={value}' for key, value in given_.items())}" if given_ else name
    try:
        model = registry.get(text)
    except InvalidRequestError:
        return
    canonical = registry.canonical(text)
    assert registry.get(canonical) == model or name == "awgn"
    assert registry.canonical(canonical) == canonical
    drawn = model.draw((3, 4), 10.0, np.random.default_rng(0))
    assert drawn.noise.shape == (3, 4)
    assert drawn.noise.dtype == np.complex64
    for values_ in (drawn.gain, drawn.noise, drawn.noise_variance):
        assert np.isfinite(values_).all()
        assert np.shape(values_) in ((), (3, 4))
    assert not math.isnan(drawn.clip)


@pytest.mark.usefixtures("_own_registry")
def test_a_registered_model_is_found() -> None:
    registry.register("fading", Fading)
    assert registry.get("fading:strength=0.5") == Fading(0.5)
    assert registry.names() == sorted([*OWN, "fading"])


@pytest.mark.usefixtures("_own_registry")
@pytest.mark.parametrize("name", ["", "awgn", "my:model"])
def test_a_name_must_be_new_and_without_a_colon(name: str) -> None:
    with pytest.raises(ValueError, match="name of its own"):
        registry.register(name, Fading)


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Puts a package that brings channel models on the path of this process."""

    def install(*lines: str) -> None:
        info = tmp_path / "theirs-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("\n".join(["[thinwire.channels]", *lines, ""]))
        monkeypatch.syspath_prepend(str(tmp_path))
        registry._installed.cache_clear()

    yield install
    monkeypatch.undo()
    registry._installed.cache_clear()


def test_an_installed_package_brings_a_model(install) -> None:
    install(f"theirs = {__name__}:Fading", "awgn = os:getcwd")
    assert registry.get("theirs:strength=2") == Fading(2.0)
    assert registry.names() == sorted([*OWN, "theirs"])
    # The name of one of ours cannot be taken.
    assert isinstance(registry.get("awgn"), registry.Awgn)


def test_one_that_cannot_be_imported_is_named(install) -> None:
    install("theirs = no_such_module:Model")
    with pytest.raises(InvalidRequestError, match="'theirs' \\(no_such_module:Model\\) cannot be imported"):
        registry.get("theirs")
