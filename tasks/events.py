"""Events for Flower: the stage of each run while it goes on, and how it ended.

Celery's own would report a success when a task returns. But a task also returns normally if its
document failed. So the task of a run sends none of them, and these say also when it began.
"""

import threading
import time
from typing import Any, Final

from celery import Celery, Task, signals

from docmill.worker.log import get_logger
from docmill.worker.models import Stage
from docmill.worker.pipeline.run_job import RunEnd

log = get_logger(__name__)

#: Events are sent together, at most this often. A shorter stage may never be shown.
_PAUSE_SECONDS: Final = 0.25
#: The most time for sending the last events when the worker ends.
_CLOSE_SECONDS: Final = 2.0

#: Outcomes that have a Celery state; the others have names of docmill.
_EVENT_TYPES: Final = {"succeeded": "task-succeeded", "failed": "task-failed"}


class EventSender:
    """Sends the newest event of each task, on a thread of its own.

    A caller never waits, even if Redis is slow or down. Only the newest event of a task is kept, so
    there are never more waiting events than running tasks.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._newest: dict[str, tuple[str, dict[str, Any]]] = {}
        self._wanted = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def tell(self, task: Task[..., Any], event_type: str, **fields: Any) -> None:
        """Send an event of the task that runs in this thread, soon. Returns at once."""
        request = task.request
        # Repeat these with every event: a Flower that started later has missed the first ones.
        fields |= {
            "name": task.name,
            "args": request.get("argsrepr"),
            "kwargs": request.get("kwargsrepr"),
        }
        with self._lock:
            self._newest[str(request.id)] = event_type, fields
            if self._thread is None:
                self._thread = self._start(task.app, str(request.hostname))
        self._wanted.set()

    def close(self) -> None:
        """Send the remaining events, if that is possible within the time limit."""
        self._closing.set()
        self._wanted.set()
        if self._thread is not None:
            self._thread.join(_CLOSE_SECONDS)

    def _start(self, app: Celery, hostname: str) -> threading.Thread:
        thread = threading.Thread(
            target=self._loop, args=(app, hostname), name="event-sender", daemon=True
        )
        thread.start()
        return thread

    def _loop(self, app: Celery, hostname: str) -> None:
        while not self._closing.wait(_PAUSE_SECONDS):
            self._wanted.wait()
            self._wanted.clear()
            self._send_newest(app, hostname)
        self._send_newest(app, hostname)

    def _send_newest(self, app: Celery, hostname: str) -> None:
        with self._lock:
            batch, self._newest = self._newest, {}
        if not batch:
            return
        try:
            _publish(app, hostname, batch)
        except Exception as error:  # trouble with Redis must not disturb the runs
            log.debug("events_not_sent", error=type(error).__name__, count=len(batch))
            with self._lock:
                self._newest = batch | self._newest
            self._wanted.set()


def _publish(app: Celery, hostname: str, batch: dict[str, tuple[str, dict[str, Any]]]) -> None:
    with (
        app.amqp.producer_pool.acquire(block=True) as producer,
        app.events.Dispatcher(
            producer.connection,
            hostname,
            channel=producer.channel,
            buffer_while_offline=False,
            buffer_group=frozenset({"task"}),
            buffer_limit=len(batch) + 1,
        ) as dispatcher,
    ):
        for task_id, (event_type, fields) in batch.items():
            dispatcher.send(event_type, uuid=task_id, **fields)
        dispatcher.flush(errors=False)


_sender = EventSender()
signals.worker_shutdown.connect(lambda **_: _sender.close(), weak=False)


class ShownRun:
    """Shows one run in Flower."""

    def __init__(self, task: Task[..., Any]) -> None:
        self._task = task
        self._began = time.monotonic()
        # A hint is received when a slot is free for it.
        began_at = time.time()
        self._fields = {"received": began_at, "started": began_at}

    def stage(self, stage: Stage) -> None:
        """Show the stage as the task's state."""
        _sender.tell(self._task, f"task-{stage}", **self._fields)

    def end(self, end: RunEnd | None) -> None:
        """Show how the run ended; None means that the hint had no job."""
        outcome = end.outcome if end else "dropped"
        _sender.tell(
            self._task,
            _EVENT_TYPES.get(outcome, f"task-{outcome}"),
            exception=end.error_code if end else None,
            runtime=time.monotonic() - self._began,
            **self._fields,
        )
