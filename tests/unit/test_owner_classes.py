"""Whether one owner takes the children, told without a name."""

from docmill.worker.extraction.parent.owner_classes import HALF_LIFE_SECONDS, OwnerClasses
from docmill.worker.fair_gate import FairGate


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_who_meets_nobody_is_alone_however_much_it_takes() -> None:
    classes = OwnerClasses(Clock())
    assert classes.note("anna", 1000, met_others=False) == "only"


def test_the_largest_is_who_used_most_and_meets_others() -> None:
    classes = OwnerClasses(Clock())
    classes.note("anna", 60, met_others=False)
    assert classes.note("bob", 1, met_others=True) == "other"
    assert classes.note("anna", 1, met_others=True) == "largest"
    assert classes.note("bob", 61, met_others=True) == "largest"


def test_what_was_used_long_ago_counts_less() -> None:
    clock = Clock()
    classes = OwnerClasses(clock)
    classes.note("anna", 60, met_others=True)
    clock.now += HALF_LIFE_SECONDS
    assert classes.note("bob", 29, met_others=True) == "other"
    assert classes.note("bob", 2, met_others=True) == "largest"


def test_owners_who_use_nothing_any_more_are_forgotten() -> None:
    clock = Clock()
    classes = OwnerClasses(clock)
    for number in range(1000):
        classes.note(f"owner {number}", 1, met_others=True)
    clock.now += 20 * HALF_LIFE_SECONDS
    classes.note("anna", 1, met_others=True)
    assert list(classes._used) == ["anna"]


def test_a_gate_knows_whether_an_owner_shares_it() -> None:
    gate = FairGate(1)
    assert not gate.has_others("anna")
    mine = gate.ask("anna", 1)
    more = gate.ask("anna", 1)
    assert not gate.has_others("anna")
    assert gate.has_others("bob")
    waiting = gate.ask("bob", 1)
    assert gate.has_others("anna")
    waiting.release()
    assert not gate.has_others("anna")
    more.release()
    mine.release()
    assert not gate.has_others("bob")
