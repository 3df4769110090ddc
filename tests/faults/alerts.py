"""Each alert of ops/alerts.yml fires for the trouble that it is for, and ends once that is mended.

    python -m tests.faults.alerts            # or --only DocmillNoSpace DocmillSpend; --record

Webhook, beat and two workers really run, and are scraped twice a second at most. Each scrape counts
as thirty seconds of Prometheus' time: windows, `for` and thresholds are those of the file, and an
hour of it passes in a minute. Only what SCALED names is changed. A busy machine makes it slower and
changes nothing else.
"""

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import psycopg
import yaml

from docmill.embedded.process import ChildProcess, free_port, log_tail
from docmill.embedded.stack import SERVICES
from tests.faults.chaos import own_postgres, own_redis
from tests.faults.processes import children_of, small_disk
from tests.faults.results import record, recorded
from tests.support.alert_table import write_table
from tests.support.database import Database, make_database
from tests.support.fake_openai import error
from tests.support.installation import ALICE, BOB, BUCKET, FAST, Installation, install, until
from tests.support.pages import ROOT
from tests.support.promql import Alert, Alerts, Samples
from tests.support.slow import LINKS, SLOW_MARKDOWN

RULES: Final[Sequence[Mapping[str, Any]]] = yaml.safe_load(
    (ROOT / "ops" / "alerts.yml").read_text()
)["groups"][0]["rules"]
NAMES: Final = [rule["alert"] for rule in RULES]
#: What a scrape counts for, and the real time between two of them at least.
SCRAPE_SECONDS: Final = 30.0
PAUSE_SECONDS: Final = 0.5
#: Prometheus' seconds in a real one, on a machine that keeps up.
FACTOR: Final = round(SCRAPE_SECONDS / PAUSE_SECONDS)
#: Thresholds that are changed, and why: rates for a second are lower by the factor, and a machine
#: that runs tests has neither a whole core nor four gigabytes to spare.
SCALED: Final[Mapping[str, tuple[str, str]]] = {
    "DocmillEmptyBatches": ("> 1", f"> {1 / FACTOR:.4f}"),
    "DocmillOneOwner": ("> 1", f"> {0.1 / FACTOR:.4f}"),
    "DocmillWorkerMemory": ("> 4e9", "> 4e8"),
}
#: What an alert, and its end, may take, in real seconds.
PATIENCE_SECONDS: Final = 200.0
#: How many scrapes a sound installation is looked at for: an hour.
SOUND_SCRAPES: Final = 120
PLACES: Final = ("worker", "isolated", "webhook", "beat")
SLOTS: Final = int(FAST["DOCMILL_SLOTS"])
#: Documents of one chunk each, as many as the alerts for heaps of them need.
HEAP: Final = 1001
UPLOAD_HEAP: Final = f"""
    insert into storage.objects (bucket_id, name, version, owner_id)
    select '{BUCKET}', 'heap/' || n, 'heap-' || n, '{ALICE}' from generate_series(1, {HEAP}) as n
"""
DELETE_HEAP: Final = """
    set local storage.allow_delete_query = 'true';
    delete from storage.objects where name like 'heap/%'
"""


def rules() -> list[dict[str, Any]]:
    """The rules of ops/alerts.yml, with the thresholds of SCALED."""
    return [dict(rule, expr=_scaled(rule["alert"], rule["expr"])) for rule in RULES]


def _scaled(alert: str, expression: str) -> str:
    if alert not in SCALED:
        return expression
    threshold, scaled = SCALED[alert]
    assert expression.endswith(threshold), f"{alert}: {expression}"
    return expression.removesuffix(threshold) + scaled


class Watch:
    """What Prometheus does: scrapes each place, and evaluates the rules after it."""

    def __init__(self, ports: Mapping[str, int]) -> None:
        self.time = 0.0
        self.alerts = Alerts(rules())
        self._samples = Samples()
        self._targets = [f"127.0.0.1:{port}" for port in ports.values()]
        self._client = httpx.Client(timeout=10)
        self._due = time.monotonic()

    def scrape(self) -> set[Alert]:
        """One more scrape; what fires then."""
        time.sleep(max(0.0, self._due - time.monotonic()))
        self._due = time.monotonic() + PAUSE_SECONDS
        self.time += SCRAPE_SECONDS
        for target in self._targets:
            self._samples.scrape(self.time, target, self._answer(target), job="docmill")
        return self.alerts.evaluate(self._samples, self.time)

    def close(self) -> None:
        """Keep no connection."""
        self._client.close()

    def _answer(self, target: str) -> str | None:
        try:
            return self._client.get(f"http://{target}/metrics").raise_for_status().text
        except httpx.HTTPError:
            return None


class Stand:
    """An installation all of whose processes serve metrics, each always at its port."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        self.ports = {place: free_port() for place in PLACES}
        self.watch = Watch(self.ports)
        self.places: dict[str, ChildProcess] = {}
        self._names = iter(range(1_000_000))
        self.start(*PLACES)

    def start(self, *places: str, **settings: str) -> None:
        """Start processes, and wait until they work and the database sees no trouble."""
        for place in places:
            port = {"DOCMILL_METRICS_PORT": str(self.ports[place])}
            self.places[place] = self.installation.start(*SERVICES[place], **port, **settings)
        for place in places:
            until(lambda place=place: self._is_ready(place), place, 120)  # type: ignore[misc]
        if set(PLACES) == {place for place, child in self.places.items() if not child.ended()}:
            self.wait_until_sound()

    def wait_until_sound(self) -> None:
        """Return once the database sees no trouble."""
        query = "select trouble from ingest_private.troubles()"
        until(lambda: not self.installation.rows(query), "no trouble", 120)

    def kill(self, *places: str) -> None:
        """SIGKILL: no goodbye."""
        for place in places:
            os.killpg(self.places[place].pid, signal.SIGKILL)
            self.places[place].process.wait()

    def stop(self, *places: str) -> None:
        """In order."""
        for place in places:
            self.places[place].stop()

    @contextmanager
    def worker_with(self, **settings: str) -> Iterator[None]:
        """Another worker in place of the ordinary one while this is open."""
        self.stop("worker")
        self.start("worker", **settings)
        try:
            yield
        finally:
            self.stop("worker")
            self.start("worker")

    @contextmanager
    def held_session(self, statement: str) -> Iterator[None]:
        """A session that does this and keeps its locks while this is open."""
        with self.installation.database.connect() as connection, connection.transaction():
            connection.execute(statement.encode())
            yield

    def upload(self, text: str = "It rains.") -> str:
        """A small document of its own; returns its name."""
        number = next(self._names)
        return self.installation.upload(ALICE, f"{number}.md", f"# {number}\n\n{text} {number}.")

    def upload_bytes(self, content: bytes) -> str:
        """A file of its own with just this; returns its name."""
        return self.installation.upload(ALICE, f"{next(self._names)}.md", content)

    def readers(self) -> list[int]:
        """Children of the worker that read documents: below its zygote, and below their keepers."""
        zygotes = children_of(self.places["worker"].pid)
        keepers = [keeper for zygote in zygotes for keeper in children_of(zygote)]
        return [child for keeper in keepers for child in children_of(keeper)]

    def execute(self, statement: str) -> None:
        """Do this in the database, as its owner."""
        with self.installation.database.connect() as connection:
            connection.execute(statement.encode())

    def count(self, table: str) -> int:
        """How many rows a table has."""
        return int(self.installation.rows(f"select count(*) from {table}")[0]["count"])

    def _is_ready(self, place: str) -> bool:
        child = self.places[place]
        assert not child.ended(), log_tail(child.log_path)
        try:
            httpx.get(f"http://127.0.0.1:{self.ports[place]}/metrics", timeout=10)
        except httpx.HTTPError:
            return False
        return "worker_ready" in child.log_path.read_text() or place in ("webhook", "beat")


#: What goes on while a trouble lasts, at each scrape.
Meanwhile = Callable[[], object]


def nothing() -> None:
    """Nothing more has to happen."""


# -- troubles: each is made, lasts while its generator waits, and is mended


def no_isolated_worker(stand: Stand) -> Iterator[Meanwhile]:
    stand.kill("isolated")
    yield nothing
    stand.start("isolated")


def no_worker_at_all(stand: Stand) -> Iterator[Meanwhile]:
    stand.kill("worker", "isolated")
    yield nothing
    stand.start("worker", "isolated")


def database_away(stand: Stand) -> Iterator[Meanwhile]:
    database = stand.installation.database
    _let_connect(database, "false")
    try:
        yield nothing
    finally:
        _let_connect(database, "true")
    stand.wait_until_sound()


def _let_connect(database: Database, answer: str) -> None:
    with psycopg.connect(database.server.url("postgres"), autocommit=True) as server:
        server.execute(f"alter database {database.name} allow_connections {answer}".encode())
        server.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s",
            [database.name],
        )


def more_work_than_slots(stand: Stand) -> Iterator[Meanwhile]:
    provider = stand.installation.openai
    provider.gate.clear()
    try:
        names = [stand.upload() for _ in range(SLOTS + 2)]
        running = "ingest_private.job_queue where phase = 'running'"
        until(lambda: stand.count(running) == SLOTS, "all slots in use")
        stand.execute(
            """update ingest.jobs as job set created_at = job.created_at - interval '31 min'
                 from ingest_private.job_queue as entry
                where entry.job_id = job.id and entry.phase <> 'running'"""
        )
        yield nothing
    finally:
        provider.gate.set()
    for name in names:
        stand.installation.wait_for_job(name)


def beat_stopped(stand: Stand) -> Iterator[Meanwhile]:
    stand.kill("beat")
    # Two minutes that nobody has to wait for.
    stand.execute("update ingest_private.ticks set ticked_at = ticked_at - interval '2 min'")
    yield nothing
    stand.start("beat")


def key_refused(stand: Stand) -> Iterator[Meanwhile]:
    provider = stand.installation.openai
    provider.respond = lambda _texts: error(401, "invalid_api_key")
    try:
        name = stand.upload()
        until(lambda: stand.count("ingest_private.breakers"), "an open breaker")
        yield nothing
    finally:
        provider.respond = lambda _texts: None
    stand.stop("worker")
    stand.start("worker")
    stand.installation.wait_for_job(name, "succeeded")


def most_documents_fail(stand: Stand) -> Iterator[Meanwhile]:
    yield every(4, lambda: stand.upload_bytes(b" "))


def every(scrapes: int, action: Callable[[], object]) -> Meanwhile:
    """Do something at each of so many scrapes."""
    turns = iter(range(1_000_000))

    def meanwhile() -> None:
        if next(turns) % scrapes == 0:
            action()

    return meanwhile


def worker_frozen(stand: Stand) -> Iterator[Meanwhile]:
    provider = stand.installation.openai
    provider.gate.clear()
    names = [stand.upload() for _ in range(SLOTS)]
    until(lambda: stand.count("ingest_private.leases") == SLOTS, "all slots in use")
    frozen = stand.places["worker"]
    crashed = "ingest_private.attempts where outcome = 'crashed'"
    before = stand.count(crashed)
    os.kill(frozen.pid, signal.SIGSTOP)
    try:
        # The schedule runs in ordinary workers: another one takes the jobs back.
        other = stand.installation.start_worker()
        until(lambda: stand.count(crashed) >= before + SLOTS, "jobs taken back", 120)
    finally:
        provider.gate.set()
        os.kill(frozen.pid, signal.SIGCONT)
    for name in names:
        stand.installation.wait_for_job(name, "succeeded", timeout=120)
    yield nothing
    other.stop()
    stand.wait_until_sound()


def dead_worker_and_no_rescue(stand: Stand) -> Iterator[Meanwhile]:
    provider = stand.installation.openai
    provider.gate.clear()
    name = stand.upload()
    until(lambda: stand.count("ingest_private.leases") == 1, "a job that runs")
    stand.kill("beat", "worker")
    provider.gate.set()
    yield nothing
    stand.start("beat", "worker")
    stand.installation.wait_for_job(name, "succeeded")


def children_killed(stand: Stand) -> Iterator[Meanwhile]:
    for _ in range(14):
        stand.upload_bytes(SLOW_MARKDOWN.encode())
    killed = "ingest.jobs where error_code = 'parse_memory'"
    before = stand.count(killed)

    def kill_readers() -> bool:
        for child in stand.readers():
            os.kill(child, signal.SIGKILL)
        return stand.count(killed) >= before + 12

    until(kill_readers, "children killed", 120)
    yield nothing


def one_owner_takes_the_children(stand: Stand) -> Iterator[Meanwhile]:
    other = stand.installation.upload(BOB, "stands.md", SLOW_MARKDOWN.encode())
    (reader,) = until(lambda: stand.readers() or None, "a child of another owner")
    # It stands still: it is there all the time, and uses nothing.
    os.kill(reader, signal.SIGSTOP)
    try:
        yield every(4, lambda: stand.upload_bytes((LINKS * 1500).encode()))
    finally:
        os.kill(reader, signal.SIGKILL)
    stand.installation.wait_for_job(other, "failed", "succeeded")


def provider_limits(stand: Stand) -> Iterator[Meanwhile]:
    provider = stand.installation.openai
    turns = iter(range(1_000_000))
    provider.respond = lambda _texts: (
        error(429, "rate_limit_exceeded", retry_after="1") if next(turns) % 2 == 0 else None
    )
    try:
        yield every(2, stand.upload)
    finally:
        provider.respond = lambda _texts: None


def dear_tokens(stand: Stand) -> Iterator[Meanwhile]:
    with stand.worker_with(DOCMILL_EMBEDDING_USD_PER_MILLION_TOKENS="1000000"):
        stand.watch.scrape()
        for name in [stand.upload() for _ in range(5)]:
            stand.installation.wait_for_job(name, "succeeded")
        yield nothing


def requests_of_one_text(stand: Stand) -> Iterator[Meanwhile]:
    with stand.worker_with(DOCMILL_EMBEDDING_BATCH_SIZE="2048"):
        yield stand.upload


def worker_grows(stand: Stand) -> Iterator[Meanwhile]:
    ballast = "import runpy; kept = bytearray(420_000_000); kept[::4096] = b'x' * len(kept[::4096])"
    program = stand.installation.program
    stand.stop("worker")
    stand.installation.program = (
        *(sys.executable, "-c"),
        f"{ballast}; runpy.run_module('docmill', run_name='__main__')",
    )
    try:
        stand.start("worker")
    finally:
        stand.installation.program = program
    yield nothing
    stand.stop("worker")
    stand.start("worker")


def documents_locked(stand: Stand) -> Iterator[Meanwhile]:
    with stand.held_session("lock table ingest.documents in share row exclusive mode"):
        stand.execute(UPLOAD_HEAP)
        assert stand.count("ingest_private.pending_events") >= HEAP
        yield nothing
        stand.execute(f"begin; {DELETE_HEAP}; commit")


def drain_held_up(stand: Stand) -> Iterator[Meanwhile]:
    stand.stop("beat")
    # Nobody has time to begin with one of them.
    stand.execute(f"begin; {UPLOAD_HEAP}; {DELETE_HEAP}; commit")
    assert stand.count("ingest_private.withdrawn") >= HEAP
    with stand.held_session("select from ingest_private.withdrawn for update"):
        stand.start("beat")
        yield nothing


def disk_full(stand: Stand) -> Iterator[Meanwhile]:
    disk = small_disk(stand.installation.folder / "tiny")
    program = stand.installation.program
    stand.stop("worker")
    stand.installation.program = (*disk.command, *program)
    try:
        stand.start("worker", DOCMILL_SPOOL_DIR=str(disk.folder))
    finally:
        stand.installation.program = program
    filler = Path(f"/proc/{stand.places['worker'].pid}/root{disk.folder}") / "filler"
    filler.write_bytes(b"x" * 60_000)
    stand.watch.scrape()
    name = stand.upload("It rains. " * 2000)
    yield nothing
    filler.unlink()
    stand.installation.wait_for_job(name, "succeeded")
    stand.stop("worker")
    stand.start("worker")


@dataclass(frozen=True)
class Trouble:
    """What an alert is for, and which others may fire with it."""

    alert: str
    done: str
    make: Callable[[Stand], Iterator[Meanwhile]]
    also: frozenset[str] = frozenset()
    #: Labels that the alert has to have.
    about: Mapping[str, str] = field(default_factory=dict)

    def is_said_by(self, alert: Alert) -> bool:
        """Whether this alert is the one for it."""
        return alert.name == self.alert and self.about.items() <= set(alert.labels)


_SEEN: Final = frozenset({"DocmillTrouble"})

TROUBLES: Final = (
    Trouble(
        "DocmillTrouble",
        "killed the isolated worker",
        no_isolated_worker,
        about={"trouble": "no_isolated_worker"},
    ),
    Trouble("DocmillNoMetrics", "killed both workers", no_worker_at_all),
    Trouble(
        "DocmillDatabaseAway",
        "ended every session, and let nobody connect",
        database_away,
        _SEEN,
    ),
    Trouble(
        "DocmillOldJobs",
        "kept all slots busy, and put back the time of two jobs that waited by 31 minutes",
        more_work_than_slots,
    ),
    Trouble(
        "DocmillScheduleSilent",
        "killed beat, and put back the time of the last works by two minutes",
        beat_stopped,
        _SEEN,
        {"work": "rescue"},
    ),
    Trouble(
        "DocmillBreakerOpen",
        "had the provider refuse the key",
        key_refused,
        _SEEN,
        {"code": "provider_auth", "provider": "openai"},
    ),
    Trouble("DocmillManyFailures", "uploaded empty files, and no others", most_documents_fail),
    Trouble(
        "DocmillLeasesLost",
        "froze a worker with eight jobs until another one had taken them back",
        worker_frozen,
    ),
    Trouble(
        "DocmillExpiredLeases",
        "killed a worker with a job, and beat, so that nobody took it back",
        dead_worker_and_no_rescue,
        _SEEN,
    ),
    Trouble(
        "DocmillChildrenKilled",
        "killed the children of a dozen documents while they read",
        children_killed,
        frozenset({"DocmillManyFailures"}),
        {"code": "parse_memory"},
    ),
    Trouble(
        "DocmillOneOwner",
        "uploaded slow files of one owner while a child of another one stood still",
        one_owner_takes_the_children,
    ),
    Trouble(
        "DocmillRateLimited",
        "had the provider refuse every other request",
        provider_limits,
        about={"provider": "openai"},
    ),
    Trouble(
        "DocmillSpend",
        "gave tokens a price of a dollar each",
        dear_tokens,
        about={"provider": "openai"},
    ),
    Trouble(
        "DocmillEmptyBatches",
        "uploaded small files one after the other, with 2,048 texts in a full request",
        requests_of_one_text,
    ),
    Trouble("DocmillWorkerMemory", "started a worker that holds 420 MB more", worker_grows),
    Trouble(
        "DocmillEventsWait",
        "locked the table of documents during a thousand uploads",
        documents_locked,
        frozenset({"DocmillTrouble", "DocmillScheduleSilent"}),
    ),
    Trouble(
        "DocmillDrainBehind",
        "kept the rows of a thousand withdrawn documents locked",
        drain_held_up,
    ),
    Trouble("DocmillNoSpace", "filled the disk of the spool folder", disk_full),
)


@dataclass
class Fired:
    """How an alert fired and ended, in seconds of Prometheus' time."""

    alert: str
    done: str
    fired_after: float = 0.0
    ended_after: float = 0.0
    with_it: list[str] = field(default_factory=list)


def watch_sound(stand: Stand, scrapes: int) -> None:
    """Fail if anything fires while documents are ingested and nothing is wrong."""
    upload = every(4, stand.upload)
    for _ in range(scrapes):
        upload()
        firing = stand.watch.scrape()
        assert not firing, f"fires on a sound installation: {said(firing)}"


def try_alert(stand: Stand, trouble: Trouble) -> Fired:
    """Make a trouble, wait for its alert, mend it, wait for the end.

    Raises AssertionError if it does not fire or end, or if another one does that is not expected.
    """
    fired = Fired(trouble.alert, trouble.done)
    until(lambda: not stand.count("ingest_private.job_queue"), "no job under way", 120)
    seen: set[Alert] = set()
    start = stand.watch.time
    with contextmanager(trouble.make)(stand) as meanwhile:
        _scrape_until(stand, seen, lambda: any(map(trouble.is_said_by, seen)), meanwhile)
        fired.fired_after = stand.watch.time - start
    start = stand.watch.time
    _scrape_until(stand, seen, lambda: not stand.watch.alerts.active)
    fired.ended_after = stand.watch.time - start
    fired.with_it = sorted({alert.name for alert in seen} - {trouble.alert})
    unexpected = {alert for alert in seen if alert.name not in {trouble.alert, *trouble.also}}
    assert not unexpected, f"{trouble.alert}: fired too: {said(unexpected)}"
    return fired


def _scrape_until(
    stand: Stand, seen: set[Alert], is_over: Callable[[], bool], meanwhile: Meanwhile = nothing
) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        seen |= stand.watch.scrape()
        if is_over():
            return
        assert time.monotonic() < deadline, (
            f"not within {PATIENCE_SECONDS:.0f} s; active: {said(stand.watch.alerts.active)}, "
            f"fired: {said(seen)}\n{stand.installation.logs()[-3000:]}"
        )
        meanwhile()


def said(alerts: set[Alert]) -> str:
    """Alerts in words."""
    return ", ".join(sorted(map(str, alerts))) or "none"


@contextmanager
def running_stand(installation: Installation) -> Iterator[Stand]:
    """All processes, scraped."""
    stand = Stand(installation)
    try:
        yield stand
    finally:
        stand.watch.close()


def main() -> int:
    """Try the alerts, print a line for each, and keep them for docs/metrics.md."""
    parser = argparse.ArgumentParser(description="each alert for its trouble")
    parser.add_argument("--only", nargs="+", default=NAMES, choices=NAMES, metavar="ALERT")
    parser.add_argument("--sound", type=int, default=SOUND_SCRAPES, help="scrapes without trouble")
    parser.add_argument("--record", action="store_true", help="for docs/metrics.md")
    options = parser.parse_args()
    results, broken = [], 0
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o755)
        postgres = stack.enter_context(own_postgres(folder / "postgres"))
        redis = stack.enter_context(own_redis(folder / "redis"))
        database = stack.enter_context(make_database(postgres.server, "project"))
        installation = stack.enter_context(install(database, redis, folder))
        stand = stack.enter_context(running_stand(installation))
        watch_sound(stand, options.sound)
        minutes = options.sound * SCRAPE_SECONDS / 60
        print(f"nothing fired in {minutes:.0f} minutes without trouble", flush=True)
        for trouble in [one for one in TROUBLES if one.alert in options.only]:
            began = time.monotonic()
            try:
                results.append(fired := try_alert(stand, trouble))
            except AssertionError as failure:
                print(f"{trouble.alert}: BROKEN: {failure}", flush=True)
                broken += 1
                break  # the installation is not sound any more
            else:
                took = time.monotonic() - began
                print(
                    f"{fired.alert}: fired after {fired.fired_after:.0f} s, ended after "
                    f"{fired.ended_after:.0f} s, with {fired.with_it or 'no other'}; "
                    f"{took:.0f} real seconds",
                    flush=True,
                )
    if options.record:
        kept = {row["alert"]: row for row in recorded().get("alerts", {}).get("figures", [])}
        kept |= {fired.alert: asdict(fired) for fired in results}
        record("alerts", [kept[name] for name in NAMES if name in kept], factor=FACTOR)
        write_table()
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(main())
