"""A capacity that several owners share: memory for downloads, children that read documents."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from itertools import chain, islice
from typing import Final

from docmill.worker.ports import StopCheck

#: A waiting run's own stop signs are looked at this often.
_POLL_SECONDS: Final = 0.25
#: So many entries of a heap may be out of date beside the others, before they are thrown out.
_SPARE_ENTRIES: Final = 64


@dataclass(eq=False)
class Share:
    """A part of a gate's capacity: asked for, then granted, until it is given back."""

    gate: "FairGate"
    owner: str
    amount: int
    arrival: int  #: grows with each one that is asked for
    granted: threading.Event = field(default_factory=threading.Event)
    released: bool = False

    def release(self) -> None:
        """Give it back, or ask for it no more. Repeatable."""
        self.gate.take_back(self)


class _Line:
    """Those who wait, and whose turn it is. Not thread-safe.

    A heap has an owner under what they hold and when the first of theirs came. An entry that holds
    no longer stays in it until it comes up, so that a change costs one more entry.
    """

    def __init__(self) -> None:
        #: Of each owner who waits for something, what they wait for in order of arrival.
        self._queues: dict[str, OrderedDict[Share, None]] = {}
        self._held: dict[str, int] = {}
        self._heap: list[tuple[int, int, str]] = []

    def __len__(self) -> int:
        """How many owners wait."""
        return len(self._queues)

    def add(self, share: Share) -> None:
        """Somebody comes."""
        self._queues.setdefault(share.owner, OrderedDict())[share] = None
        self._note(share.owner)

    def remove(self, share: Share) -> None:
        """Somebody leaves, with what they wait for or without."""
        queue = self._queues[share.owner]
        del queue[share]
        if not queue:
            del self._queues[share.owner]
        self._note(share.owner)

    def hold(self, owner: str, amount: int) -> None:
        """An owner has so much more in hand, or less."""
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
        """Whose turn it is: those who hold nothing come first, others as far as there is room."""
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
            # Another owner may have come before the one of this owner's that there is room for.
            passed_over.append(heappop(self._heap))
            fitting = (share for share in self._queues[owner] if share.amount <= room)
            share = next(fitting, None)
            if share is not None and (best is None or (held, share.arrival) < best[:2]):
                best = (held, share.arrival, share)
        for entry in passed_over:
            heappush(self._heap, entry)
        return best[2] if best is not None else None

    def _in_order(self) -> Iterator[tuple[int, int, str]]:
        """The first entry that holds, and again when it was taken from the heap."""
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
    """Whoever holds least goes first; among equals, whoever came first. Thread-safe.

    Nobody overtakes the one whose turn it is, so that much is got as surely as little. A thousand
    documents of one owner thus delay one of another by at most the time of those under way. A
    change wakes those who may go and nobody else.
    """

    def __init__(
        self, capacity: int, *, reserved: int = 0, is_open: Callable[[int], bool] = lambda _: True
    ) -> None:
        """So much of the capacity is `reserved` for owners who hold nothing yet.

        `is_open` says whether so much may be in use now; it is asked now and then.
        """
        self._capacity = capacity
        self._reserved = reserved
        self._is_open = is_open
        self._used = 0
        self._arrivals = 0
        self._line = _Line()
        #: Whose turn it is while the gate is not open for them: they ask again.
        self._shut_out: Share | None = None
        self._lock = threading.Lock()

    @property
    def used(self) -> int:
        """How much is in use."""
        return self._used

    @property
    def waits(self) -> bool:
        """Whether somebody waits."""
        return bool(self._line)

    def has_others(self, owner: str) -> bool:
        """Whether an owner shares it with another now, who holds something or waits."""
        with self._lock:
            return self._line.has_others(owner)

    def acquire(self, owner: str, amount: int, check: StopCheck) -> Share:
        """Wait for a share, calling `check` now and then; what that raises ends the wait.

        More than the capacity is granted as the whole of it, and nothing as 1.
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
        """Ask for a share without waiting: it is granted at once, later, or never if released."""
        with self._lock:
            self._arrivals += 1
            share = Share(self, owner, min(max(1, amount), self._capacity), self._arrivals)
            self._line.add(share)
            self._let_in()
        return share

    def take_back(self, share: Share) -> None:
        """What `Share.release` does."""
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
        """Let in all who may go, in the order of their turns."""
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
