"""`docmill beat`: the schedule."""

import tempfile
from pathlib import Path
from typing import Final

from celery import signals

from docmill.worker.app import beat_schedule, create_app
from docmill.worker.log import configure_logging
from docmill.worker.processes.connections import warn_without_redis
from docmill.worker.processes.heartbeat import Heartbeat
from docmill.worker.settings.processes import BeatSettings

_SCHEDULE: Final = "schedule"


def run_beat(settings: BeatSettings) -> int:
    """Send the schedule's messages until a signal; returns the exit code."""
    configure_logging(log_format=settings.log_format, level=settings.log_level)
    app = create_app(settings.require("redis_url"))
    app.conf.beat_schedule = beat_schedule(settings)
    warn_without_redis(settings.require("redis_url"))
    heartbeat = Heartbeat(settings.heartbeat_file, _SCHEDULE)
    # Redis has taken a message: the schedule runs, and is heard.
    signals.after_task_publish.connect(lambda **_: heartbeat.beat(_SCHEDULE), weak=False)
    # Every task may run at any time, so nothing is lost with the record of when each ran last.
    with tempfile.TemporaryDirectory(prefix="docmill-beat-", ignore_cleanup_errors=True) as folder:
        app.Beat(
            loglevel=settings.log_level.upper(),
            schedule=str(Path(folder) / "schedule"),
            redirect_stdouts=False,
        ).run()
    return 0
