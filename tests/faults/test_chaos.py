"""A few short runs of chaos; `make chaos` runs more of them, and longer."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.chaos import OwnPostgres, own_postgres, run_seed
from tests.faults.plan import FAULTS, make_plan

SECONDS = 20


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnPostgres]:
    with own_postgres(tmp_path_factory.mktemp("postgres")) as made:
        yield made


def test_a_seed_decides_everything_that_happens() -> None:
    plan = make_plan(7, SECONDS)
    assert plan == make_plan(7, SECONDS)
    assert plan.operations != make_plan(8, SECONDS).operations
    assert plan.faults != make_plan(8, SECONDS).faults


def test_no_owners_operations_depend_on_the_length_of_the_run() -> None:
    short, long = make_plan(7, SECONDS), make_plan(7, 3 * SECONDS)
    assert long.operations[: len(short.operations)] == short.operations
    assert long.faults[: len(short.faults)] == short.faults


@pytest.mark.faults
@pytest.mark.parametrize("seed", [1, 2])
def test_whatever_breaks_the_promises_hold(seed: int, own: OwnPostgres, tmp_path: Path) -> None:
    result = run_seed(seed, SECONDS, own, tmp_path)
    print(result.line())
    assert result.broken == []
    # It was not for nothing.
    assert len(FAULTS.keys() & result.faults.keys()) >= len(FAULTS) - 2
    assert result.jobs > 50
    assert result.readings > 20
    assert result.mischief > 5
    assert result.changes["start"] > 0
