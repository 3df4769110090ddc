"""The Celery app. Messages are hints; Postgres decides what runs."""

from typing import Any, Final

from celery import Celery
from kombu import Queue

from docmill.worker.queue import ISOLATED_QUEUE, JOBS_QUEUE, MAINTENANCE_QUEUE
from docmill.worker.settings.parts import ScheduleSettings

#: Only settings that act on the threads pool: it knows no time limits, no max-tasks-per-child and
#: no soft shutdown, so leases, extraction children and our own drain do those jobs.
CELERY_SETTINGS: Final[dict[str, Any]] = {
    # A message names a job and nothing else; pickle would let a forged one run code.
    "task_serializer": "json",
    "accept_content": ["json"],
    # Nobody reads results: the job row is the result.
    "task_ignore_result": True,
    "result_backend": None,
    # Handed on quickly at a shutdown; a second delivery claims nothing and does no harm.
    "task_acks_late": True,
    # A run that failed has written its own outcome; a message that comes back would only spin.
    "task_acks_on_failure": True,
    "task_acks_on_timeout": True,
    "task_reject_on_worker_lost": False,
    # Take no more than can start: what waits in a worker is in no fair order.
    "worker_prefetch_multiplier": 1,
    # A second copy of a running job cannot start, so a Redis blip need not kill paid work.
    "worker_cancel_long_running_tasks_on_connection_loss": False,
    "broker_connection_retry_on_startup": True,
    # Redis may be away for as long as it likes.
    "broker_connection_max_retries": None,
    # A demoted Redis answers ReadOnlyError until its successor is found.
    "broker_channel_error_retry": True,
    "broker_transport_options": {
        # A hint that is lost with its worker is sent again by the dispatch. Kombu would note each
        # message in Redis, and again that it is done: four round trips, and two new clients.
        "ack_emulation": False,
        # Without these a publish or a read on a connection that was cut waits for ever.
        "socket_timeout": 15,
        "socket_connect_timeout": 5,
        "socket_keepalive": True,
        "health_check_interval": 25,
        "retry_on_timeout": True,
        # The shortest visibility timeout of all apps on one Redis wins: keep to our own keys.
        "global_keyprefix": "docmill:",
    },
    "worker_send_task_events": True,
    "task_send_sent_event": False,
    # Our configuration stays.
    "worker_hijack_root_logger": False,
    "worker_redirect_stdouts": False,
    "timezone": "UTC",
    "enable_utc": True,
}


#: What nobody has taken for so long is dropped: Redis must not fill up while no worker runs. The
#: clock of a worker decides, which may be wrong: were it the time until the next message, a clock
#: that is a few seconds ahead would stop the schedule.
MESSAGE_SECONDS: Final = 7_200.0

#: How often it is looked for schedules that are due, which are so to the minute.
SCHEDULES_SECONDS: Final = 20.0


def create_app(redis_url: str) -> Celery:
    """The app whose messages go through this Redis."""
    app = Celery("docmill", broker=redis_url, include=["docmill.tasks"])
    app.conf.update(CELERY_SETTINGS)
    app.conf.task_queues = [Queue(name) for name in (JOBS_QUEUE, ISOLATED_QUEUE, MAINTENANCE_QUEUE)]
    app.conf.task_default_queue = MAINTENANCE_QUEUE
    return app


def beat_schedule(settings: ScheduleSettings) -> dict[str, dict[str, Any]]:
    """When the maintenance tasks run."""
    periods = {
        "docmill.dispatch": settings.dispatch_seconds,
        "docmill.rescue": settings.rescue_seconds,
        "docmill.reconcile": settings.reconcile_seconds,
        "docmill.schedules": SCHEDULES_SECONDS,
    }
    return {
        task: {
            "task": task,
            "schedule": seconds,
            "options": {"expires": max(seconds, MESSAGE_SECONDS), "queue": MAINTENANCE_QUEUE},
        }
        for task, seconds in periods.items()
    }
