"""The objects of a worker process, built from its settings."""

import os
import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from secrets import token_hex
from typing import Final

from celery import Celery

from docmill import __version__
from docmill.worker.app import create_app
from docmill.worker.clients.storage import SupabaseStorage
from docmill.worker.embedding.batchers import Batchers, BatchLimits
from docmill.worker.errors import DocmillError, JobError, SettingsError
from docmill.worker.extraction import GuardedExtractor
from docmill.worker.log import get_logger
from docmill.worker.maintenance.bulk import Bulk, BulkLimits
from docmill.worker.maintenance.schedule import Maintenance
from docmill.worker.maintenance.schedules import Schedules
from docmill.worker.models import IndexVersion, Offer
from docmill.worker.pipeline.ingest import Ingest, IngestLimits
from docmill.worker.pipeline.lease import LeaseKeeper
from docmill.worker.pipeline.run_job import JobRunner, RunnerSettings
from docmill.worker.pipeline.spool import Spool
from docmill.worker.pipeline.stager import StagingLimits
from docmill.worker.ports import Embedder
from docmill.worker.processes.connections import (
    build_bulk,
    build_database,
    build_dispatcher,
    build_embedder,
    build_limits,
    redis_answers,
    served_providers,
)
from docmill.worker.processes.heartbeat import Heartbeat
from docmill.worker.processes.liveness import Liveness
from docmill.worker.processes.measured import MeasuredEmbedder
from docmill.worker.processes.probes import DependencyProbe
from docmill.worker.processes.reading import extraction_limits
from docmill.worker.providers.registry import is_of_this_machine
from docmill.worker.queue import BackgroundDispatcher
from docmill.worker.retry import RetryPolicy
from docmill.worker.settings.parts import EmbedderSettings, RunSettings
from docmill.worker.settings.processes import WorkerSettings
from docmill.worker.store import jobs, maintenance
from docmill.worker.store.database import Database, require_database, single_connection
from docmill.worker.store.jobs import RunKey, WorkerState
from docmill.worker.store.outage import is_unavailable, warn

log = get_logger(__name__)

#: Exit code of a worker whose runs did not stop in time.
EXIT_DRAIN_TIMEOUT: Final = 75

#: Exit code of a worker that took no hints while hints waited.
EXIT_STARVED: Final = 76

#: Share of the time to drain in which requests that are under way may still be answered.
KEEP_SHARE: Final = 0.7

#: Parts of a worker that its heartbeat stands for: leases are renewed, hints are taken.
LEASES: Final = "leases"
HINTS: Final = "hints"


@dataclass
class WorkerRuntime:
    """Everything that a worker process runs on."""

    settings: WorkerSettings
    app: Celery
    database: Database
    extractor: GuardedExtractor
    batchers: Batchers
    keeper: LeaseKeeper
    heartbeat: Heartbeat
    liveness: Liveness
    dispatcher: BackgroundDispatcher
    runner: JobRunner
    maintenance: Maintenance
    schedules: Schedules
    bulk: Bulk

    def start(self) -> None:
        """Announce this worker. Raises DocmillError when it does not fit the database."""
        self.database.open()
        while not self._fits():
            pass  # it went away again
        self.keeper.start()
        self.dispatcher.start()
        self.liveness.start()
        threading.Thread(target=self._watch_drain, name="drain-watchdog", daemon=True).start()

    def _fits(self) -> bool:
        require_database(self.settings.require("database_url"))
        try:
            check_providers(self.database, self.settings, self.batchers.providers)
            with self.database.transaction() as transaction:
                prices = self.settings.prices(self.batchers.providers)
                maintenance.note_prices(transaction, prices)
        except JobError as error:
            if not is_unavailable(error):
                raise
            return False
        return True

    def drain(self) -> None:
        """Ask every run to give its job back at its next staged batch. For a signal handler."""
        self.keeper.drain()
        _draining.set()

    def _watch_drain(self) -> None:
        _draining.wait()
        if _closed.wait(self.settings.drain_seconds):
            return
        # Something hangs where no check reaches. Its lease goes back by hand, so that the job
        # starts elsewhere at once and counts no crash; the fence refuses whatever it still writes.
        stuck = [run.key for run in self.keeper.held()]
        log.warning("drain_timed_out", runs=len(stuck))
        self._release_all(stuck)
        os._exit(EXIT_DRAIN_TIMEOUT if stuck else os.EX_OK)

    def _release_all(self, runs: list[RunKey]) -> None:
        for run in runs:
            try:
                with self.database.transaction() as transaction:
                    jobs.release(
                        transaction, run, code=None, hold_reason=None, retry_in=timedelta()
                    )
            except Exception as error:  # the process ends now: the lease expires instead
                warn(log, "release_failed", error)
                if is_unavailable(error):
                    return  # each of the others would wait as long

    def close(self) -> None:
        """End in order. The watchdog ends the process if a part does not end in time."""
        _draining.set()
        self.liveness.close()
        self.dispatcher.close()
        self.keeper.close()
        self.extractor.close()
        self.batchers.close()
        self.database.close()
        _closed.set()


_draining = threading.Event()
_closed = threading.Event()
_current: WorkerRuntime | None = None


def set_current(runtime: WorkerRuntime | None) -> None:
    """Make a runtime the one that Celery tasks of this process use."""
    global _current  # noqa: PLW0603 -- Celery calls tasks by name: they need a place to look
    _current = runtime


def current() -> WorkerRuntime:
    """The runtime of this process."""
    if _current is None:
        raise DocmillError("no worker runs in this process: start one with docmill worker")
    return _current


def active_index(database: Database) -> IndexVersion:
    """The index version that uploads go to. Raises SettingsError when there is none."""
    with database.transaction() as transaction:
        index = maintenance.active_index_version(transaction)
    if index is None:
        raise SettingsError("the database has no index version: run docmill schema apply")
    return index


def check_providers(
    database: Database, settings: EmbedderSettings, providers: Sequence[str]
) -> None:
    """Refuse to start without anything to embed with. Raises SettingsError.

    A worker may lack the key of the active version's provider and serve another one.
    """
    index = active_index(database)
    if is_of_this_machine(index.provider) or not providers:
        build_embedder(settings, index)  # says what is missing
    if index.provider not in providers:
        log.warning("provider_not_served", provider=index.provider, served=list(providers))


def _measured_embedder(settings: WorkerSettings, index: IndexVersion) -> Embedder:
    return MeasuredEmbedder(
        build_embedder(settings, index),
        provider=index.provider,
        batch_size=settings.embedding_batch_size,
        usd_per_million_tokens=settings.usd_per_million_tokens(index.provider, index.model),
    )


def _active_provider_serves(database: Database, batchers: Batchers) -> bool:
    return batchers.serves(active_index(database))


def build_worker(settings: WorkerSettings, *, isolated: bool) -> WorkerRuntime:
    """Build a worker process. Nothing runs before `start`."""
    app = create_app(settings.require("redis_url"))
    database = build_database(settings)
    batchers = Batchers(
        partial(_measured_embedder, settings),
        providers=served_providers(settings),
        limits=BatchLimits(
            max_texts=settings.embedding_batch_size,
            max_tokens=settings.embedding_batch_tokens,
            requests=settings.embedding_requests,
            slots=1 if isolated else settings.slots,
        ),
        shared=build_limits(settings, settings.require("redis_url")),
    )
    extractor = GuardedExtractor(
        extraction_limits(settings, children=1 if isolated else settings.extraction_children),
        temp_dir=settings.spool_dir,
        # A worker for jobs that run alone is idle nearly always: its zygote's memory can wait.
        eager=not isolated,
    )
    storage = SupabaseStorage(
        settings.require("supabase_url"), settings.require("supabase_secret_key")
    )
    heartbeat = Heartbeat(settings.heartbeat_file, LEASES, HINTS)
    keeper = _build_keeper(
        settings, heartbeat, batchers.providers, extractor.offer, isolated=isolated
    )
    liveness = _build_liveness(settings, database, keeper, isolated=isolated)
    dispatcher = build_dispatcher(settings, app, database)
    background = BackgroundDispatcher(dispatcher.dispatch)
    runner = JobRunner(
        database=database,
        keeper=keeper,
        ingest=_build_ingest(settings, database, storage, extractor, batchers),
        settings=_runner_settings(settings, isolated=isolated),
        on_hint=liveness.consumed,
        on_finished=background.kick,
    )
    maintenance = Maintenance(
        database,
        dispatcher,
        probe=DependencyProbe(storage, partial(_active_provider_serves, database, batchers)),
        keep_embeddings=timedelta(days=settings.keep_embeddings_days),
    )
    return WorkerRuntime(
        settings=settings,
        app=app,
        database=database,
        extractor=extractor,
        batchers=batchers,
        keeper=keeper,
        heartbeat=heartbeat,
        liveness=liveness,
        dispatcher=background,
        runner=runner,
        maintenance=maintenance,
        schedules=Schedules(database, dispatcher, settings),
        bulk=_build_bulk(settings, database, keeper, batchers.providers, background),
    )


def _build_keeper(
    settings: WorkerSettings,
    heartbeat: Heartbeat,
    providers: Sequence[str],
    offer: Offer,
    *,
    isolated: bool,
) -> LeaseKeeper:
    return LeaseKeeper(
        lambda: single_connection(settings.require("database_url")),
        WorkerState(
            worker_id=f"{socket.gethostname()}:{os.getpid()}:{token_hex(4)}",
            slots=1 if isolated else settings.slots,
            isolated=isolated,
            draining=False,
            version=__version__,
            providers=providers,
            offer=offer,
        ),
        lease_for=timedelta(seconds=settings.lease_seconds),
        on_alive=lambda: heartbeat.beat(LEASES),
    )


def _build_bulk(
    settings: WorkerSettings,
    database: Database,
    keeper: LeaseKeeper,
    providers: Sequence[str],
    dispatcher: BackgroundDispatcher,
) -> Bulk:
    terms = {name: settings.bulk_terms(name) for name in providers}
    return Bulk(
        database,
        worker_id=keeper.worker_id,
        providers={name: one for name, one in terms.items() if one is not None},
        connect=partial(build_bulk, settings),
        usd_per_million_tokens=settings.bulk_usd_per_million_tokens,
        limits=BulkLimits(
            wait=timedelta(seconds=settings.bulk_wait_seconds),
            pause=timedelta(seconds=settings.retry_max_seconds),
            texts=settings.bulk_texts,
            spool_dir=settings.spool_dir,
        ),
        on_ready=dispatcher.kick,
    )


def _build_liveness(
    settings: RunSettings, database: Database, keeper: LeaseKeeper, *, isolated: bool
) -> Liveness:
    redis_url = settings.require("redis_url")

    def hints_wait() -> bool:
        with database.transaction() as transaction:
            waiting = jobs.hints_wait(transaction, isolated=isolated)
        # While Redis is away nobody can take hints, and a new worker could not either.
        return waiting and redis_answers(redis_url)

    def end() -> None:
        # No run is lost: there is none. What hangs could not be ended in order anyway.
        log.error("worker_starved", seconds=settings.starved_seconds)
        os._exit(EXIT_STARVED)

    return Liveness(
        hints_wait=hints_wait,
        is_busy=lambda: bool(keeper.held()) or _draining.is_set(),
        on_starved=end,
        limit_seconds=settings.starved_seconds,
    )


def _runner_settings(settings: RunSettings, *, isolated: bool) -> RunnerSettings:
    return RunnerSettings(
        isolated=isolated,
        lease_for=timedelta(seconds=settings.lease_seconds),
        policy=RetryPolicy(
            base=timedelta(seconds=settings.retry_base_seconds),
            longest=timedelta(seconds=settings.retry_max_seconds),
        ),
    )


def _build_ingest(
    settings: WorkerSettings,
    database: Database,
    storage: SupabaseStorage,
    extractor: GuardedExtractor,
    batchers: Batchers,
) -> Ingest:
    return Ingest(
        database=database,
        storage=storage,
        extractor=extractor,
        batchers=batchers,
        spool=Spool(settings.spool_dir, capacity_bytes=settings.spool_bytes),
        limits=IngestLimits(
            max_bytes=settings.max_document_bytes,
            staging=StagingLimits(
                max_chunks=settings.max_chunks,
                batch_size=settings.embedding_batch_size,
                usd_per_million_tokens=settings.usd_per_million_tokens,
                bulk_usd_per_million_tokens=settings.bulk_usd_per_million_tokens,
                # A drained worker must still have time to give its jobs back.
                keep_seconds=min(
                    settings.embedding_timeout_seconds, settings.drain_seconds * KEEP_SHARE
                ),
            ),
        ),
    )
