import numpy as np

from channel.profiles import Profile
from channel.transmission import transmit
from experiments.speed import load
from experiments.speed.answer import cheapest
from thinwire.frames import check_frame, check_power


def test_frames_are_sound_and_of_mixed_lengths(tiny_bundle):
    frames = load.mixed_frames(tiny_bundle, 16, 0, received=True)
    counts = [frame.tokens for frame in frames]
    assert max(counts) == tiny_bundle.patches + tiny_bundle.prefix_tokens
    assert len(set(counts)) > 8
    for frame in frames:
        symbols = check_frame(frame)
        check_power(symbols)
        assert np.array_equal(load.to_received(frame).symbols, symbols)
        assert transmit(frame, Profile()).frame.HasField("reception")


def test_the_cheapest_picture_that_is_as_accurate():
    ladder = [{"bytes": 10.0, "accuracy": 0.5}, {"bytes": 30.0, "accuracy": 0.8}, {"bytes": 20.0, "accuracy": 0.8}]
    assert cheapest(ladder, 0.6)["bytes"] == 20.0
    assert cheapest(ladder, 0.4)["bytes"] == 10.0
    assert cheapest(ladder, 0.504)["bytes"] == 10.0
    assert cheapest(ladder, 0.506)["bytes"] == 20.0
    assert cheapest(ladder, 0.9)["accuracy"] == 0.8
