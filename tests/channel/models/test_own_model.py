"""The example of docs/channels.md is a model."""

import re
from pathlib import Path

import numpy as np
import pytest

from channel.models import registry
from channel.passage import carry
from channel.realisation import clipped
from tests.channel.models.theory import qpsk
from thinwire.channels import Channel

GUIDE = Path(__file__).parents[3] / "docs" / "channels.md"


def test_the_example_of_the_guide_works(monkeypatch: pytest.MonkeyPatch) -> None:
    found = re.search(r"^```python\n(.*?)^```$", GUIDE.read_text(), re.DOTALL | re.MULTILINE)
    assert found is not None
    names = {"__name__": "example"}
    exec(found[1], names)
    monkeypatch.setattr(registry, "_MODELS", dict(registry._MODELS))
    registry.register("clipped_rayleigh", names["ClippedRayleigh"])  # type: ignore[arg-type]
    channel = Channel("clipped_rayleigh:level_db=-3,coherence=16", 60.0)
    sent = qpsk((8, 8), np.random.default_rng(0))[1]
    arrival = carry(sent, channel, np.random.default_rng(0))
    np.testing.assert_allclose(arrival.symbols / arrival.gain, clipped(sent, 10 ** (-3 / 20)), atol=0.1)


def test_the_guide_names_every_model_with_its_defaults() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", GUIDE.read_text(), re.MULTILINE))
    assert set(rows) == set(registry.names())
    for name, row in rows.items():
        given = ",".join(re.findall(r"`(\w+=[\d.]+)`", row))
        assert registry.canonical(f"{name}:{given}" if given else name) == name
