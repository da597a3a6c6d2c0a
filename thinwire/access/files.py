"""Files that are read again when they change, without a restart."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from thinwire.errors import InvalidRequestError

T = TypeVar("T")
log = logging.getLogger(__name__)
# How often files are looked at, at most; and how long one must have lain still: it may be being written.
LOOK_S = 0.1
SETTLED_S = 0.1
Signature = tuple[tuple[int, int, int], ...]


class Reloaded(Generic[T]):
    """What files say, read again when one of them has changed. Threads may share one.

    What cannot be read later on, half of a pair or an empty file, is reported once, and what was there goes on.

    Args:
        paths: of the files.
        load: reads them.
        what: what they are, for the log.

    Raises:
        InvalidRequestError: they cannot be read at the start.
    """

    def __init__(self, paths: Sequence[Path], load: Callable[[], T], what: str) -> None:
        self._paths, self._load, self._what = tuple(paths), load, what
        self._lock = threading.Lock()
        self._looked_s = time.monotonic()
        self._reported: Signature | None = None
        try:
            self._signature = self._sign()
            self._value = load()
        except OSError as error:
            raise InvalidRequestError(f"cannot read {what}: {error}") from None

    @property
    def current(self) -> T:
        """What they say now."""
        now_s = time.monotonic()
        if now_s - self._looked_s >= LOOK_S and self._lock.acquire(blocking=False):
            try:
                self._looked_s = now_s
                self._look()
            finally:
                self._lock.release()
        return self._value

    def _sign(self) -> Signature:
        found = [path.stat() for path in self._paths]
        return tuple((one.st_mtime_ns, one.st_size, one.st_ino) for one in found)

    def _look(self) -> None:
        signature: Signature = ()
        try:
            signature = self._sign()
            if signature == self._signature:
                return
            # A time to come is that of another clock.
            if any(0 <= time.time() - written / 1e9 < SETTLED_S for written, _, _ in signature):
                return
            self._value, self._signature = self._load(), signature
        except (OSError, InvalidRequestError) as error:
            if signature != self._reported:
                self._reported = signature
                log.error(f"{self._what}: what changed cannot be used; what was there stays", extra={"why": str(error)})
            return
        self._reported = None
        log.info(f"{self._what}: read again")
