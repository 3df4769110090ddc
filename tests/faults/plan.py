"""The plan of a run of chaos: its seed alone decides it, before the run begins."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

OwnerName = Literal["alice", "bob", "carol"]
OWNERS: Final[tuple[OwnerName, ...]] = ("alice", "bob", "carol")
FILES: Final = tuple(f"file-{number}.md" for number in range(30))
OPERATIONS_PER_SECOND: Final = 8.0
#: Seconds between the starts of two faults.
PAUSES: Final = (0.7, 1.7)
#: A job that kills the isolated worker twice fails. So that worker dies so rarely that no job meets
#: two of its deaths.
ISOLATED_PAUSE: Final = 20.0

#: Every kind of fault, and how long one lasts.
FAULTS: Final[dict[str, tuple[float, float]]] = {
    "worker killed": (0, 0),
    "worker frozen": (4.0, 5.0),
    "isolated worker killed": (0, 0),
    "beat killed": (0, 0),
    "webhook away": (1.0, 3.0),
    "Redis restarted": (0, 0.5),
    "Redis flushed": (0, 0),
    "Postgres restarted": (0, 0),
    "hints lost, doubled, delayed": (2.0, 4.0),
    "documents locked": (0.5, 1.0),
    "429 storm": (1.0, 2.0),
    "500 storm": (1.0, 2.0),
    "wrong vectors": (0, 0),
    "odd answers": (0, 0),
}


#: Operators' actions on index versions, with relative frequencies.
CHANGES: Final = {
    "start": 6,
    "activate": 3,
    "activate, uploads held": 3,
    "activate anyway": 4,
    "activate, the former one ends": 3,
    "end due versions": 3,
    "rollback": 2,
    "drop": 2,
    "drop interrupted": 2,
    "cancel": 3,
    "build": 2,
    "build interrupted": 2,
    "pause": 2,
    "resume": 2,
}


@dataclass(frozen=True)
class Operation:
    """One or a few requests of an owner to Storage."""

    at: float  #: seconds after the start
    owner: OwnerName
    kind: Literal["upload", "overwrite", "move", "swap", "chain", "delete"]
    names: tuple[str, ...]
    parts: int  #: sections of the uploaded document


@dataclass(frozen=True)
class Fault:
    """A fault."""

    at: float
    kind: str
    seconds: float
    choice: float  #: in [0, 1): chooses one of several


@dataclass(frozen=True)
class Mischief:
    """A harmful file, uploaded by a hostile owner."""

    at: float
    name: str
    number: int  #: number of the hostile file


@dataclass(frozen=True)
class Change:
    """An operator's action on index versions."""

    at: float
    kind: str
    choice: float  #: in [0, 1): chooses one of several


@dataclass(frozen=True)
class Plan:
    """All events in order of time."""

    seed: int
    seconds: float
    operations: tuple[Operation, ...]
    faults: tuple[Fault, ...]
    mischief: tuple[Mischief, ...]
    changes: tuple[Change, ...]


def make_plan(seed: int, seconds: float) -> Plan:
    """The same seed and length give the same plan."""
    operations = [operation for owner in OWNERS for operation in _operations(seed, owner, seconds)]
    return Plan(
        seed,
        seconds,
        tuple(sorted(operations, key=lambda operation: operation.at)),
        tuple(_faults(random.Random(f"{seed} faults"), seconds)),
        tuple(_mischief(random.Random(f"{seed} mischief"), seconds)),
        tuple(_changes(random.Random(f"{seed} changes"), seconds)),
    )


def _changes(chance: random.Random, seconds: float) -> Iterator[Change]:
    at = 0.0
    while (at := at + chance.uniform(0.5, 3.5)) < seconds:
        (kind,) = chance.choices([*CHANGES], [*CHANGES.values()])
        yield Change(at, kind, chance.random())


def _mischief(chance: random.Random, seconds: float) -> Iterator[Mischief]:
    at = 0.0
    while (at := at + chance.uniform(0.2, 1.8)) < seconds:
        yield Mischief(at, f"harm-{chance.randrange(8)}", chance.randrange(10_000))


def _operations(seed: int, owner: OwnerName, seconds: float) -> Iterator[Operation]:
    chance = random.Random(f"{seed} {owner}")
    present: set[str] = set()
    at = 0.0
    while (at := at + chance.uniform(0.2, 1.8) * len(OWNERS) / OPERATIONS_PER_SECOND) < seconds:
        yield _operation(chance, at, owner, present)


def _operation(chance: random.Random, at: float, owner: OwnerName, present: set[str]) -> Operation:
    here, free = sorted(present), sorted(set(FILES) - present)
    parts = chance.randint(1, 6)
    kind = chance.choices(["write", "move", "swap", "chain", "delete"], [10, 2, 1, 1, 2])[0]
    if kind == "move" and here and free:
        old, new = chance.choice(here), chance.choice(free)
        present ^= {old, new}
        return Operation(at, owner, "move", (old, new), 0)
    if kind == "swap" and len(here) >= 2:
        return Operation(at, owner, "swap", tuple(chance.sample(here, 2)), 0)
    if kind == "chain" and len(here) >= 2 and free:
        first, second = chance.sample(here, 2)
        last = chance.choice(free)
        present ^= {first, last}
        return Operation(at, owner, "chain", (first, second, last), 0)
    if kind == "delete" and here:
        names = tuple(chance.sample(here, min(len(here), chance.choice([1, 1, 3]))))
        present -= set(names)
        return Operation(at, owner, "delete", names, 0)
    name = chance.choice(FILES)
    known = name in present
    present.add(name)
    return Operation(at, owner, "overwrite" if known else "upload", (name,), parts)


def _faults(chance: random.Random, seconds: float) -> Iterator[Fault]:
    deck: list[str] = []
    at, last_isolated = 1.0, -ISOLATED_PAUSE
    while at < seconds:
        if not deck:
            # Workers die twice as often, because most promises are about that.
            deck = [*FAULTS, "worker killed"]
            chance.shuffle(deck)
        kind = deck.pop()
        if kind == "isolated worker killed":
            if at - last_isolated < ISOLATED_PAUSE:
                continue
            last_isolated = at
        yield Fault(at, kind, chance.uniform(*FAULTS[kind]), chance.random())
        at += chance.uniform(*PAUSES)
