"""A capacity that owners share."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docmill.worker.errors import CancelledRunError
from docmill.worker.fair_gate import FairGate, Share
from tests.support.simple_gate import SimpleLine, SimpleShare


def fine() -> None:
    """No reason to stop."""


class Waiter:
    """Waits at a gate in a thread of its own."""

    def __init__(self, gate: FairGate, owner: str, amount: int = 1) -> None:
        self.owner = owner
        self.waits = threading.Event()
        self.stop: type[Exception] | None = None
        self.look: Callable[[], None] = fine
        self.share: Future[Share] = Future()
        threading.Thread(target=self._acquire, args=(gate, amount), daemon=True).start()
        assert self.waits.wait(180)

    def _acquire(self, gate: FairGate, amount: int) -> None:
        try:
            self.share.set_result(gate.acquire(self.owner, amount, self._check))
        except Exception as error:
            self.share.set_exception(error)

    def _check(self) -> None:
        self.waits.set()
        self.look()
        if self.stop:
            raise self.stop


def order_of(waiters: list[Waiter], free: Callable[[], None]) -> list[str]:
    """The order in which owners get in, one at a time."""
    order = []
    while waiters:
        free()
        wait([waiter.share for waiter in waiters], timeout=5, return_when=FIRST_COMPLETED)
        [entered] = [waiter for waiter in waiters if waiter.share.done()]
        waiters.remove(entered)
        order.append(entered.owner)
        free = entered.share.result().release
    return order


def test_the_last_third_is_for_those_who_hold_nothing() -> None:
    gate = FairGate(6, reserved=2)
    held = [gate.acquire("anna", 1, fine) for _ in range(4)]
    anna = Waiter(gate, "anna")
    assert gate.acquire("berta", 1, fine)
    again = Waiter(gate, "berta")
    assert gate.acquire("claire", 1, fine)
    assert not anna.share.done()
    assert not again.share.done()
    # The reserved part fills up first; then the owner who holds least goes first.
    held[0].release()
    held[1].release()
    assert not anna.share.done()
    assert not again.share.done()
    held[2].release()
    assert anna.share.result(5)
    assert not again.share.done()
    held[3].release()
    assert again.share.result(5)


@given(
    capacity=st.integers(1, 9),
    steps=st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=60),
)
def test_nobody_who_holds_something_takes_what_is_reserved(
    capacity: int, steps: list[tuple[str, bool]]
) -> None:
    """Compared with a count: which owners get in at once, and which do not."""
    gate = FairGate(capacity, reserved=capacity // 3)
    held: list[Share] = []
    for owner, takes in steps:
        own = [share for share in held if share.owner == owner]
        if not takes:
            if own:
                held.remove(own[0])
                own[0].release()
            continue
        room = capacity - len(held) - (capacity // 3 if own else 0)
        if room > 0:
            held.append(gate.acquire(owner, 1, fine))
        else:
            with pytest.raises(CancelledRunError):
                gate.acquire(owner, 1, refuse)


@given(
    capacity=st.integers(1, 12),
    share_reserved=st.integers(0, 3),
    steps=st.lists(
        st.tuples(st.sampled_from(["ask", "ask", "give back"]), st.integers(0, 1000)), max_size=80
    ),
)
def test_the_same_are_let_in_as_by_the_plain_rule(
    capacity: int, share_reserved: int, steps: list[tuple[str, int]]
) -> None:
    """The same after each step, for any earlier requests, releases and cancellations."""
    reserved = capacity * share_reserved // 4
    gate = FairGate(capacity, reserved=reserved)
    plain = SimpleLine(capacity, reserved=reserved)
    known: list[tuple[Share, SimpleShare]] = []
    for step, number in steps:
        if step == "ask":
            owner, amount = "abcde"[number % 5], min(1 + number // 5 % 6, capacity)
            expected = SimpleShare(owner, amount)
            plain.waiting.append(expected)
            known.append((gate.ask(owner, amount), expected))
        elif known:
            share, expected = known.pop(number % len(known))
            (plain.held if expected in plain.held else plain.waiting).remove(expected)
            share.release()
        plain.let_in()
        for share, expected in known:
            assert share.granted.is_set() == (expected in plain.held)


def test_waiters_who_may_not_go_are_left_alone() -> None:
    gate = FairGate(1)
    held = gate.acquire("anna", 1, fine)
    looked: list[str] = []
    waiters = [Waiter(gate, f"owner {number}") for number in range(50)]
    for waiter in waiters:
        waiter.look = lambda: looked.append("")
    started = time.monotonic()
    for waiter in waiters:
        held.release()
        held = waiter.share.result(5)
    # Each checks four times a second; no other turn wakes it.
    assert len(looked) <= 50 * (1 + 4 * (time.monotonic() - started))


def refuse() -> None:
    raise CancelledRunError


def test_a_gate_that_is_closed_opens_later() -> None:
    is_open = threading.Event()
    gate = FairGate(2, is_open=lambda used: used == 1 or is_open.is_set())
    assert gate.acquire("anna", 1, fine)
    waiter = Waiter(gate, "berta")
    assert not waiter.share.done()
    is_open.set()
    assert waiter.share.result(5)


def test_who_holds_nothing_goes_before_who_holds_something() -> None:
    gate = FairGate(3)
    held = [gate.acquire("anna", 1, fine) for _ in range(3)]
    anna = [Waiter(gate, "anna") for _ in range(3)]
    berta = Waiter(gate, "berta")
    held[0].release()
    assert berta.share.result(5)
    assert not any(waiter.share.done() for waiter in anna)
    for share in held[1:]:
        share.release()
    assert all(waiter.share.result(5) for waiter in anna[:2])
    anna[2].stop = CancelledRunError


def test_among_equals_the_first_goes_first() -> None:
    gate = FairGate(1)
    held = gate.acquire("zoe", 1, fine)
    waiters = [Waiter(gate, owner) for owner in ("carl", "anna", "berta")]
    assert order_of(waiters, held.release) == ["carl", "anna", "berta"]


def test_nobody_overtakes_who_needs_much() -> None:
    gate = FairGate(10)
    held = gate.acquire("anna", 9, fine)
    much = Waiter(gate, "berta", 8)
    little = Waiter(gate, "carl", 1)
    assert not much.share.done()
    assert not little.share.done()
    held.release()
    assert much.share.result(5).amount == 8
    assert little.share.result(5).amount == 1


def test_more_than_there_is_means_all_of_it() -> None:
    gate = FairGate(10)
    share = gate.acquire("anna", 50, fine)
    waiter = Waiter(gate, "berta")
    share.release()
    share.release()
    assert waiter.share.result(5).amount == 1


def test_who_is_told_to_stop_leaves_and_holds_up_nobody() -> None:
    gate = FairGate(2)
    held = gate.acquire("anna", 1, fine)
    leaving = Waiter(gate, "berta", 2)
    behind = Waiter(gate, "carl", 1)
    leaving.stop = CancelledRunError
    with pytest.raises(CancelledRunError):
        leaving.share.result(5)
    assert behind.share.result(5)
    held.release()
