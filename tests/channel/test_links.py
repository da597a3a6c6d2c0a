"""The proxy keeps what is configured and what a retry needs, counts what is sent, and does not grow without bound."""

import pytest

from channel.links import CarriedFrames, Link, LinkTable
from channel.profiles import Profile
from tests.channel.conftest import FakeClock
from thinwire.errors import InvalidRequestError

DEFAULT, OWN = Profile(), Profile("rayleigh", 0.0)


def test_a_link_has_the_default_until_it_has_its_own() -> None:
    table = LinkTable(DEFAULT)
    assert table.profile("a") is DEFAULT
    table.set_profile("a", OWN)
    assert table.profile("a") is OWN
    assert table.profile("b") is DEFAULT


def test_a_new_default_holds_for_all_others() -> None:
    table = LinkTable(DEFAULT)
    table.set_profile("a", OWN)
    changed = Profile(snr_db=1.0)
    table.set_profile("", changed)
    assert (table.profile("a"), table.profile("b"), table.profile("")) == (OWN, changed, changed)


def test_frames_and_uses_are_counted_by_link() -> None:
    table = LinkTable(DEFAULT)
    for link_id, uses in (("a", 10), ("b", 7), ("a", 30), ("a", 20)):
        table.record(link_id, uses)
    assert table.links() == {"a": Link(None, 3, 60, 30), "b": Link(None, 1, 7, 7)}


def test_a_link_keeps_its_counts_when_it_gets_a_profile() -> None:
    table = LinkTable(DEFAULT)
    table.record("a", 10)
    table.set_profile("a", OWN)
    table.record("a", 5)
    assert table.links() == {"a": Link(OWN, 2, 15, 10)}


def test_the_longest_silent_link_is_forgotten_first() -> None:
    table = LinkTable(DEFAULT, max_links=3)
    for link_id in ("a", "b", "c", "a", "d"):
        table.record(link_id, 1)
    assert sorted(table.links()) == ["a", "c", "d"]


def test_links_with_profiles_are_never_forgotten_and_the_table_stays_small() -> None:
    table = LinkTable(DEFAULT, max_links=3)
    table.set_profile("a", OWN)
    table.record("a", 9)
    for number in range(1000):
        table.record(f"random-{number}", 1)
    assert sorted(table.links()) == ["a", "random-998", "random-999"]
    assert table.links()["a"] == Link(OWN, 1, 9, 9)


def test_looking_a_link_up_does_not_store_it() -> None:
    table = LinkTable(DEFAULT)
    table.profile("a")
    assert table.links() == {}


def test_profiles_are_bounded_too() -> None:
    table = LinkTable(DEFAULT, max_links=2)
    table.record("a", 1)
    table.set_profile("b", OWN)
    table.set_profile("c", OWN)
    with pytest.raises(InvalidRequestError, match="no more than 2"):
        table.set_profile("d", OWN)
    table.set_profile("c", DEFAULT)
    assert table.links() == {"b": Link(OWN), "c": Link(DEFAULT)}


def test_a_link_id_that_no_frame_can_have_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="64"):
        LinkTable(DEFAULT).set_profile("x" * 65, OWN)


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
