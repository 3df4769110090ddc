"""Who else may bring texts: what decides how long a text waits for a fuller request.

Company comes from two sides only. A run of this worker that still reads its document will submit;
one that waits for its vectors, or publishes, will not. And an owner who uploads the next document
while the last is not done is likely to go on, until a pause is longer than those between the
documents before. Jobs that other workers run bring nothing to this worker's requests.

A worker whose slots are taken has a backlog. When a document is found then depends on how fast the
backlog goes, not on how soon its own texts are asked for: they wait for a full request, as long as
others keep coming.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

#: How long a text waits at most for others to fill its request.
PATIENCE_SECONDS: Final = 5.0
#: The same while there is a backlog and others keep coming.
BACKLOG_PATIENCE_SECONDS: Final = 60.0
#: There is a backlog while this share of the slots is taken: some are between two jobs.
_TAKEN: Final = 0.75
#: A pause between two documents of an owner that is longer than this ends their series.
SERIES_GAP_SECONDS: Final = 1.0
#: Of so many pauses the longest counts: among 16 random ones it is about three times the mean.
_GAPS: Final = 16
#: A series goes on until a pause is this many times the longest one.
_LONGER: Final = 2.0


@dataclass
class _Owner:
    runs: int = 0
    reading: int = 0  #: runs that will submit texts
    joined_at: float = -math.inf
    brought_at: float = -math.inf  #: when texts came last
    gaps: deque[float] = field(default_factory=lambda: deque(maxlen=_GAPS))

    def note_joined(self, now: float) -> None:
        gap = now - self.joined_at
        if gap > SERIES_GAP_SECONDS:
            self.gaps.clear()
        else:
            self.gaps.append(gap)
        self.joined_at = now

    def series_ends_at(self) -> float:
        # Whose only document this is waits for nobody, however soon the next one may come.
        is_series = self.gaps and self.runs > 1
        return self.joined_at + _LONGER * max(self.gaps) if is_series else -math.inf


class Member:
    """A run, from its claim to its end. Made by `Company.join`."""

    def __init__(self, company: "Company", owner: _Owner) -> None:
        self._company = company
        self.owner = owner
        self.reads = True  #: it will submit texts
        self.waits = False  #: for what it has submitted

    def leave(self) -> None:
        """No more texts will come. Repeatable."""
        self._company.note(self, reads=False, waits=self.waits)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """While this is open it brings nothing: it waits for what it has submitted."""
        reads = self.reads
        self._company.note(self, reads=False, waits=True)
        try:
            yield
        finally:
            self._company.note(self, reads=reads, waits=False)


class Company:
    """The runs of this worker whose texts go into the same requests. Thread-safe."""

    def __init__(
        self,
        *,
        slots: int | None = None,
        together: bool = False,
        patience_seconds: float = PATIENCE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin with nobody. `slots`: how many runs the worker has at most; None: any number.

        `together`: it does not matter whose the documents are, as nobody waits for them.
        """
        self._slots = slots or math.inf
        self._together = together
        self._patience = patience_seconds
        self._clock = clock
        self._owners: dict[str, _Owner] = {}
        self._runs = 0
        self._waiting = 0
        self._reading = 0
        self._lock = threading.Lock()
        #: Called when somebody is expected no longer.
        self.on_left: Callable[[], None] = lambda: None

    @contextmanager
    def join(self, owner: str) -> Iterator[Member]:
        """A run while it lasts."""
        with self._lock:
            self._forget_old()
            joined = self._owners.setdefault("" if self._together else owner, _Owner())
            member = Member(self, joined)
            joined.runs += 1
            joined.reading += 1
            joined.note_joined(self._clock())
            self._reading += 1
            self._runs += 1
        try:
            yield member
        finally:
            self.note(member, reads=False, waits=False)
            with self._lock:
                self._runs -= 1
                joined.runs -= 1
            self.on_left()

    def note(self, member: Member, *, reads: bool, waits: bool) -> None:
        """What `Member` says of itself."""
        with self._lock:
            change = reads - member.reads
            member.owner.reading += change
            self._reading += change
            self._waiting += waits - member.waits
            member.reads, member.waits = reads, waits
        if change < 0:
            self.on_left()

    def brought(self, member: Member) -> None:
        """Texts of a run have come."""
        with self._lock:
            member.owner.brought_at = self._clock()

    def due_at(self, member: Member, submitted_at: float) -> float:
        """When texts that came at `submitted_at` are to be asked for, with others or without."""
        owner = member.owner
        with self._lock:
            others_read = owner.reading > member.reads
            expected = math.inf if others_read else owner.series_ends_at()
            latest = submitted_at + self._patience
            if self._runs >= _TAKEN * self._slots:
                if self._runs > self._reading + self._waiting:  # the next job gets its slot
                    expected = max(expected, owner.joined_at + self._patience)
                longest = submitted_at + BACKLOG_PATIENCE_SECONDS
                latest = max(latest, min(longest, owner.brought_at + self._patience))
            return min(expected, latest)

    def _forget_old(self) -> None:
        long_ago = self._clock() - SERIES_GAP_SECONDS
        gone = [
            name
            for name, owner in self._owners.items()
            if not owner.runs and owner.joined_at < long_ago
        ]
        for name in gone:
            del self._owners[name]
