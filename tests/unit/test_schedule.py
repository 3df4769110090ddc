"""What beat asks for, and what a worker does when it is asked."""

from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from celery.beat import Scheduler

from docmill import tasks
from docmill.worker.app import ASK_SECONDS, beat_schedule, create_app
from docmill.worker.processes.runtime import set_current
from docmill.worker.settings.parts import ScheduleSettings

PERIODS = {"dispatch": 5, "rescue": 10, "reconcile": 300, "bulk": 60, "schedules": 20}


def started(sent: list[tuple[str, float]]) -> Scheduler:
    """A beat that was just started; what it sends is noted with its period."""

    class Noting(Scheduler):
        def apply_async(self, entry: Any, *_: Any, **__: Any) -> Any:
            headers = entry.options["headers"]
            sent.append((entry.task.removeprefix("docmill."), headers["period"]))
            return SimpleNamespace(id="x")

    app = create_app("memory://")
    app.conf.beat_schedule = beat_schedule(ScheduleSettings())
    return Noting(app)


def test_each_start_asks_for_every_work_at_once_and_says_how_often_it_is_wanted() -> None:
    for _ in range(2):
        sent: list[tuple[str, float]] = []
        beat = started(sent)
        pauses = [beat.tick() for _ in range(len(PERIODS) + 1)]
        assert dict(sent) == PERIODS
        assert len(sent) == len(PERIODS)
        assert 0 < pauses[-1] <= min(PERIODS.values())


def test_it_asks_again_in_each_period_and_never_later_than_after_20_seconds() -> None:
    planned = beat_schedule(ScheduleSettings())
    asked = {name.removeprefix("docmill."): entry["schedule"] for name, entry in planned.items()}
    assert asked == {work: min(period, 20) for work, period in PERIODS.items()}
    assert ASK_SECONDS == 20


@pytest.mark.parametrize("work", PERIODS)
@pytest.mark.parametrize("is_due", [True, False])
def test_a_worker_does_what_is_due_by_the_period_of_the_message(work: str, *, is_due: bool) -> None:
    asked: list[tuple[str, timedelta | None]] = []
    done: list[str] = []

    def begin(work: str, period: timedelta | None) -> bool:
        asked.append((work, period))
        return is_due

    def do() -> None:
        done.append(work)

    maintenance = SimpleNamespace(begin=begin, dispatch=do, rescue=do, reconcile=do)
    runtime = SimpleNamespace(
        maintenance=maintenance,
        bulk=SimpleNamespace(run=do),
        schedules=SimpleNamespace(run_due=do),
    )
    set_current(cast("Any", runtime))
    try:
        getattr(tasks, work).apply(headers={"period": 7.5})
        getattr(tasks, work).apply()  # as the former release sends it
    finally:
        set_current(None)
    assert asked == [(work, timedelta(seconds=7.5)), (work, None)]
    assert done == [work, work] * is_due
