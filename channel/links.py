"""What a proxy remembers: the profile of each link, what it has sent, and under which profile a frame was carried."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from channel.profiles import Profile
from channel.trace import Trace
from thinwire.errors import InvalidRequestError
from thinwire.memory import Memory

# The longest link id that a frame may have.
MAX_LINK_ID_LENGTH = 64
Key: TypeAlias = tuple[str, str, int]


@dataclass
class Link:
    """One link.

    Attributes:
        profile: its own profile; None follows the default.
        frames: frames that entered the channel, retries included.
        channel_uses: what they cost together.
        channel_uses_max: what the dearest cost.
    """

    profile: Profile | None = None
    frames: int = 0
    channel_uses: int = 0
    channel_uses_max: int = 0


class LinkTable:
    """Profiles and statistics by link id.

    Link ids come from senders, so the table is bounded: beyond ``max_links`` it forgets the links that have been silent
    longest, but never one with a profile of its own.

    Args:
        default: the profile of all links without one of their own.
        max_links: how many links the table holds at most.
        trace: what the default profile's SNR and symbol rate follow from now on, whatever default is set later.
        clock: seconds from any origin.
    """

    def __init__(
        self,
        default: Profile,
        max_links: int = 1024,
        trace: Trace | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._default = default
        self._max_links = max_links
        self._trace = trace
        self._clock = clock
        self._start = clock()
        self._with_profile: dict[str, Link] = {}
        self._others: Memory[str, Link] = Memory(max_links)

    def profile(self, link_id: str) -> Profile:
        """The profile in effect on a link now, or the default for an empty id."""
        link = self._with_profile.get(link_id)
        if link and link.profile:
            return link.profile
        return self._trace.over(self._default, self._clock() - self._start) if self._trace else self._default

    def set_profile(self, link_id: str, profile: Profile) -> None:
        """Give a link a profile of its own, or replace the default for an empty id, from the next frame on.

        Raises:
            InvalidRequestError: the id is too long, or the table is full of links with profiles of their own.
        """
        if not link_id:
            self._default = profile
            return
        if len(link_id) > MAX_LINK_ID_LENGTH:
            raise InvalidRequestError(f"link_id must have at most {MAX_LINK_ID_LENGTH} characters, got {len(link_id)}")
        if link_id not in self._with_profile:
            if len(self._with_profile) >= self._max_links:
                raise InvalidRequestError(f"no more than {self._max_links} links can have profiles of their own")
            self._with_profile[link_id] = self._others.pop(link_id) or Link()
        self._with_profile[link_id].profile = profile
        self._others.trim(self._max_links - len(self._with_profile))

    def record(self, link_id: str, channel_uses: int) -> None:
        """Count a frame that enters the channel."""
        link = self._with_profile.get(link_id) or self._others.get(link_id)
        if link is None:
            link = Link()
            self._others.put(link_id, link)
            self._others.trim(self._max_links - len(self._with_profile))
        link.frames += 1
        link.channel_uses += channel_uses
        link.channel_uses_max = max(link.channel_uses_max, channel_uses)

    def links(self) -> dict[str, Link]:
        """All links that the table holds, by id: first those with profiles of their own."""
        return self._with_profile | self._others.values()


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
