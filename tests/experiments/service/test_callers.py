import numpy as np

from channel.profiles import Profile
from channel.transmission import transmit
from experiments.service import callers
from thinwire.frames import check_frame, check_power


def test_frames_are_sound_and_of_mixed_lengths(tiny_bundle):
    frames = callers.mixed_frames(tiny_bundle, 16, 0, received=True)
    counts = [frame.tokens for frame in frames]
    assert max(counts) == tiny_bundle.patches + tiny_bundle.prefix_tokens
    assert len(set(counts)) > 8
    for frame in frames:
        symbols = check_frame(frame)
        check_power(symbols)
        assert np.array_equal(callers.to_received(frame).symbols, symbols)
        assert transmit(frame, Profile()).frame.HasField("reception")
