"""What a request with `explain` learns through three processes, against the channel's own noise, and its picture."""

import io

import numpy as np
import pytest
from PIL import Image

from channel.realisation import keyed_generator
from channel.transmission import carry
from deploy.cli.main import main
from deploy.demo import photographs
from thinwire.channels import Channel
from thinwire.client import Client
from thinwire.errors import InvalidRequestError

ID, SEED = "5e" * 16, 7


@pytest.fixture(name="cat", scope="module")
def cat_fixture():
    return next(photographs(None))[1]


@pytest.mark.parametrize("model", ["awgn", "rayleigh"])
def test_what_arrived_is_what_was_sent_through_the_keyed_channel(testbed, cat, shipped, model):
    asked = {"model": model, "snr_db": 6.0, "seed": SEED}
    with Client(testbed.edge_url) as client:
        answer = client.classify(cat, budget=38, channel=asked, explain=True, id=f"{ID[:-8]}{len(model):08x}")
    told = answer.explain
    assert told.snr_db == answer.link.snr_db == 6.0
    assert len(set(told.groups)) == answer.link.tokens - shipped.prefix_tokens
    sent, received = (np.array(pairs) @ (1, 1j) for pairs in (told.sent, told.received))
    assert len(sent) == answer.link.payload_uses
    assert np.mean(np.abs(sent) ** 2) == pytest.approx(1, abs=1e-4)
    generator = keyed_generator(SEED, "edge", answer.id, 0)
    symbols = sent.astype(np.complex64).reshape(answer.link.tokens, -1)
    arrival = carry(symbols, Channel(model, 6.0), generator)
    assert received == pytest.approx(arrival.symbols.ravel(), abs=1e-4)


def test_the_cloud_has_nothing_to_explain(testbed, cat):
    with (
        Client(testbed.cloud_url) as client,
        pytest.raises(InvalidRequestError, match="explain: the cloud has no link"),
    ):
        client.classify(cat, explain=True)


def test_the_command_draws_the_tokens(testbed, cat, shipped, tmp_path, capsys):
    photograph, drawn = tmp_path / "cat.png", tmp_path / "drawn.png"
    photograph.write_bytes(cat)
    asked = ["classify", str(photograph), "--url", testbed.edge_url, "--budget-channel-uses", "38"]
    assert main([*asked, "--draw", str(drawn)]) == 0
    tokens = int(capsys.readouterr().out.partition("(")[2].partition(" tokens")[0])
    colours = {tuple(colour) for colour in np.asarray(Image.open(drawn)).reshape(-1, 3).tolist()}
    # One of each group, and the border.
    assert len(colours) == tokens - shipped.prefix_tokens + 1
    # What cannot be written costs nobody the answer.
    assert main([*asked, "--draw", str(tmp_path / "none" / "drawn.png")]) == 1
    printed = capsys.readouterr()
    assert "tokens" in printed.out
    assert printed.err.startswith("thinwire: invalid_request: cannot write ")
    assert len(printed.err.splitlines()) == 1
    assert main(["classify", str(photograph), *asked[1:], "--draw", str(drawn)]) == 1
    assert "--draw draws one image, got 2" in capsys.readouterr().err


def test_a_photograph_that_is_carried_is_one_that_the_demo_can_read():
    for name, image in photographs(None):
        assert min(Image.open(io.BytesIO(image)).size) >= 224, name
