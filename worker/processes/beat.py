"""`docmill beat`: the schedule."""

import signal
from typing import Final, NoReturn

from celery import signals

from docmill.worker import metrics
from docmill.worker.app import beat_schedule, create_app
from docmill.worker.log import configure_logging
from docmill.worker.processes.connections import warn_without_redis
from docmill.worker.processes.heartbeat import Heartbeat
from docmill.worker.processes.metrics import served_metrics
from docmill.worker.settings.processes import BeatSettings

_SCHEDULE: Final = "schedule"


def run_beat(settings: BeatSettings) -> int:
    """Send the schedule's messages until a signal; returns the exit code."""
    configure_logging(log_format=settings.log_format, level=settings.log_level)
    redis_url = settings.require("redis_url")
    app = create_app(redis_url)
    app.conf.beat_schedule = beat_schedule(settings)
    warn_without_redis(redis_url)
    heartbeat = Heartbeat(settings.heartbeat_file, _SCHEDULE)
    # Redis has taken a message: the schedule runs, and is heard.
    signals.after_task_publish.connect(lambda **_: heartbeat.beat(_SCHEDULE), weak=False)
    signals.after_task_publish.connect(_count, weak=False)
    signals.beat_init.connect(_take_over_signals, weak=False)
    with served_metrics(settings):
        app.Beat(
            loglevel=settings.log_level.upper(),
            # In memory. Every task may run at any time, so nothing is lost with the record of when
            # each ran last; and a file could be in the middle of a write when the signal comes.
            scheduler_cls="celery.beat:Scheduler",
            redirect_stdouts=False,
        ).run()
    return 0


def _count(sender: str | None = None, **_: object) -> None:
    metrics.record(metrics.SCHEDULE_MESSAGES, task=sender or "")


def _take_over_signals(**_: object) -> None:
    # Celery's own saves the schedule and writes to the log from within the handler: both fail when
    # the signal comes while the same is being done.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)


def _stop(*_: object) -> NoReturn:
    raise SystemExit
