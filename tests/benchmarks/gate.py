"""The cost of passing a gate where others wait: `make bench-gate`.

A number of threads, each with its own owner, take a share of a gate for eight, hold it for a moment
and give it back. In turn with it the same rule is measured with a change waking every waiter, like
in the gate before.

The figures are CPU milliseconds of the process per granted share; medians of the rounds.
"""

import threading
import time
from collections.abc import Callable
from typing import Final

from docmill.worker.fair_gate import FairGate
from tests.benchmarks.figures import Figures, machine, print_table
from tests.support.simple_gate import SimpleGate

THREADS: Final = (2, 32, 254)
CAPACITY: Final = 8
ROUNDS: Final = 5
SECONDS: Final = 2.0


def fine() -> None:
    """No reason to stop."""


def woken_alone() -> Callable[[str], None]:
    """Pass docmill's gate."""
    gate = FairGate(CAPACITY)

    def one(owner: str) -> None:
        share = gate.acquire(owner, 1, fine)
        time.sleep(0.001)
        share.release()

    return one


def all_woken() -> Callable[[str], None]:
    """Pass the other gate."""
    gate = SimpleGate(CAPACITY)

    def one(owner: str) -> None:
        share = gate.acquire(owner, 1, fine)
        time.sleep(0.001)
        gate.release(share)

    return one


SIDES: Final = {"those who may go are woken": woken_alone, "all are woken": all_woken}


def measure(make: Callable[[], Callable[[str], None]], threads: int) -> float:
    """CPU milliseconds per share."""
    one = make()
    passed = [0] * threads
    over = threading.Event()

    def work(number: int) -> None:
        while not over.is_set():
            one(f"owner {number}")
            passed[number] += 1

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    began = time.process_time()
    for worker in workers:
        worker.start()
    time.sleep(SECONDS)
    over.set()
    for worker in workers:
        worker.join()
    return 1000 * (time.process_time() - began) / sum(passed)


def main() -> None:
    """Measure and print."""
    print(machine())
    cases: list[Figures] = []
    for threads in THREADS:
        figures = {name: Figures(f"{threads} threads, {name}", "ms") for name in SIDES}
        for _ in range(ROUNDS):
            for name, make in SIDES.items():
                figures[name].values.append(measure(make, threads))
        cases += figures.values()
    print_table(cases)


if __name__ == "__main__":
    main()
