"""Under which channel a frame was carried and how often, so that it meets the same one when it is sent again."""

import time
from collections.abc import Callable
from typing import TypeAlias

from channel.profiles import Profile
from thinwire.memory import Memory

Key: TypeAlias = tuple[str, str, int]


class CarriedFrames:
    """Remembers the profile of a frame's link when the frame was first carried, by `thinwire.frames.frame_key`.

    A retry keeps its key and must meet the same noise, although the channel may have changed in between; otherwise the
    receiver gets other symbols under the same name, and refuses them. Whether it is lost is drawn anew each time, by
    the number of the transmission, which is counted here.

    Args:
        max_entries: most frames that are remembered; the one that was carried longest ago goes first.
        ttl_s: seconds for which a frame is remembered after it was last carried.
        clock: seconds from any origin.
    """

    def __init__(
        self, max_entries: int = 4096, ttl_s: float = 600.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._frames: Memory[Key, tuple[Profile, int]] = Memory(max_entries, max_age_s=ttl_s, clock=clock)

    def __len__(self) -> int:
        """How many frames are held, some of which may be past their time."""
        return len(self._frames)

    def profile(self, key: Key) -> Profile | None:
        """The profile under which a frame was carried, or None if it is not remembered."""
        known = self._frames.get(key)
        return known and known[0]

    def remember(self, key: Key, profile: Profile) -> int:
        """Note that a frame is carried now, and forget what is too old or too much.

        Returns:
            which transmission of the frame this is, from 1; a frame that was forgotten starts again.
        """
        known = self._frames.get(key)
        transmission = known[1] + 1 if known else 1
        self._frames.put(key, (profile, transmission))
        return transmission
