"""A capacity that several owners share: memory for downloads, children that read documents."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from docmill.worker.ports import StopCheck

#: A waiting run's own stop signs are looked at this often.
_POLL_SECONDS: Final = 0.25


@dataclass(eq=False)
class Share:
    """A part of a gate's capacity, until it is given back."""

    gate: "FairGate"
    owner: str
    amount: int
    released: bool = False

    def release(self) -> None:
        """Give it back. Repeatable."""
        self.gate.take_back(self)


@dataclass
class _Usage:
    used: int = 0
    by_owner: dict[str, int] = field(default_factory=dict)

    def add(self, owner: str, amount: int) -> None:
        self.used += amount
        self.by_owner[owner] = self.by_owner.get(owner, 0) + amount
        if not self.by_owner[owner]:
            del self.by_owner[owner]


class FairGate:
    """Whoever holds least goes first; among equals, whoever came first. Thread-safe.

    Nobody overtakes the one whose turn it is, so that much is got as surely as little. A thousand
    documents of one owner thus delay one of another by at most the time of those under way.
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
        self._usage = _Usage()
        self._waiting: list[Share] = []  # in order of arrival
        self._changed = threading.Condition()

    def acquire(self, owner: str, amount: int, check: StopCheck) -> Share:
        """Wait for a share, calling `check` now and then; what that raises ends the wait.

        More than the capacity is granted as the whole of it.
        """
        share = Share(self, owner, min(amount, self._capacity))
        with self._changed:
            self._waiting.append(share)
            try:
                while not self._is_granted(share):
                    check()
                    self._changed.wait(_POLL_SECONDS)
                self._usage.add(owner, share.amount)
            finally:
                self._waiting.remove(share)
                self._changed.notify_all()  # another one's turn, who may fit as well
        return share

    def take_back(self, share: Share) -> None:
        """What `Share.release` does."""
        with self._changed:
            if not share.released:
                share.released = True
                self._usage.add(share.owner, -share.amount)
                self._changed.notify_all()

    def _is_granted(self, share: Share) -> bool:
        allowed = [waiting for waiting in self._waiting if self._may_have(waiting)]
        first = min(allowed, key=lambda waiting: self._held(waiting.owner), default=None)
        used = self._usage.used + share.amount
        return first is share and used <= self._capacity and self._is_open(used)

    def _may_have(self, share: Share) -> bool:
        """Whether it takes nothing of what is reserved for others."""
        used = self._usage.used + share.amount
        return used <= self._capacity - self._reserved or not self._held(share.owner)

    def _held(self, owner: str) -> int:
        return self._usage.by_owner.get(owner, 0)
