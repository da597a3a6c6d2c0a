"""The memory of carried frames keeps what a retry needs, for as long as it may come, and no more."""

from channel.carried import CarriedFrames
from channel.profiles import Profile
from tests.channel.conftest import FakeClock

FIRST, SECOND = Profile(snr_db=1.0), Profile(snr_db=2.0)


def key(number: int) -> tuple[str, str, int]:
    return "camera-1", "0" * 32, number


def test_a_frame_is_known_by_its_whole_key() -> None:
    frames = CarriedFrames()
    frames.remember(("a", "b", 1), FIRST)
    assert frames.profile(("a", "b", 1)) is FIRST
    assert [frames.profile(other) for other in (("c", "b", 1), ("a", "c", 1), ("a", "b", 2))] == [None] * 3


def test_a_frame_is_forgotten_its_time_after_it_was_last_carried() -> None:
    clock = FakeClock()
    frames = CarriedFrames(clock=clock)
    frames.remember(key(1), FIRST)
    frames.remember(key(2), SECOND)
    clock.now += 599.9
    assert (frames.profile(key(1)), frames.profile(key(2))) == (FIRST, SECOND)
    frames.remember(key(1), FIRST)
    clock.now += 0.1
    assert (frames.profile(key(1)), frames.profile(key(2))) == (FIRST, None)
    frames.remember(key(3), SECOND)
    assert len(frames) == 2


def test_the_memory_is_bounded_and_drops_what_was_carried_longest_ago() -> None:
    frames = CarriedFrames(clock=FakeClock())
    for number in range(4096):
        frames.remember(key(number), FIRST)
    frames.remember(key(0), FIRST)
    frames.remember(key(4096), SECOND)
    assert len(frames) == 4096
    assert [frames.profile(key(number)) for number in (0, 1, 2, 4096)] == [FIRST, None, FIRST, SECOND]
