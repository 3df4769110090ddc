"""Who else may bring texts: what decides whether a text waits for a fuller request.

Company comes from two sides only. A run of this worker that still reads its document will submit;
one that waits for its vectors, or publishes, will not. And an owner who uploads one document after
another is likely to go on, until a pause is longer than those between the documents before. Jobs
that other workers run, or that nobody runs yet, bring nothing to this worker's requests.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

#: A pause between two documents of an owner that is longer than this ends their series.
SERIES_GAP_SECONDS: Final = 1.0
#: Of so many pauses the longest counts: among 16 random ones it is about three times the mean.
_GAPS: Final = 16
#: A series goes on until a pause is this many times the longest one.
_LONGER: Final = 2.0


@dataclass
class _Owner:
    reading: int = 0  #: runs that will submit texts
    joined_at: float = -math.inf
    gaps: deque[float] = field(default_factory=lambda: deque(maxlen=_GAPS))

    def note_joined(self, now: float) -> None:
        gap = now - self.joined_at
        if gap > SERIES_GAP_SECONDS:
            self.gaps.clear()
        else:
            self.gaps.append(gap)
        self.joined_at = now

    def series_ends_at(self) -> float:
        return self.joined_at + _LONGER * max(self.gaps) if self.gaps else -math.inf


class Member:
    """A run, from its claim until it has submitted all its texts. Made by `Company.join`."""

    def __init__(self, company: "Company", owner: str) -> None:
        self._company = company
        self.owner = owner
        self.reads = True  #: it will submit texts

    def leave(self) -> None:
        """No more texts will come. Repeatable."""
        self._company.note(self, reads=False)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """While this is open it brings nothing: it waits for what it has submitted."""
        reads = self.reads
        self._company.note(self, reads=False)
        try:
            yield
        finally:
            self._company.note(self, reads=reads)


class Company:
    """The runs of this worker whose texts go into the same requests. Thread-safe."""

    def __init__(self, *, together: bool = False, clock: Callable[[], float] = time.monotonic):
        """`together`: it does not matter whose the documents are, as nobody waits for them."""
        self._together = together
        self._clock = clock
        self._owners: dict[str, _Owner] = {}
        self._lock = threading.Lock()
        #: Called when somebody has stopped to be expected.
        self.on_left: Callable[[], None] = lambda: None

    @contextmanager
    def join(self, owner: str) -> Iterator[Member]:
        """A run that will submit texts, until it leaves or this ends."""
        member = Member(self, "" if self._together else owner)
        with self._lock:
            self._forget_old()
            joined = self._owners.setdefault(member.owner, _Owner())
            joined.reading += 1
            joined.note_joined(self._clock())
        try:
            yield member
        finally:
            member.leave()

    def note(self, member: Member, *, reads: bool) -> None:
        """What `Member` says of itself."""
        with self._lock:
            if member.reads == reads:
                return
            member.reads = reads
            owner = self._owners.setdefault(member.owner, _Owner())
            owner.reading += 1 if reads else -1
        if not reads:
            self.on_left()

    def expected_until(self, member: Member | None) -> float:
        """Until when company may come for a text of this run; in the past if none is expected."""
        if member is None:
            return -math.inf
        with self._lock:
            owner = self._owners.get(member.owner)
            if owner is None:
                return -math.inf
            return math.inf if owner.reading > member.reads else owner.series_ends_at()

    def _forget_old(self) -> None:
        now = self._clock()
        gone = [
            name
            for name, owner in self._owners.items()
            if not owner.reading and now - owner.joined_at > SERIES_GAP_SECONDS
        ]
        for name in gone:
            del self._owners[name]
