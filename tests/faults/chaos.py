"""Chaos: a whole installation under load, while everything that can break does.

    python -m tests.faults.chaos --seeds 10 --seconds 30        # or make chaos SEEDS=10 SECONDS=30

A seed decides every operation and every fault beforehand (`tests.faults.plan`): the same seed runs
the same schedule again. What the processes make of it differs from run to run; the promises
(`tests.faults.oracles`) hold each time.
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import httpx
import psycopg
import redis as redis_client
from storage3.exceptions import StorageApiError
from supabase import Client

from docmill.embedded.postgres import PostgresServer, start_postgres
from docmill.embedded.process import ChildProcess, log_tail
from docmill.embedded.redis import RedisServer, start_redis
from docmill.embedded.stack import SERVICES
from docmill.worker.queue import ISOLATED_QUEUE, JOBS_QUEUE, MAINTENANCE_QUEUE
from tests.faults.documents import make_text
from tests.faults.fake_provider import ODD, WAYS, Provider
from tests.faults.hostile_documents import small_monsters
from tests.faults.oracles import (
    ORACLES,
    SETTLE_SECONDS,
    UNFILLED,
    UNSETTLED,
    Evidence,
    duplicated,
    lost,
)
from tests.faults.plan import FAULTS, OWNERS, Fault, Mischief, Operation, Plan, make_plan
from tests.faults.player import Player, sleep_until
from tests.faults.reader import Reader
from tests.faults.reindexing import Operator
from tests.faults.results import record
from tests.support.database import make_database, make_template
from tests.support.installation import ALICE, BOB, BUCKET, SHORT_LEASE, Installation, install

CAROL: Final = "33333333-3333-4333-8333-333333333333"
#: Uploads nothing but files that are made to do harm.
MALLORY: Final = "44444444-4444-4444-8444-444444444444"
SUBS: Final[dict[str, str]] = dict(zip(OWNERS, (ALICE, BOB, CAROL), strict=True))

#: What a crash of the machine would lose may be lost, what a crash of Postgres would may not.
POSTGRES_OPTIONS: Final = ("fsync=off", "full_page_writes=off", "autovacuum=off")

OPEN_JOBS: Final = "select from ingest.jobs where finished_at is null"

SETTINGS: Final = {
    **SHORT_LEASE,
    "DOCMILL_RESEND_SECONDS": "2",
    "DOCMILL_DISPATCH_SECONDS": "0.5",
    "DOCMILL_RESCUE_SECONDS": "0.5",
    "DOCMILL_RECONCILE_SECONDS": "3",
    "DOCMILL_RETRY_BASE_SECONDS": "0.3",
    "DOCMILL_RETRY_MAX_SECONDS": "2",
    "DOCMILL_SLOTS": "6",
    "DOCMILL_EMBEDDING_BATCH_SIZE": "4",
    "DOCMILL_EMBEDDING_REQUESTS": "2",
    "DOCMILL_EXTRACTION_CHILDREN": "2",
    # What is made to be read for ever ends within the run.
    "DOCMILL_PARSE_TIMEOUT_SECONDS": "2",
}
#: The processes of the installation, by their place.
PLACES: Final = {
    "beat": "beat",
    "webhook": "webhook",
    "worker 1": "worker",
    "worker 2": "worker",
    "isolated": "isolated",
}
WORKERS: Final = ("worker 1", "worker 2")


@dataclass
class Result:
    """What a run of one seed came to."""

    seed: int
    seconds: float
    operations: int = 0
    operations_refused: int = 0
    mischief: int = 0  #: hostile files that were uploaded
    changes: dict[str, int] = field(default_factory=dict)  #: of index versions
    faults: dict[str, int] = field(default_factory=dict)
    jobs: int = 0
    runs_crashed: int = 0
    stale_runs_stopped: int = 0
    lost: int = 0
    duplicated: int = 0
    readings: int = 0
    torn_reads: int = 0
    longest_recovery_seconds: float = 0
    settle_seconds: float | None = None
    batches_paid_twice: int = 0
    batches_in_flight_at_faults: int = 0
    spend_ratio: float = 1
    broken: list[str] = field(default_factory=list)

    def line(self) -> str:
        """The result in one line."""
        return json.dumps(asdict(self))


class HintThief:
    """Takes hints out of Redis as a worker does, and loses, doubles or delays them."""

    def __init__(self, url: str, seed: int) -> None:
        self._client = redis_client.Redis.from_url(url, socket_timeout=5)
        self._chance = random.Random(f"{seed} thief")
        self._until = 0.0
        self._stopped = threading.Event()
        self.fates: Counter[str] = Counter()
        self._late: list[tuple[float, bytes, bytes]] = []
        self._thread = threading.Thread(target=self._loop, name="thief", daemon=True)
        self._thread.start()

    def steal(self, seconds: float) -> None:
        """Be at it for some time."""
        self._until = time.monotonic() + seconds

    def stop(self) -> None:
        """Put back what is late, and end."""
        self._stopped.set()
        self._thread.join()
        self._client.close()

    def _loop(self) -> None:
        while not self._stopped.wait(0.02):
            with suppress(redis_client.RedisError):  # another fault has hit Redis itself
                self._put_late()
                if time.monotonic() < self._until:
                    self._take()
        with suppress(redis_client.RedisError):
            self._put_late(everything=True)

    def _take(self) -> None:
        queues = [f"docmill:{q}" for q in (JOBS_QUEUE, ISOLATED_QUEUE, MAINTENANCE_QUEUE)]
        taken: Any = self._client.brpop(queues, timeout=0.2)
        if taken is None:
            return
        queue, message = taken
        fate = self._chance.choices(["lost", "doubled", "delayed"], [2, 3, 3])[0]
        self.fates[fate] += 1
        if fate == "doubled":
            self._client.lpush(queue, message, message)
        elif fate == "delayed":
            due = time.monotonic() + self._chance.uniform(0.2, 3)
            self._late.append((due, queue, message))

    def _put_late(self, *, everything: bool = False) -> None:
        now = time.monotonic()
        due = [item for item in self._late if everything or item[0] <= now]
        self._late = [item for item in self._late if item not in due]
        for _due, queue, message in due:
            self._client.lpush(queue, message)


class Storage(Player):
    """Carries out the operations of one owner in their order, on a thread."""

    def __init__(self, chaos: "Chaos", owner: str, operations: list[Operation]) -> None:
        super().__init__(f"storage of {owner}")
        self._chaos = chaos
        self._owner = owner
        self._sub = SUBS[owner]
        self._operations = operations
        self._revision = 0
        self._client: Client = chaos.installation.client(self._sub)
        self.done: Counter[str] = Counter()

    def _play(self) -> None:
        for operation in self._operations:
            sleep_until(self._chaos.started + operation.at)
            try:
                self._carry_out(operation)
                self.done[operation.kind] += 1
            except (StorageApiError, httpx.HTTPError, json.JSONDecodeError):
                # Postgres is away, or an operation before this one was refused: whatever
                # Storage holds in the end is the truth.
                self.done["refused"] += 1

    def _carry_out(self, operation: Operation) -> None:
        bucket = self._client.storage.from_(BUCKET)
        names = [f"{self._sub}/{name}" for name in operation.names]
        if operation.kind in {"upload", "overwrite"}:
            self._revision += 1
            text = make_text(self._owner, self._revision, operation.parts)
            bucket.upload(names[0], text.encode(), {"upsert": "true"})
        elif operation.kind == "move":
            bucket.move(*names)
        elif operation.kind == "swap":
            aside = f"{self._sub}/aside.md"
            for old, new in ((names[0], aside), (names[1], names[0]), (aside, names[1])):
                bucket.move(old, new)
        elif operation.kind == "chain":
            bucket.move(names[1], names[2])
            bucket.move(names[0], names[1])
        else:
            removed: Any = bucket.remove(names)
            self._chaos.reader.note_deleted(UUID(str(row["id"])) for row in removed)


class Mallory(Player):
    """Uploads the hostile files of a plan, each again and again under a few names, on a thread."""

    def __init__(self, chaos: "Chaos", mischief: Sequence[Mischief]) -> None:
        super().__init__("mallory")
        self._chaos = chaos
        self._mischief = mischief
        self._files = small_monsters()
        self._client: Client = chaos.installation.client(MALLORY)
        self.done = 0

    def _play(self) -> None:
        bucket = self._client.storage.from_(BUCKET)
        for one in self._mischief:
            sleep_until(self._chaos.started + one.at)
            ending, content = self._files[one.number % len(self._files)]
            with suppress(StorageApiError, httpx.HTTPError, json.JSONDecodeError):
                bucket.upload(f"{MALLORY}/{one.name}.{ending}", content, {"upsert": "true"})
                self.done += 1


class Chaos:
    """One run: start it, let the plan happen, let it settle, look."""

    def __init__(self, plan: Plan, postgres: "OwnPostgres", installation: Installation) -> None:
        self.plan = plan
        self.installation = installation
        self.provider = Provider(lambda: installation.openai.asked_model)
        self.reader = Reader(installation.database, dict(SUBS), plan.seed)
        self.started = 0.0
        self.result = Result(plan.seed, plan.seconds)
        self._postgres = postgres
        self._redis: ChildProcess = installation.redis.child
        self._thief = HintThief(installation.redis.url, plan.seed)
        self._places: dict[str, ChildProcess] = {}
        #: What is to be done later: when, and what.
        self._later: list[tuple[float, Callable[[], None]]] = []
        self._frozen: set[str] = set()
        self._faults: Counter[str] = Counter()
        #: Process id of every worker that died or froze, and when (of the clock).
        self._gone: dict[int, float] = {}
        installation.openai.respond = self.provider.respond

    def run(self) -> Result:
        """The whole of it."""
        for place in PLACES:
            self._start(place)
        self._wait_until_ready()
        self.started = time.monotonic()
        storages = [
            Storage(self, owner, [op for op in self.plan.operations if op.owner == owner])
            for owner in OWNERS
        ]
        self.reader.start()
        mallory = Mallory(self, self.plan.mischief)
        mallory.start()
        operator = Operator(self.installation.database, self.plan.changes, self.started)
        operator.start()
        for storage in storages:
            storage.start()
        for fault in self.plan.faults:
            self._until(self.started + fault.at)
            self._inject(fault)
        self._until(self.started + self.plan.seconds)
        for storage in storages:
            storage.join()
            self.result.operations_refused += storage.done.pop("refused", 0)
            self.result.operations += storage.done.total()
        operator.join()
        self.result.changes = dict(sorted(operator.done.items()))
        mallory.join()
        self.result.mischief = mallory.done
        self._stop_faults()
        operator.finish()
        self.result.settle_seconds = self._settle()
        self.reader.stop()
        self._judge()
        return self.result

    # -- processes

    def _start(self, place: str) -> None:
        self._places[place] = self.installation.start(*SERVICES[PLACES[place]])

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + 60
        while not all(self._is_ready(place) for place in PLACES):
            assert time.monotonic() < deadline, self.installation.logs()[-3000:]
            time.sleep(0.05)

    def _is_ready(self, place: str) -> bool:
        log = self._places[place].log_path.read_text()
        if place == "webhook":
            with suppress(httpx.HTTPError):
                return httpx.get(f"{self.installation.webhook_url}/readyz").status_code == 200
            return False
        return ("worker_ready" in log) or place == "beat"

    def _kill(self, place: str) -> None:
        child = self._places[place]
        if place in self._frozen:
            self._frozen.discard(place)
        else:
            self._gone[child.pid] = time.time()
        self.result.batches_in_flight_at_faults += self.provider.in_flight
        self.installation.kill(child)

    def _freeze(self, place: str, seconds: float) -> None:
        child = self._places[place]
        if place in self._frozen:
            return
        self._frozen.add(place)
        self._gone[child.pid] = time.time()
        self.result.batches_in_flight_at_faults += self.provider.in_flight
        os.kill(child.pid, signal.SIGSTOP)

        def thaw() -> None:
            if self._places[place] is child and not child.ended():
                os.kill(child.pid, signal.SIGCONT)
                self._frozen.discard(place)

        self._in(seconds, thaw)

    def _start_redis(self) -> None:
        self.installation.start_redis_again()
        self._redis = self.installation.children[0]

    # -- faults

    def _inject(self, fault: Fault) -> None:
        self._faults[fault.kind] += 1
        place = WORKERS[int(fault.choice * len(WORKERS))]
        if fault.kind in {"worker killed", "isolated worker killed", "beat killed", "webhook away"}:
            place = {
                "isolated worker killed": "isolated",
                "beat killed": "beat",
                "webhook away": "webhook",
            }.get(fault.kind, place)
            self._kill(place)
            self._in(fault.seconds, lambda: self._start(place))
        elif fault.kind == "worker frozen":
            self._freeze(place, fault.seconds)
        elif fault.kind == "Redis restarted":
            self.installation.kill(self._redis)
            self._in(fault.seconds, self._start_redis)
        elif fault.kind == "Redis flushed":
            self._flush_redis()
        elif fault.kind == "Postgres restarted":
            self.result.batches_in_flight_at_faults += self.provider.in_flight
            self._postgres.restart()
        elif fault.kind == "hints lost, doubled, delayed":
            self._thief.steal(fault.seconds)
        elif fault.kind == "documents locked":
            self._lock_documents(fault)
        elif fault.kind in {"429 storm", "500 storm"}:
            self.provider.storm(fault.kind.split()[0], fault.seconds)
        elif fault.kind == "odd answers":
            self.provider.answer_oddly(*random.Random(fault.choice).sample(ODD, 2))
        else:
            self.provider.answer_wrongly(*random.Random(fault.choice).sample(WAYS, 2))

    def _flush_redis(self) -> None:
        if self._redis.ended():  # this loop is late: it has to be started again first
            self._until(time.monotonic() + FAULTS["Redis restarted"][1])
        self.installation.forget_hints()

    def _lock_documents(self, fault: Fault) -> None:
        connection = self.installation.database.connect()
        connection.execute("begin")
        connection.execute(
            """select from ingest.documents where hashtext(id::text) % 3 = %s
                order by id for no key update skip locked""".replace("% 3", "%% 3").encode(),
            [int(fault.choice * 3)],
        )

        def let_go() -> None:
            with suppress(psycopg.Error):  # Postgres was restarted meanwhile
                connection.rollback()
            connection.close()

        self._in(fault.seconds, let_go)

    def _in(self, seconds: float, action: Callable[[], None]) -> None:
        self._later.append((time.monotonic() + seconds, action))

    def _until(self, moment: float) -> None:
        """Do what is due until then; whatever has ended by itself is started again."""
        while True:
            now = time.monotonic()
            for due, action in sorted(self._later, key=lambda item: item[0]):
                if due <= now:
                    action()
            self._later = [item for item in self._later if item[0] > now]
            if now >= moment:
                return
            time.sleep(min(0.05, moment - now))

    def _stop_faults(self) -> None:
        self._thief.stop()
        self.provider.calm()
        self._until(max([time.monotonic(), *(due for due, _ in self._later)]))
        self._faults.update(self._thief.fates)
        ended = [place for place, child in self._places.items() if child.ended()]
        for place in ended:
            said = log_tail(self._places[place].log_path, 3)
            self.result.broken.append(f"{place} has ended by itself: {said}")
            self._start(place)

    # -- the end

    def _settle(self) -> float | None:
        started = time.monotonic()
        while time.monotonic() - started < SETTLE_SECONDS:
            with suppress(psycopg.OperationalError):
                if not any(map(self.installation.rows, (UNSETTLED, OPEN_JOBS, UNFILLED))):
                    return round(time.monotonic() - started, 1)
            time.sleep(0.1)
        return None

    def _judge(self) -> None:
        result = self.result
        logs = self.installation.logs()
        evidence = Evidence(
            self.installation, self.reader, self.provider, result.settle_seconds, logs
        )
        result.faults = dict(sorted(self._faults.items()))
        counted = self.installation.rows(
            """select (select count(*) from ingest.jobs) as jobs,
                      (select count(*) from ingest_private.attempts where outcome = 'crashed')
                          as crashed"""
        )[0]
        result.jobs, result.runs_crashed = counted["jobs"], counted["crashed"]
        result.stale_runs_stopped = logs.count('"job_lost"')
        result.lost, result.duplicated = len(lost(evidence)), len(duplicated(evidence))
        result.readings, result.torn_reads = self.reader.readings, len(self.reader.torn)
        result.longest_recovery_seconds = self._longest_recovery()
        result.batches_paid_twice = self.provider.batches_paid_twice
        result.spend_ratio = round(self.provider.spend_ratio, 3)
        for oracle in ORACLES:
            try:
                oracle(evidence)
            except AssertionError as error:
                result.broken.append(f"{oracle.__name__}: {error}")

    def _longest_recovery(self) -> float:
        """From the death of a worker to the next run of a job that it had."""
        longest = 0.0
        for row in self.installation.rows(
            """select split_part(crashed.worker_id, ':', 2)::integer as pid,
                      extract(epoch from crashed.started_at)::float as started,
                      extract(epoch from least(
                          (select min(next.started_at) from ingest_private.attempts as next
                            where next.job_id = crashed.job_id and next.id > crashed.id),
                          job.finished_at))::float as recovered
                 from ingest_private.attempts as crashed
                      join ingest.jobs as job on job.id = crashed.job_id
                where crashed.outcome = 'crashed'"""
        ):
            gone = self._gone.get(row["pid"])
            if gone is not None and row["recovered"] is not None:
                longest = max(longest, row["recovered"] - max(gone, row["started"]))
        return round(longest, 1)


@dataclass
class OwnPostgres:
    """A server that can be restarted as if it had crashed."""

    folder: Path
    server: PostgresServer

    def restart(self) -> None:
        """Immediate shutdown, which is a crash, and start on the same port."""
        os.kill(self.server.child.pid, signal.SIGQUIT)
        self.server.child.process.wait()
        self.server = start_postgres(self.folder, port=self.server.port, options=POSTGRES_OPTIONS)


@contextmanager
def own_postgres(folder: Path) -> Iterator[OwnPostgres]:
    """A server with the templates of tests, that nobody else uses."""
    own = OwnPostgres(folder, start_postgres(folder, options=POSTGRES_OPTIONS))
    try:
        make_template(own.server)
        yield own
    finally:
        own.server.stop()


@contextmanager
def own_redis(folder: Path) -> Iterator[RedisServer]:
    """A server that nobody else uses."""
    server = start_redis(folder)
    try:
        yield server
    finally:
        server.stop()


def run_seed(seed: int, seconds: float, postgres: OwnPostgres, folder: Path) -> Result:
    """One run in a database of its own; what was promised and did not hold is in `broken`."""
    with (
        own_redis(folder / "redis") as redis,
        make_database(postgres.server, "project") as database,
        install(database, redis, folder, **SETTINGS) as installation,
    ):
        return Chaos(make_plan(seed, seconds), postgres, installation).run()


def main() -> int:
    """Run several seeds, print a line for each, and record them for docs/guarantees.md."""
    parser = argparse.ArgumentParser(description="docmill under random faults")
    parser.add_argument("--seeds", type=int, default=10, help="how many, from --first on")
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=30, help="how long each goes on")
    parser.add_argument("--record", action="store_true", help="for docs/guarantees.md")
    options = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        with own_postgres(folder / "postgres") as postgres:
            for seed in range(options.first, options.first + options.seeds):
                result = run_seed(seed, options.seconds, postgres, folder / str(seed))
                print(result.line(), flush=True)
                results.append(result)
    if options.record:
        record("chaos", [asdict(result) for result in results])
    return int(any(result.broken for result in results))


if __name__ == "__main__":
    sys.exit(main())
