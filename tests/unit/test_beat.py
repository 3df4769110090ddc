"""The schedule of beat."""

from docmill.worker.app import beat_schedule, create_app
from docmill.worker.processes.beat import DueAtOnceScheduler
from docmill.worker.settings.environment import load_settings
from docmill.worker.settings.parts import ScheduleSettings


def test_every_work_is_due_when_beat_starts_and_then_after_its_period() -> None:
    """A beat that restarts more often than a work is due would never send it otherwise."""
    app = create_app("redis://127.0.0.1:1/0")
    app.conf.beat_schedule = beat_schedule(load_settings(ScheduleSettings))
    works = DueAtOnceScheduler(app).schedule
    assert sorted(works) == sorted(app.conf.beat_schedule)
    assert all(work.is_due()[0] for work in works.values())
    assert not any(next(work).is_due()[0] for work in works.values())
