"""What was sent under the ids that clients chose: a request that comes again sends the very frame that it sent before.

Made anew, it would be another frame as soon as the link's SNR, its pilots or the policies have changed, and the cloud
takes no two frames of one name.
"""

import asyncio
import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b

from edge.engine import Encoded
from policies.choice import Choice
from thinwire.access import caller
from thinwire.channels import Channel
from thinwire.errors import IdTakenError, InvalidRequestError, UnknownFrameError
from thinwire.images import Area
from thinwire.memory import Memory
from thinwire.rest.schemas import LinkParameters

# As the channel remembers frames; the cloud remembers none for longer, unless it is told to.
KEPT_S = 600.0
KEPT_FRAMES = 4096
KEPT_BYTES = 64 * 2**20
MAX_KEY = 255
# Parameters that the frame does not depend on: the bundle's digest stands for its name.
_BESIDE_THE_FRAME = {"timeout_ms", "explain", "model"}
_FRAME_ID = re.compile("[0-9a-fA-F]{32}")


@dataclass(frozen=True)
class Prepared:
    """An image or clip, ready to send, with all that its frame depends on.

    Attributes:
        encoded: what the engine made of it; its cost includes frames that the link found too dear.
        area: the part of the upright image that went into it; None of a clip.
        choice: the policy, and where it was taken from.
        channel: what the link was believed to be like.
        max_channel_uses: what the frame may cost; 0: any number.
    """

    encoded: Encoded
    area: Area | None
    choice: Choice
    channel: Channel
    max_channel_uses: int

    @property
    def nbytes(self) -> int:
        """Memory that its arrays take."""
        return self.encoded.symbols.nbytes + self.encoded.merge_map.nbytes + self.encoded.sizes.nbytes


@dataclass
class Known:
    """What is known of one request.

    Attributes:
        content: digest of what it asks for; see `content_of`.
        prepared: its frame, once there is one.
        lock: held while that is made, so that repeats that come meanwhile wait for it.
        edge_gmacs: what making it cost so far, in 10^9 multiply-accumulates.
        users: how many requests of this id are under way.
        owner: the name of whose request it is.
    """

    content: bytes = b""
    prepared: Prepared | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    edge_gmacs: float = 0.0
    users: int = 0
    owner: str = ""


def content_of(bundle: str, data: bytes, question: str, parameters: LinkParameters) -> bytes:
    """Digest of all that its frame depends on: a repeat may differ in ``timeout_ms`` and ``explain`` alone.

    Args:
        bundle: digest of the bundle that answers, whether the request names it or leaves it to us.
        data: the image or clip, as it came.
        question: about it; "" where the task has none.
        parameters: how to answer; what is left out counts as its default.
    """
    asked = json.dumps([bundle, question, parameters.model_dump(mode="json", exclude=_BESIDE_THE_FRAME)])
    return blake2b(asked.encode() + b"\0" + data, digest_size=16).digest()


def frame_id_of(key: str, link_id: str, caller: str = "") -> str:
    """The id of the frame that an idempotency key names, as 32 hexadecimal digits.

    So many digits are that id themselves. Any other key is hashed together with the link and the caller, so that two of
    them may have the same key and never meet.

    Args:
        key: any text of 1 to 255 characters.
        link_id: the link that the frame takes.
        caller: who asks; "" where nobody has a name.

    Raises:
        InvalidRequestError: the key is empty or too long.
    """
    if not 1 <= len(key) <= MAX_KEY:
        raise InvalidRequestError(f"idempotency-key: expected 1 to {MAX_KEY} characters, got {len(key)}")
    if _FRAME_ID.fullmatch(key):
        return key.lower()
    return blake2b(json.dumps([link_id, caller, key]).encode(), digest_size=16).hexdigest()


class Repeats:
    """Remembers requests by id; the one that was used longest ago gives way first. For one event loop.

    Args:
        max_frames: most frames that are kept.
        max_bytes: most memory of them all.
        ttl_s: seconds for which one is kept after it was last used.
        clock: seconds from any origin.
    """

    def __init__(
        self,
        max_frames: int = KEPT_FRAMES,
        max_bytes: int = KEPT_BYTES,
        ttl_s: float = KEPT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._running: dict[str, Known] = {}
        self._kept: Memory[str, Known] = Memory(
            max_frames, max_bytes, ttl_s, lambda known: known.prepared.nbytes if known.prepared else 0, clock
        )

    def __len__(self) -> int:
        """How many frames are kept of requests that are not under way."""
        return len(self._kept)

    @contextmanager
    def known(self, request_id: str, content: bytes) -> Iterator[Known]:
        """What is known of a request while it is under way; what it has prepared by then is kept.

        Raises:
            UnknownFrameError: the id is that of another caller's frame.
            IdTakenError: a request of another content is under way under this id, or its frame is kept.
        """
        known = self._running.get(request_id) or self._kept.get(request_id) or Known(content)
        if not known.users and known.prepared is None:
            known.owner = caller().name
        if known.owner != caller().name:
            raise UnknownFrameError(f"no frame {request_id} of yours; take another idempotency-key")
        if known.content != content:
            raise IdTakenError(
                f"another task, model, image, clip, question or parameter came under the id {request_id} before; take "
                "another idempotency-key"
            )
        self._kept.pop(request_id)
        self._running[request_id] = known
        known.users += 1
        try:
            yield known
        finally:
            known.users -= 1
            if not known.users:
                del self._running[request_id]
                # Without a frame nothing was sent, and the id is free.
                if known.prepared is not None:
                    self._kept.put(request_id, known)
