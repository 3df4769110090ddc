"""Discrete events: a clock, and the things that a job can wait for. No I/O, no chance.

A job is a generator. It yields what it waits for, and goes on when that has come.
"""

import heapq
import math
from collections import OrderedDict, deque
from collections.abc import Callable, Generator
from typing import Any, Protocol

Resume = Callable[[], None]
#: What a job yields: called with what is to be called once the wait is over.
Wait = Callable[[Resume], None]
Job = Generator[Wait, None, Any]

#: Seconds that may be lost in sums of many small times.
_ROUNDING = 1e-9


class Engine:
    """The clock, and what happens next."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Resume]] = []
        self._count = 0

    def at(self, time: float, event: Resume) -> None:
        """Call `event` at a time; events of the same time come in the order of these calls."""
        self._count += 1
        heapq.heappush(self._events, (max(time, self.now), self._count, event))

    def start(self, job: Job) -> None:
        """Let a job go until it waits for the first time."""
        wait = next(job, None)
        if wait is not None:
            wait(lambda: self.start(job))

    def run(self, until: float = math.inf) -> None:
        """Go on until nothing is left to happen, or until a time."""
        while self._events and self._events[0][0] <= until:
            self.now, _, event = heapq.heappop(self._events)
            event()

    def sleep(self, seconds: float) -> Wait:
        """Wait for a time."""
        return lambda resume: self.at(self.now + seconds, resume)


class Level:
    """A number that changes: its integral over time, and its peak."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._since = engine.now
        self._area = 0.0
        self.value = 0
        self.peak = 0

    def add(self, change: int) -> None:
        """Change it now."""
        self._area = self.area()
        self._since = self._engine.now
        self.value += change
        self.peak = max(self.peak, self.value)

    def area(self) -> float:
        """The integral until now."""
        return self._area + self.value * (self._engine.now - self._since)


class Line(Protocol):
    """Those who wait for a pool, in some order."""

    def push(self, owner: str, resume: Resume) -> None: ...

    def pop(self) -> Resume | None: ...


class Fifo:
    """Who came first goes first."""

    def __init__(self) -> None:
        self._waiting: deque[Resume] = deque()

    def push(self, owner: str, resume: Resume) -> None:
        """Come last."""
        self._waiting.append(resume)

    def pop(self) -> Resume | None:
        """The next; None: nobody waits."""
        return self._waiting.popleft() if self._waiting else None


class OwnersInTurn:
    """Each owner's first, then each owner's second, as the queue of jobs does."""

    def __init__(self) -> None:
        self._owners: OrderedDict[str, deque[Resume]] = OrderedDict()

    def push(self, owner: str, resume: Resume) -> None:
        """Come last among the owner's own."""
        self._owners.setdefault(owner, deque()).append(resume)

    def pop(self) -> Resume | None:
        """The next; None: nobody waits."""
        if not self._owners:
            return None
        owner, waiting = self._owners.popitem(last=False)
        resume = waiting.popleft()
        if waiting:
            self._owners[owner] = waiting
        return resume


class Pool:
    """So many places: slots, children, connections. `busy` and `queue` say how full it was."""

    def __init__(self, engine: Engine, places: int, line: Line | None = None) -> None:
        self._engine = engine
        self._line = line or Fifo()
        self.places = places
        self.busy = Level(engine)
        self.queue = Level(engine)

    def acquire(self, owner: str = "") -> Wait:
        """Wait for a place."""

        def wait(resume: Resume) -> None:
            if self.busy.value < self.places:
                self.busy.add(1)
                resume()
            else:
                self.queue.add(1)
                self._line.push(owner, resume)

        return wait

    def release(self) -> None:
        """Give a place back: to the next who waits, if there is one."""
        resume = self._line.pop()
        if resume is None:
            self.busy.add(-1)
        else:
            self.queue.add(-1)
            self._engine.at(self._engine.now, resume)


class _Class:
    """Users of the same weight: those who end first come first."""

    def __init__(self) -> None:
        self.users: list[tuple[float, int, Resume]] = []
        self.had = 0.0  #: seconds that each user had since the beginning
        self.speed = 0.0  #: of each user

    def ends_in(self) -> float:
        """Seconds until the next one ends."""
        return max(0.0, self.users[0][0] - self.had) / self.speed


class Processor:
    """Cores that those who use them share by their weight; nobody uses more than one at a time."""

    def __init__(self, engine: Engine, cores: float) -> None:
        self._engine = engine
        self.cores = cores
        self._classes: dict[float, _Class] = {}
        self._count = 0
        self._plan_number = 0
        self._since = engine.now
        self._used = 0.0

    def use(self, seconds: float, weight: float = 1.0) -> Wait:
        """Wait until so much time of a core was had."""

        def wait(resume: Resume) -> None:
            self._advance()
            self._count += 1
            mine = self._classes.setdefault(weight, _Class())
            heapq.heappush(mine.users, (mine.had + seconds, self._count, resume))
            self._plan()

        return wait

    def used(self) -> float:
        """Seconds of cores that were used until now."""
        self._advance()
        return self._used

    def _share_out(self) -> None:
        """Give everybody their share, the heaviest first: what they cannot use goes to the rest."""
        left, weights = self.cores, sum(w * len(c.users) for w, c in self._classes.items())
        for weight in sorted(self._classes, reverse=True):
            mine = self._classes[weight]
            if mine.users:
                mine.speed = min(1.0, left * weight / weights)
                left -= mine.speed * len(mine.users)
                weights -= weight * len(mine.users)

    def _advance(self) -> None:
        passed = self._engine.now - self._since
        for mine in self._classes.values():
            if mine.users:
                mine.had += passed * mine.speed
                self._used += passed * mine.speed * len(mine.users)
        self._since = self._engine.now

    def _plan(self) -> None:
        self._plan_number += 1
        number = self._plan_number
        self._share_out()
        used = [mine for mine in self._classes.values() if mine.users]
        if used:
            first = min(used, key=_Class.ends_in)
            at = self._engine.now + first.ends_in()
            self._engine.at(at, lambda: self._end(number, first))

    def _end(self, number: int, first: _Class) -> None:
        if number != self._plan_number:
            return  # somebody came or went meanwhile
        self._advance()
        # Never nobody: rounding must not keep the first user for ever.
        enough = max(first.had, first.users[0][0]) + _ROUNDING
        while first.users and first.users[0][0] <= enough:
            _, _, resume = heapq.heappop(first.users)
            self._engine.at(self._engine.now, resume)
        self._plan()


class Bucket:
    """A limit that fills up steadily; so many seconds' worth can be saved up."""

    def __init__(self, engine: Engine, a_second: float, burst_seconds: float) -> None:
        self._engine = engine
        self.a_second = a_second
        self._most = a_second * burst_seconds
        self._free_at = engine.now - burst_seconds  #: as if the bucket had been empty then
        self.taken = 0.0

    def take(self, amount: float) -> Wait:
        """Wait until so much is there; those who come later wait behind."""

        def wait(resume: Resume) -> None:
            self.taken += amount
            begin = max(self._free_at, self._engine.now - self._most / self.a_second)
            self._free_at = begin + amount / self.a_second
            self._engine.at(self._free_at, resume)

        return wait
