"""The example of docs/own-channel.md is a model, and docs/channels.md names all of ours."""

import re
from pathlib import Path

import numpy as np
import pytest

from channel.models import registry
from channel.transmission import carry
from tests.channel.models.theory import qpsk
from thinwire.channels import Channel

DOCS = Path(__file__).parents[3] / "docs"


def test_the_example_of_the_guide_works(monkeypatch: pytest.MonkeyPatch) -> None:
    guide = (DOCS / "own-channel.md").read_text()
    found = re.search(r"^```python\n(.*?)^```$", guide, re.DOTALL | re.MULTILINE)
    assert found is not None
    names = {"__name__": "example"}
    exec(found[1], names)
    monkeypatch.setattr(registry, "_MODELS", dict(registry._MODELS))
    registry.register("nakagami", names["Nakagami"])  # type: ignore[arg-type]
    model = registry.get("nakagami:m=4")
    generator = np.random.default_rng(0)
    sent = qpsk((8, 8), generator)[1]
    arrival = carry(sent, Channel("nakagami:m=4", 60.0), generator)
    np.testing.assert_allclose(arrival.symbols / arrival.gain, sent, atol=0.1)
    # |h|^2 ~ Gamma(m, 1/m) has the mean 1 and the variance 1/m.
    power = np.array([abs(model.draw((1,), 10.0, generator).gain) ** 2 for _ in range(4000)])
    np.testing.assert_allclose([power.mean(), power.var()], [1, 1 / 4], atol=0.05)


def test_the_page_names_every_model_with_its_defaults() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", (DOCS / "channels.md").read_text(), re.MULTILINE))
    assert set(rows) == set(registry.names())
    for name, row in rows.items():
        given = ",".join(re.findall(r"`(\w+=[\d.]+)`", row))
        assert registry.canonical(f"{name}:{given}" if given else name) == name
