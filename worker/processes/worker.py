"""`docmill worker`: Celery's threads pool with our own start, drain and end."""

import os
import signal
import socket
from functools import cached_property, partial
from types import FrameType
from typing import Any, Final

from celery import signals
from celery.worker import state
from kombu.transport import redis

from docmill.worker.extraction import adopt_orphans
from docmill.worker.log import configure_logging, get_logger
from docmill.worker.processes.connections import warn_without_redis
from docmill.worker.processes.metrics import database_gauges, served_metrics
from docmill.worker.processes.runtime import HINTS, WorkerRuntime, build_worker, set_current
from docmill.worker.processes.tracing import traced
from docmill.worker.queue import MAINTENANCE_QUEUE, job_queues
from docmill.worker.settings.processes import WorkerSettings

log = get_logger(__name__)

#: Threads beside the slots, for the schedule: rescue and dispatch must not wait behind jobs.
_MAINTENANCE_THREADS: Final = 5
#: What the rest of a broadcast may take to come.
_BROADCAST_SECONDS: Final = 1.0


class _HintChannel(redis.Channel):
    """A channel whose messages are lost with its connection, which hints may be.

    Kombu's own puts them back when the connection is lost, and acknowledges them when their tasks
    end: both through a connection that is gone by then, and the AttributeError ends the worker.
    """

    do_restore = False
    _one_client: Any = None

    def _create_client(self, asynchronous: bool = False) -> Any:
        # Kombu makes a client for each command, which takes longer than the command: a sixth of a
        # worker's time. One serves all threads; its connections are the pool's.
        if asynchronous:
            return super()._create_client(asynchronous=True)  # type: ignore[misc]
        if self._one_client is None or self._one_client.connection_pool is not self.pool:
            self._one_client = super()._create_client()  # type: ignore[misc]
        return self._one_client

    @cached_property
    def subclient(self) -> Any:
        """The subscription to broadcasts (Flower's questions), read when something has come.

        When Redis was restarted, what has come is the end of the connection: a new one is made, and
        kombu's own would then wait on it for the next broadcast, taking no hints meanwhile.
        """
        subscription = super().subclient
        subscription.parse_response = partial(
            subscription.parse_response, block=False, timeout=_BROADCAST_SECONDS
        )
        return subscription

    def basic_ack(self, delivery_tag: str, multiple: bool = False) -> None:
        """Acknowledge a message, if there is still somebody to tell."""
        if self.connection is not None:
            super().basic_ack(delivery_tag, multiple=multiple)

    def basic_reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Give a message back, if there is still somebody to give it to."""
        if self.connection is not None:
            super().basic_reject(delivery_tag, requeue=requeue)


redis.Transport.Channel = _HintChannel


def run_worker(settings: WorkerSettings, *, isolated: bool) -> int:
    """Work until SIGTERM, SIGINT or SIGQUIT; returns the exit code.

    Raises DocmillError when the worker does not fit the database.
    """
    adopt_orphans()
    with traced("worker"):
        return _run_traced(settings, isolated=isolated)


def _run_traced(settings: WorkerSettings, *, isolated: bool) -> int:
    runtime = build_worker(settings, isolated=isolated)
    try:
        runtime.start()
        warn_without_redis(settings.require("redis_url"))
        set_current(runtime)
        _install_handlers(runtime, settings)
        worker = _celery_worker(runtime, settings, isolated=isolated)
        gauges = database_gauges(runtime.database)
        with served_metrics(settings, gauges, providers=runtime.batchers.providers):
            worker.start()
        return int(worker.exitcode or 0)
    finally:
        set_current(None)
        runtime.close()


def _celery_worker(runtime: WorkerRuntime, settings: WorkerSettings, *, isolated: bool) -> Any:
    queues = job_queues(runtime.batchers.providers, isolated=isolated)
    if not isolated:
        queues.append(MAINTENANCE_QUEUE)
    slots = 1 if isolated else settings.slots + _MAINTENANCE_THREADS
    return runtime.app.Worker(
        pool="threads",
        concurrency=slots,
        queues=queues,
        # In containers every worker has the same pid: the host's name tells them apart.
        hostname=f"{'isolated' if isolated else 'worker'}-{os.getpid()}@{socket.gethostname()}",
        # No banner: our own first line says what matters.
        quiet=True,
        without_gossip=True,
        without_mingle=True,
        loglevel=settings.log_level.upper(),
    )


def _install_handlers(runtime: WorkerRuntime, settings: WorkerSettings) -> None:
    def setup_logging(**_: object) -> None:
        configure_logging(log_format=settings.log_format, level=settings.log_level)

    def take_over_signals(**_: object) -> None:
        # Celery's own: SIGTERM waits for every thread without telling the runs, and SIGQUIT
        # raises NotImplementedError in the threads pool.
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            signal.signal(number, on_signal)
        log.info("worker_ready", worker_id=runtime.keeper.worker_id, slots=settings.slots)

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        runtime.drain()
        state.should_stop = os.EX_OK  # type: ignore[assignment]  # celery-types knows None only

    def take_pulse(**_: object) -> None:
        # Celery sends its own heartbeat from the loop that takes messages from Redis, and stops
        # while it has no connection.
        runtime.heartbeat.beat(HINTS)

    signals.setup_logging.connect(setup_logging, weak=False)
    signals.heartbeat_sent.connect(take_pulse, weak=False)
    signals.worker_ready.connect(take_over_signals, weak=False)
