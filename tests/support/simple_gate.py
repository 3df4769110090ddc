"""The decisions of FairGate in the simplest form: each waiter compares itself with all others."""

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

POLL_SECONDS: Final = 0.25


@dataclass(eq=False)
class SimpleShare:
    """A requested or granted share."""

    owner: str
    amount: int


class SimpleLine:
    """The rule itself."""

    def __init__(self, capacity: int, *, reserved: int = 0) -> None:
        self.capacity = capacity
        self.reserved = reserved
        self.held: list[SimpleShare] = []
        self.waiting: list[SimpleShare] = []  # in order of arrival

    def next(self) -> SimpleShare | None:
        """The next share to grant."""
        by_owner: Counter[str] = Counter()
        for share in self.held:
            by_owner[share.owner] += share.amount
        used = by_owner.total()

        def may_have(share: SimpleShare) -> bool:
            room = self.capacity - self.reserved - used
            return share.amount <= room or not by_owner[share.owner]

        allowed = [share for share in self.waiting if may_have(share)]
        first = min(allowed, key=lambda share: by_owner[share.owner], default=None)
        return first if first and used + first.amount <= self.capacity else None

    def let_in(self) -> None:
        """Grant all shares that can be granted."""
        while (share := self.next()) is not None:
            self.waiting.remove(share)
            self.held.append(share)


class SimpleGate:
    """The rule for threads: a change wakes all waiters, and each checks whether it may go."""

    def __init__(self, capacity: int) -> None:
        self._line = SimpleLine(capacity)
        self._changed = threading.Condition()

    def acquire(self, owner: str, amount: int, check: Callable[[], None]) -> SimpleShare:
        """Wait for a share."""
        share = SimpleShare(owner, amount)
        with self._changed:
            self._line.waiting.append(share)
            while self._line.next() is not share:
                check()
                self._changed.wait(POLL_SECONDS)
            self._line.waiting.remove(share)
            self._line.held.append(share)
            self._changed.notify_all()
        return share

    def release(self, share: SimpleShare) -> None:
        """Give it back."""
        with self._changed:
            self._line.held.remove(share)
            self._changed.notify_all()
