"""A gate: owners share a limited capacity, such as memory for downloads or reading children."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from itertools import chain, islice
from typing import Final

from docmill.worker.ports import StopCheck

#: How often a waiting run checks whether it must stop.
_POLL_SECONDS: Final = 0.25
#: When the heap has this many more outdated entries than current ones, it is rebuilt.
_SPARE_ENTRIES: Final = 64


@dataclass(eq=False)
class Share:
    """A part of a gate's capacity: requested, then granted, until it is released."""

    gate: "FairGate"
    owner: str
    amount: int
    arrival: int  #: a number that grows with each request
    granted: threading.Event = field(default_factory=threading.Event)
    released: bool = False

    def release(self) -> None:
        """Give it back, or cancel the request. Repeatable."""
        self.gate.take_back(self)


class _Line:
    """The waiting requests, and whose turn it is. Not thread-safe.

    A heap sorts owners by the amount that they hold, then by their first request. An outdated entry
    stays in the heap until it reaches the top, so a change only adds one entry.
    """

    def __init__(self) -> None:
        #: For each waiting owner, the requests in order of arrival.
        self._queues: dict[str, OrderedDict[Share, None]] = {}
        self._held: dict[str, int] = {}
        self._heap: list[tuple[int, int, str]] = []

    def __len__(self) -> int:
        """How many owners wait."""
        return len(self._queues)

    def add(self, share: Share) -> None:
        """Add a request."""
        self._queues.setdefault(share.owner, OrderedDict())[share] = None
        self._note(share.owner)

    def remove(self, share: Share) -> None:
        """Remove a request, granted or not."""
        queue = self._queues[share.owner]
        del queue[share]
        if not queue:
            del self._queues[share.owner]
        self._note(share.owner)

    def hold(self, owner: str, amount: int) -> None:
        """Change the amount that an owner holds."""
        held = self._held.get(owner, 0) + amount
        if held:
            self._held[owner] = held
        else:
            self._held.pop(owner, None)
        self._note(owner)

    def has_others(self, owner: str) -> bool:
        """Whether another owner has something in hand, or waits."""
        first_two = chain(islice(self._held, 2), islice(self._queues, 2))
        return any(name != owner for name in first_two)

    def first(self, room: int) -> Share | None:
        """The next request: owners who hold nothing come first, others if there is room."""
        passed_over: list[tuple[int, int, str]] = []
        best: tuple[int, int, Share] | None = None
        for entry in self._in_order():
            held, arrival, owner = entry
            if best is not None and (held, arrival) > best[:2]:
                break
            if not held:
                return next(iter(self._queues[owner]))
            if room <= 0:
                break
            # This owner's first request may be too large. Then a smaller one of the owner counts by
            # its own arrival, and another owner may have come earlier.
            passed_over.append(heappop(self._heap))
            fitting = (share for share in self._queues[owner] if share.amount <= room)
            share = next(fitting, None)
            if share is not None and (best is None or (held, share.arrival) < best[:2]):
                best = (held, share.arrival, share)
        for entry in passed_over:
            heappush(self._heap, entry)
        return best[2] if best is not None else None

    def _in_order(self) -> Iterator[tuple[int, int, str]]:
        """The first current entry; and the next one, after the caller took it from the heap."""
        while self._heap:
            if self._heap[0] == self._entry(self._heap[0][2]):
                yield self._heap[0]
            else:
                heappop(self._heap)

    def _note(self, owner: str) -> None:
        entry = self._entry(owner)
        if entry is None:
            return
        if len(self._heap) > 2 * len(self._queues) + _SPARE_ENTRIES:
            self._heap = [made for each in self._queues if (made := self._entry(each))]
            heapify(self._heap)
        else:
            heappush(self._heap, entry)

    def _entry(self, owner: str) -> tuple[int, int, str] | None:
        queue = self._queues.get(owner)
        if not queue:
            return None
        return self._held.get(owner, 0), next(iter(queue)).arrival, owner


class FairGate:
    """Grants the owner who holds least first; among equals, the first to come. Thread-safe.

    Nobody overtakes the owner whose turn it is, so a large request is as sure as a small one. So a
    thousand documents of one owner delay another owner at most until the running ones end. A change
    wakes only the requests that it grants.
    """

    def __init__(
        self, capacity: int, *, reserved: int = 0, is_open: Callable[[int], bool] = lambda _: True
    ) -> None:
        """`reserved` is the part of the capacity for owners who hold nothing yet.

        `is_open` says whether a total amount may be in use now; it is called from time to time.
        """
        self._capacity = capacity
        self._reserved = reserved
        self._is_open = is_open
        self._used = 0
        self._arrivals = 0
        self._line = _Line()
        #: The request whose turn it is while the gate is not open for it: it asks again.
        self._shut_out: Share | None = None
        self._lock = threading.Lock()

    @property
    def used(self) -> int:
        """The amount in use."""
        return self._used

    @property
    def waits(self) -> bool:
        """Whether any request waits."""
        return bool(self._line)

    def has_others(self, owner: str) -> bool:
        """Whether an owner shares it with another now, who holds something or waits."""
        with self._lock:
            return self._line.has_others(owner)

    def acquire(self, owner: str, amount: int, check: StopCheck) -> Share:
        """Wait for a share, calling `check` now and then; an error of `check` ends the wait.

        A request above the capacity is granted the whole capacity, and a request for nothing gets
        1.
        """
        share = self.ask(owner, amount)
        try:
            while not share.granted.is_set():
                check()
                if not share.granted.wait(_POLL_SECONDS):
                    self._ask_again(share)
        except BaseException:
            share.release()
            raise
        return share

    def ask(self, owner: str, amount: int) -> Share:
        """Request a share without waiting: it is granted at once, later, or never if released."""
        with self._lock:
            self._arrivals += 1
            share = Share(self, owner, min(max(1, amount), self._capacity), self._arrivals)
            self._line.add(share)
            self._let_in()
        return share

    def take_back(self, share: Share) -> None:
        """Do the work of `Share.release`."""
        with self._lock:
            if share.released:
                return
            share.released = True
            if share.granted.is_set():
                self._hold(share, -share.amount)
            else:
                self._line.remove(share)
            self._let_in()

    def _ask_again(self, share: Share) -> None:
        with self._lock:
            if self._shut_out is share:
                self._let_in()

    def _let_in(self) -> None:
        """Grant all requests that can be granted, in the order of their turns."""
        self._shut_out = None
        while True:
            share = self._line.first(self._capacity - self._reserved - self._used)
            if share is None or self._used + share.amount > self._capacity:
                return
            if not self._is_open(self._used + share.amount):
                self._shut_out = share
                return
            self._line.remove(share)
            self._hold(share, share.amount)
            share.granted.set()

    def _hold(self, share: Share, amount: int) -> None:
        self._used += amount
        self._line.hold(share.owner, amount)
