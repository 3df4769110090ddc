"""The Celery app. Messages are hints; Postgres decides what runs."""

from datetime import UTC, datetime
from typing import Any, Final

from celery import Celery
from kombu import Queue

from docmill.worker.queue import ISOLATED_QUEUE, JOBS_QUEUE, MAINTENANCE_QUEUE
from docmill.worker.settings.parts import ScheduleSettings

#: Only settings that work with the threads pool. It has no time limits, no max-tasks-per-child and
#: no soft shutdown; leases, extraction children and docmill's own drain take their place.
CELERY_SETTINGS: Final[dict[str, Any]] = {
    # A message names a job and nothing else; with pickle, a forged message could run code.
    "task_serializer": "json",
    "accept_content": ["json"],
    # Nobody reads results: the job row is the result.
    "task_ignore_result": True,
    "result_backend": None,
    # At a shutdown, messages quickly go to other workers; a second delivery claims nothing and does
    # no harm.
    "task_acks_late": True,
    # A failed run has written its outcome; its message must not come back again and again.
    "task_acks_on_failure": True,
    "task_acks_on_timeout": True,
    "task_reject_on_worker_lost": False,
    # Take no more than can start at once: messages that wait inside a worker are not in a fair
    # order.
    "worker_prefetch_multiplier": 1,
    # A second copy of a running job cannot start, so a short outage of Redis need not end paid
    # work.
    "worker_cancel_long_running_tasks_on_connection_loss": False,
    "broker_connection_retry_on_startup": True,
    # Redis may be down for any length of time.
    "broker_connection_max_retries": None,
    # A demoted Redis answers ReadOnlyError until the new primary is found.
    "broker_channel_error_retry": True,
    "broker_transport_options": {
        # A hint that is lost with its worker is sent again by the dispatch. Kombu would note each
        # message in Redis, and again that it is done: four round trips, and two new clients.
        "ack_emulation": False,
        # Without these, a publish or a read on a broken connection waits for ever.
        "socket_timeout": 15,
        "socket_connect_timeout": 5,
        "socket_keepalive": True,
        "health_check_interval": 25,
        "retry_on_timeout": True,
        # The shortest visibility timeout of all apps on one Redis wins, so docmill uses keys of its
        # own.
        "global_keyprefix": "docmill:",
    },
    "worker_send_task_events": True,
    "task_send_sent_event": False,
    # Celery must not replace docmill's logging.
    "worker_hijack_root_logger": False,
    "worker_redirect_stdouts": False,
    "timezone": "UTC",
    "enable_utc": True,
}


#: A message that nobody has taken for this long is dropped, so Redis does not fill up while no
#: worker runs. The worker's clock decides, and may be wrong. If this were only the time until the
#: next message, a clock that is a few seconds ahead would stop the schedule.
MESSAGE_SECONDS: Final = 7_200.0

#: How often workers look for schedules that are due; due times are whole minutes.
SCHEDULES_SECONDS: Final = 20.0

#: The longest time between two messages for a work. A worker begins it only if it is due, so a beat
#: that lives for less than a period of five minutes still gets each work done in time.
ASK_SECONDS: Final = 20.0

#: The header that says how often a work is wanted, in seconds. It is no argument: workers of the
#: former release refuse arguments that they do not know.
PERIOD_HEADER: Final = "period"

_NEVER: Final = datetime.fromtimestamp(0, UTC)


def create_app(redis_url: str) -> Celery:
    """The app whose messages go through this Redis."""
    app = Celery("docmill", broker=redis_url, include=["docmill.tasks"])
    app.conf.update(CELERY_SETTINGS)
    app.conf.task_queues = [Queue(name) for name in (JOBS_QUEUE, ISOLATED_QUEUE, MAINTENANCE_QUEUE)]
    app.conf.task_default_queue = MAINTENANCE_QUEUE
    return app


def beat_schedule(settings: ScheduleSettings) -> dict[str, dict[str, Any]]:
    """What beat asks for: each work as soon as it starts, then as often as it may be due."""
    periods = {
        "docmill.dispatch": settings.dispatch_seconds,
        "docmill.rescue": settings.rescue_seconds,
        "docmill.reconcile": settings.reconcile_seconds,
        "docmill.bulk": settings.bulk_seconds,
        "docmill.schedules": SCHEDULES_SECONDS,
    }
    return {
        task: {
            "task": task,
            "schedule": min(seconds, ASK_SECONDS),
            "last_run_at": _NEVER,
            "options": {
                "expires": MESSAGE_SECONDS,
                "queue": MAINTENANCE_QUEUE,
                "headers": {PERIOD_HEADER: seconds},
            },
        }
        for task, seconds in periods.items()
    }
