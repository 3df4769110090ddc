"""docmill's pipeline as jobs that use resources: what a document demands, and where it waits.

Left out: windows of a large document that are read side by side, reuse of embeddings, refused
requests, retries, and the pause after which an owner's series of uploads counts as over.
"""

import math
import random
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from tests.benchmarks.simulate.engine import (
    Bucket,
    Engine,
    Job,
    Level,
    OwnersInTurn,
    Pool,
    Processor,
    Resume,
    Wait,
)

#: worker/embedding/company.py
PATIENCE_SECONDS = 5.0
BACKLOG_PATIENCE_SECONDS = 60.0
BACKLOG_SHARE = 0.75
#: Of a child beside everything else: _NICENESS in worker/extraction/child/sandbox.py.
CHILD_WEIGHT = 335 / 1024


@dataclass(frozen=True)
class Kind:
    """A kind of file: what a page of it demands."""

    read_page: float  #: CPU seconds of a child, chunking included
    chunks_page: float
    read_first: float = 0.0  #: of the child, for a document of this kind, whatever its pages
    one_at_a_time: bool = False  #: a worker reads one document of this kind at a time: scans


@dataclass(frozen=True)
class Demands:
    """CPU seconds by part, measured."""

    kinds: dict[str, Kind]
    read_document: float  #: of a child, before the first page
    worker_document: float
    worker_chunk: float
    postgres_upload: float  #: triggers, the job row, the event
    postgres_document: float
    postgres_chunk: float
    receiver_document: float
    around_document: float  #: Storage and Redis, when they share the machine
    around_chunk: float
    tokens_chunk: float
    #: Shares of a document's time in the worker and PostgreSQL that come before its embeddings.
    worker_early: float = 0.5
    postgres_early: float = 0.5
    #: Seconds of PostgreSQL for one more row of an HNSW index: constant and times ln(rows).
    hnsw: tuple[float, float] = (0.0, 0.0)

    def postgres_of_chunk(self, hnsw_rows: int) -> float:
        """With an HNSW index of so many rows; 0: without one."""
        constant, slope = self.hnsw
        graph = max(0.0, constant + slope * math.log(hnsw_rows)) if hnsw_rows else 0.0
        return self.postgres_chunk + graph

    def chunks(self, kind: str, pages: int) -> int:
        """Of a document; no document has none."""
        return max(1, round(self.kinds[kind].chunks_page * pages))

    def reading(self, kind: str, pages: int) -> float:
        """CPU seconds to read and chunk a document."""
        one = self.kinds[kind]
        return self.read_document + one.read_first + one.read_page * pages


@dataclass(frozen=True)
class Arrival:
    """One upload."""

    at: float
    kind: str
    pages: int
    owner: str = "one"


@dataclass(frozen=True)
class Plant:
    """What there is to work with. Defaults are those of docmill's settings."""

    cores: float  #: of one worker's machine
    workers: int = 1
    slots: int = 256
    children: int = 8
    connections: int = 8
    requests: int = 4
    batch: int = 256
    batch_tokens: int = 100_000
    database_cores: float = 2.0
    together: bool = False  #: one machine for all of it: `cores`
    latency: float = 0.2
    tokens_a_minute: float = 0.0  #: 0: no limit
    requests_a_minute: float = 0.0
    burst_seconds: float = 60.0
    hnsw_rows: int = 0
    uploaded: bool = False  #: documents wait already: their uploads are not simulated


@dataclass
class Outcome:
    """What came of some arrivals."""

    arrived: int
    ended: int
    makespan: float  #: from the first claim to the last publish
    waits: list[float]  #: from the upload to the claim
    sojourns: list[float]  #: from the upload to searchable
    queue_peak: int
    requests: int
    seconds: float  #: simulated
    in_system: float  #: documents, on average
    used: dict[str, float] = field(default_factory=dict)  #: utilisation by resource

    @property
    def rate(self) -> float:
        """Documents a second."""
        return self.ended / self.makespan

    def wait(self, share: float) -> float:
        """The wait for a slot that this share of the documents does not exceed."""
        return quantile(self.waits, share)

    def sojourn(self, share: float) -> float:
        """The same of the time until it is searchable."""
        return quantile(self.sojourns, share)


def quantile(values: Sequence[float], share: float) -> float:
    """The value that this share does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


@dataclass(eq=False)
class _Run:
    """A document in a slot."""

    owner: str
    reads: bool = True
    waits: bool = False


@dataclass
class _Text:
    """A chunk that waits for its embedding."""

    run: _Run
    submitted_at: float
    embedded: Resume


class Batcher:
    """Fills requests as worker/embedding does: texts wait for those who are expected."""

    def __init__(self, pipeline: "Pipeline") -> None:
        self._pipeline = pipeline
        self._engine = pipeline.engine
        self._texts: OrderedDict[str, deque[_Text]] = OrderedDict()
        self._count = 0
        self._runs: list[_Run] = []
        self._joined_at: dict[str, float] = {}
        self._brought_at: dict[str, float] = {}
        self._in_flight = 0
        self._timer_at = math.inf

    @property
    def runs(self) -> int:
        """Documents in the slots of this worker."""
        return len(self._runs)

    def join(self, owner: str) -> _Run:
        """A document gets its slot."""
        run = _Run(owner)
        self._runs.append(run)
        self._joined_at[owner] = self._engine.now
        return run

    def leave(self, run: _Run) -> None:
        """Its slot is free."""
        self._runs.remove(run)
        self._look()

    def embed(self, run: _Run, chunks: int) -> Wait:
        """Wait until all chunks of a document that was read are embedded."""

        def wait(resume: Resume) -> None:
            left = chunks

            def embedded() -> None:
                nonlocal left
                left -= 1
                if not left:
                    run.waits = False
                    resume()

            run.reads, run.waits = False, True
            now = self._engine.now
            self._brought_at[run.owner] = now
            mine = self._texts.setdefault(run.owner, deque())
            mine.extend(_Text(run, now, embedded) for _ in range(chunks))
            self._count += chunks
            self._look()

        return wait

    def _most(self) -> int:
        plant, tokens = self._pipeline.plant, self._pipeline.demands.tokens_chunk
        most: float = min(plant.batch, plant.batch_tokens / tokens)
        if plant.tokens_a_minute:
            most = min(most, plant.tokens_a_minute * plant.burst_seconds / 60 / tokens)
        return max(1, int(most))

    def _look(self) -> None:
        """Send what is due; else look again when it will be."""
        while self._count and self._in_flight < self._pipeline.plant.requests:
            due = self._due_at()
            if due > self._engine.now:
                if due < self._timer_at:
                    self._timer_at = due
                    self._engine.at(due, self._look_again)
                return
            self._send()

    def _look_again(self) -> None:
        self._timer_at = math.inf
        self._look()

    def _due_at(self) -> float:
        if self._count >= self._most():
            return 0.0
        reading = {run.owner for run in self._runs if run.reads}
        busy = sum(run.reads or run.waits for run in self._runs)
        backlog = len(self._runs) >= BACKLOG_SHARE * self._pipeline.plant.slots
        return min(
            self._due_of(owner, texts[0], owner in reading, backlog, len(self._runs) > busy)
            for owner, texts in self._texts.items()
        )

    def _due_of(
        self, owner: str, first: _Text, others_read: bool, backlog: bool, slot_soon: bool
    ) -> float:
        """`Company.due_at`."""
        expected = math.inf if others_read else -math.inf
        latest = first.submitted_at + PATIENCE_SECONDS
        if backlog:
            if slot_soon:
                expected = max(expected, self._joined_at[owner] + PATIENCE_SECONDS)
            longest = first.submitted_at + BACKLOG_PATIENCE_SECONDS
            latest = max(latest, min(longest, self._brought_at[owner] + PATIENCE_SECONDS))
        return min(expected, latest)

    def _send(self) -> None:
        taken: list[_Text] = []
        while self._texts and len(taken) < self._most():
            owner, texts = self._texts.popitem(last=False)
            taken.append(texts.popleft())
            if texts:
                self._texts[owner] = texts
        self._count -= len(taken)
        self._in_flight += 1
        self._engine.start(self._request(taken))

    def _request(self, taken: list[_Text]) -> Job:
        yield from self._pipeline.ask_provider(len(taken))
        self._in_flight -= 1
        for text in taken:
            text.embedded()
        self._look()


class _Worker:
    """One worker, on a machine of its own or on that of all."""

    def __init__(self, pipeline: "Pipeline") -> None:
        engine, plant = pipeline.engine, pipeline.plant
        self.machine = pipeline.common or Processor(engine, plant.cores)
        self.children = Pool(engine, plant.children)
        self.alone = Pool(engine, 1)  #: for kinds that are read one at a time
        self.interpreter = Pool(engine, 1)  #: one thread of Python at a time
        self.batcher = Batcher(pipeline)
        self.computed = 0.0

    def compute(self, seconds: float) -> Job:
        """Python code of the worker."""
        yield self.interpreter.acquire()
        yield self.machine.use(seconds)
        self.computed += seconds
        self.interpreter.release()

    def read(self, seconds: float, *, one_at_a_time: bool) -> Job:
        """A child."""
        if one_at_a_time:
            yield self.alone.acquire()
        yield self.children.acquire()
        yield self.machine.use(seconds, CHILD_WEIGHT)
        self.children.release()
        if one_at_a_time:
            self.alone.release()


class Pipeline:
    """All workers, the database and the provider."""

    def __init__(self, plant: Plant, demands: Demands) -> None:
        self.engine = engine = Engine()
        self.plant, self.demands = plant, demands
        self.common = Processor(engine, plant.cores) if plant.together else None
        self.database = self.common or Processor(engine, plant.database_cores)
        self.connections = Pool(engine, plant.connections * plant.workers)
        self.slots = Pool(engine, plant.slots * plant.workers, OwnersInTurn())
        self.workers = [_Worker(self) for _ in range(plant.workers)]
        self.tokens = self._limit(plant.tokens_a_minute)
        self.permits = self._limit(plant.requests_a_minute)
        self.requests = 0
        self.inside = Level(engine)
        self.arrived = 0
        self.began: float | None = None
        self.ended_at: list[float] = []
        self.waits: list[float] = []
        self.sojourns: list[float] = []

    def _limit(self, a_minute: float) -> Bucket | None:
        if not a_minute:
            return None
        return Bucket(self.engine, a_minute / 60, self.plant.burst_seconds)

    def ask_provider(self, chunks: int) -> Job:
        """One request."""
        self.requests += 1
        if self.permits:
            yield self.permits.take(1)
        if self.tokens:
            yield self.tokens.take(chunks * self.demands.tokens_chunk)
        yield self.engine.sleep(self.plant.latency)

    def arrive(self, arrival: Arrival) -> None:
        """Somebody uploads."""
        self.engine.start(self.document(arrival))

    def document(self, arrival: Arrival) -> Job:
        """From the upload until it is searchable."""
        demands, chunks = self.demands, self.demands.chunks(arrival.kind, arrival.pages)
        self.arrived += 1
        self.inside.add(1)
        yield from self._upload()
        yield self.slots.acquire(arrival.owner)
        self.began = self.engine.now if self.began is None else self.began
        self.waits.append(self.engine.now - arrival.at)
        worker = min(self.workers, key=lambda each: each.batcher.runs)
        run = worker.batcher.join(arrival.owner)
        early, late = demands.worker_early, 1 - demands.worker_early
        yield from worker.compute(demands.worker_document * early)
        yield from self._query(demands.postgres_document * demands.postgres_early)
        if self.common:
            yield self.common.use(demands.around_document + chunks * demands.around_chunk)
        yield from worker.read(
            demands.reading(arrival.kind, arrival.pages),
            one_at_a_time=demands.kinds[arrival.kind].one_at_a_time,
        )
        yield from worker.compute(chunks * demands.worker_chunk)
        yield worker.batcher.embed(run, chunks)
        yield from worker.compute(demands.worker_document * late)
        yield from self._query(
            demands.postgres_document * (1 - demands.postgres_early)
            + chunks * demands.postgres_of_chunk(self.plant.hnsw_rows)
        )
        worker.batcher.leave(run)
        self.slots.release()
        self.inside.add(-1)
        self.ended_at.append(self.engine.now)
        self.sojourns.append(self.engine.now - arrival.at)

    def _upload(self) -> Job:
        if self.plant.uploaded:
            return
        yield self.workers[0].machine.use(self.demands.receiver_document)
        yield self.database.use(self.demands.postgres_upload)

    def _query(self, seconds: float) -> Job:
        yield self.connections.acquire()
        yield self.database.use(seconds)
        self.connections.release()

    def utilisations(self) -> dict[str, float]:
        """Of each resource, on average since the beginning."""
        seconds, plant = self.engine.now, self.plant
        machines = {id(worker.machine): worker.machine for worker in self.workers}
        found = {
            "cores of workers": sum(each.used() for each in machines.values())
            / (len(machines) * plant.cores),
            "the worker's process": sum(each.computed for each in self.workers) / plant.workers,
            "children": sum(each.children.busy.area() for each in self.workers)
            / (plant.workers * plant.children),
            "connections": self.connections.busy.area() / self.connections.places,
            "slots": self.slots.busy.area() / self.slots.places,
        }
        if not self.common:
            found["cores of PostgreSQL"] = self.database.used() / self.database.cores
        if self.tokens:
            found["tokens a minute"] = self.tokens.taken / self.tokens.a_second
        if self.permits:
            found["requests a minute"] = self.permits.taken / self.permits.a_second
        return {name: value / seconds for name, value in found.items()}


def simulate(plant: Plant, demands: Demands, arrivals: Sequence[Arrival]) -> Outcome:
    """Let all documents arrive, and go on until the last is searchable."""
    pipeline = Pipeline(plant, demands)
    for arrival in arrivals:
        pipeline.engine.at(arrival.at, partial(pipeline.arrive, arrival))
    pipeline.engine.run()
    seconds = max(pipeline.ended_at)
    pipeline.engine.now = seconds  # timers that nobody waits for come later
    return Outcome(
        arrived=pipeline.arrived,
        ended=len(pipeline.ended_at),
        makespan=seconds - (pipeline.began or 0.0),
        waits=pipeline.waits,
        sojourns=pipeline.sojourns,
        queue_peak=pipeline.slots.queue.peak,
        requests=pipeline.requests,
        seconds=seconds,
        in_system=pipeline.inside.area() / seconds,
        used=pipeline.utilisations(),
    )


# -- arrivals


@dataclass(frozen=True)
class Mix:
    """Shares of kinds, and how many pages their documents have (each number equally likely)."""

    shares: dict[str, float]
    pages: dict[str, tuple[int, ...]]

    def draw(self, chance: random.Random) -> tuple[str, int]:
        """A document."""
        kind = chance.choices(list(self.shares), list(self.shares.values()))[0]
        return kind, chance.choice(self.pages[kind])


#: Share of a day's uploads in each hour from midnight: office hours of one time zone.
OFFICE_DAY = tuple(
    weight / 100 for weight in (*(1,) * 6, 2, 4, 7, 10, 11, 9, 6, 8, 10, 9, 6, 3, 2, 2, 2, 1, 1, 1)
)


def day(
    documents: int,
    mix: Mix,
    chance: random.Random,
    *,
    owners: int = 50,
    series: float = 5.0,
    hours: range = range(24),
) -> list[Arrival]:
    """Uploads of some hours of a day: people upload several files in a row, half a second apart.

    `series`: files in a row, on average. The result begins with the first of `hours`, at 0.
    """
    arrivals = []
    for number, hour in enumerate(hours):
        starts_a_second = documents * OFFICE_DAY[hour] / 3600 / series
        at = chance.expovariate(starts_a_second)
        while at < 3600:
            owner = f"owner {chance.randrange(owners)}"
            files = 1 + int(math.log(1 - chance.random()) / math.log(1 - 1 / series))
            arrivals += [
                Arrival(number * 3600 + at + place / 2, *mix.draw(chance), owner=owner)
                for place in range(files)
            ]
            at += chance.expovariate(starts_a_second)
    return sorted(arrivals, key=lambda arrival: arrival.at)
