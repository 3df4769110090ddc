"""An installation that can hold documents at any stage, chosen by their names or texts."""

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Final, Literal

from docmill.embedded.process import ChildProcess
from tests.faults.documents import FILLER
from tests.support.fake_openai import Answer
from tests.support.installation import ALICE, SHORT_LEASE, Installation, until
from tests.support.proxy import Proxy

#: Whether to run all injections, or only a few.
FULL: Final = os.environ.get("DOCMILL_FAULTS_FULL") == "1"
LEASE_SECONDS: Final = float(SHORT_LEASE["DOCMILL_LEASE_SECONDS"])
#: Seconds from a death to the next run: the lease, and the time to notice. `make faults` has the
#: machine for itself; beside other tests a worker takes ten times as long to start.
RECOVERY_SECONDS: Final = LEASE_SECONDS + (15 if FULL else 57)

#: Counts of `Stack.note` in this session, for docs/guarantees.md.
LEDGER: Final[list[dict[str, Any]]] = []

Stage = Literal["download", "embed", "publish", "commit"]
_LOCKS: Final = {"publish": 4711, "commit": 4712}

_HOLDS: Final = b"""
    create function public.hold_publish() returns trigger language plpgsql as $$
    begin
        if new.content like '%hold publish%' then
            perform pg_advisory_xact_lock_shared(4711);
        end if;
        return new;
    end $$;
    create trigger hold before insert on ingest_private.chunks_1
       for each row execute function public.hold_publish();
    create function public.hold_commit() returns trigger language plpgsql as $$
    begin
        perform pg_advisory_xact_lock_shared(4712);
        return null;
    end $$;
    create constraint trigger hold after update on ingest.jobs
       deferrable initially deferred for each row
       when (new.state = 'succeeded' and new.object_name like '%commit%')
       execute function public.hold_commit();
    -- Mishaps of Postgres while chunks are staged: the next ones, by their SQLSTATE.
    create table public.mishaps (sqlstate text);
    create sequence public.mishap;
    create function public.stage_with_mishap() returns trigger language plpgsql security definer
    set search_path = pg_catalog, pg_temp as $$
    declare
        v_code text := (select array_agg(sqlstate) from public.mishaps)[
            nextval('public.mishap')::integer];
    begin
        if v_code is not null then
            raise exception 'mishap' using errcode = v_code;
        end if;
        return null;
    end $$;
    create trigger mishap after insert on ingest_private.staged_chunks
       for each row execute function public.stage_with_mishap();
"""


def sections(subject: str, count: int) -> str:
    """A document with this many chunks."""
    return "\n".join(f"# Part {n}\n\n{subject}, part {n}. {FILLER}\n" for n in range(count))


class Stack:
    """Webhook, beat, a worker that can be replaced, and an isolated worker."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        self.storage_way = Proxy(installation.storage.settings.port)
        self.database_way = Proxy(installation.database.server.port)
        self.worker: ChildProcess
        self.isolated: ChildProcess
        #: Called for each request before the provider answers.
        self.on_request: Callable[[Sequence[str]], Answer | None] = lambda _texts: None
        self._embedding = threading.Event()
        self._embedding.set()
        self._held_requests = 0
        self._names = iter(range(10_000))
        installation.openai.respond = self._respond
        with installation.database.connect() as connection:
            connection.execute(_HOLDS)
        installation.start("beat")
        installation.start_webhook()
        self.start_worker()
        self.start_isolated()

    def close(self) -> None:
        """Release everything."""
        self._embedding.set()
        self.storage_way.close()
        self.database_way.close()

    def start_worker(self, **settings: str) -> None:
        """Start a worker whose connections to Storage and Postgres can be blocked."""
        url = self.installation.settings["DATABASE_URL"]
        port = f":{self.installation.database.server.port}/"
        ways = {
            "SUPABASE_URL": f"http://127.0.0.1:{self.storage_way.port}",
            "DATABASE_URL": url.replace(port, f":{self.database_way.port}/"),
            # What fails in an outage is logged for debugging only.
            "DOCMILL_LOG_LEVEL": "debug",
        }
        self.worker = self.installation.start_worker(isolated=False, **(ways | settings))

    def start_isolated(self) -> None:
        """Start the worker for jobs that lost a worker."""
        self.isolated = self.installation.start_worker(isolated=True)

    def kill_worker(self) -> float:
        """Kill all its processes at once, like a container that runs out of memory."""
        moment = time.time()
        os.killpg(self.worker.pid, signal.SIGKILL)
        self.worker.process.wait()
        return moment

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """While this is open, the worker does nothing."""
        worker = self.worker
        os.kill(worker.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(worker.pid, signal.SIGCONT)

    def keep_worker_for_a_minute(self) -> None:
        """Keep a frozen worker alive even without hints for it."""
        kept = self.installation.rows(
            """update ingest_private.workers set expires_at = now() + interval '1 minute'
                where split_part(id, ':', 2) = %s returning expires_at""",
            str(self.worker.pid),
        )
        assert kept, "the worker was given up before"

    # -- documents

    def upload(self, subject: str, count: int = 1, *, name: str = "") -> str:
        """Upload a document with this many chunks; return its name."""
        name = name or f"{next(self._names)} {subject}.md"
        return self.installation.upload(ALICE, name, sections(f"{name} is {subject}", count))

    def fresh_name(self, subject: str) -> str:
        """A name that no document has."""
        return f"{next(self._names)} {subject}.md"

    def succeed(self, *names: str, timeout: float = 180) -> list[dict[str, Any]]:
        """The newest jobs of these documents, once they have succeeded."""
        jobs = [self.installation.wait_for_job(name, timeout=timeout) for name in names]
        assert [job["state"] for job in jobs] == ["succeeded"] * len(jobs), jobs
        return jobs

    def runs(self, job: dict[str, Any]) -> list[tuple[str, bool]]:
        """How each run of a job ended, and whether it was isolated."""
        return [(run["outcome"], run["isolated"]) for run in self._runs(job)]

    def _runs(self, job: dict[str, Any]) -> list[dict[str, Any]]:
        return self.installation.rows(
            """select outcome, isolated, extract(epoch from started_at)::float as started
                 from ingest_private.attempts where job_id = %s order by id""",
            job["id"],
        )

    def recovery(self, job: dict[str, Any], moment: float) -> float:
        """Seconds from a moment to the next run of a job."""
        starts = [float(run["started"]) for run in self._runs(job)]
        return min(start for start in starts if start > moment) - moment

    def chunks(self, name: str) -> list[str]:
        """The searchable chunks of a document, in order."""
        return [
            row["content"]
            for row in self.installation.rows(
                """select chunk.content from ingest.documents as document
                     join ingest.chunk_positions as position on position.document_id = document.id
                     join ingest.chunks as chunk on chunk.index_version = position.index_version
                                                and chunk.id = position.chunk_id
                    where document.object_name = %s order by position.ordinal""",
                name,
            )
        ]

    def is_whole(self, name: str, count: int) -> None:
        """Check that a document has this many chunks, each in its place and none twice."""
        found = self.chunks(name)
        assert [f", part {n}." in text for n, text in enumerate(found)] == [True] * count, found
        (row,) = self.installation.rows(
            """select count(*) from ingest.chunks as chunk join ingest.documents as document
                   on document.id = chunk.document_id where object_name = %s""",
            name,
        )
        assert row["count"] == count

    def asked(self, name: str) -> Counter[str]:
        """How often each text of a document was requested from the provider."""
        own = name.rpartition("/")[2]
        return Counter(text for text in self.installation.openai.texts if f"{own} is " in text)

    def note(self, fault: str, *names: str, recovery: float | None = None) -> None:
        """Count one more injection of a fault, and its effect on these documents."""
        (counted,) = self.installation.rows(
            """select (select count(*) from ingest.jobs where object_name = any(%s)) as jobs,
                      (select count(*) from storage.objects as object
                         left join ingest.documents as document on document.object_id = object.id
                         left join ingest_private.published_versions as published
                                on published.document_id = document.id
                        where object.name = any(%s)
                          and document.status is distinct from 'failed'
                          and (document.status, published.storage_version)
                              is distinct from ('ready', object.version)) as lost,
                      (select count(*) from (
                              select from ingest.chunks as chunk
                                join ingest.documents as document
                                  on document.id = chunk.document_id
                               where document.object_name = any(%s)
                               group by document.id, chunk.content having count(*) > 1)
                           as twice) as duplicated""",
            *[list(names)] * 3,
        )
        LEDGER.append({"fault": fault, "recovery": recovery, **counted})

    # -- holding

    def _respond(self, texts: list[str]) -> Answer | None:
        answer = self.on_request(texts)
        # Only the last part is held: those before it are staged.
        if any("hold embed" in text and ", part 2." in text for text in texts):
            self._held_requests += 1
            self._embedding.wait(180)
            self._held_requests -= 1
        return answer

    @contextmanager
    def holding(self, stage: Stage) -> Iterator[None]:
        """While this is open, documents stay in this stage (see `wait_for`)."""
        if stage == "download":
            with self.storage_way.held():
                yield
        elif stage == "embed":
            self._embedding.clear()
            try:
                yield
            finally:
                self._embedding.set()
        else:
            with self.installation.database.connect() as connection:
                connection.execute("select pg_advisory_lock(%s)", [_LOCKS[stage]])
                yield

    def let_embed(self) -> None:
        """End the holding of `embed` before its block ends."""
        self._embedding.set()

    def wait_for(self, stage: Stage, count: int) -> None:
        """Return when this many documents are held in a stage."""
        until(lambda: self._held(stage) >= count, f"{count} documents held in {stage}", 30)

    def _held(self, stage: Stage) -> int:
        if stage == "embed":
            return self._held_requests
        if stage == "download":
            query = "select count(*) from ingest.jobs where stage = 'downloading'"
            return int(self.installation.rows(query)[0]["count"])
        query = "select count(*) from pg_locks where locktype = 'advisory' and objid = %s"
        waiting = self.installation.rows(f"{query} and not granted", _LOCKS[stage])
        return int(waiting[0]["count"])

    def break_connection(self, stage: Literal["publish", "commit"], *, at_most: int) -> None:
        """End database sessions that are held in a stage: their transactions are rolled back."""
        self.installation.rows(
            """select pg_terminate_backend(pid)
                 from (select pid from pg_locks
                        where locktype = 'advisory' and objid = %s and not granted
                        limit %s) as held""",
            *(_LOCKS[stage], at_most),
        )


@contextmanager
def running_stack(installation: Installation) -> Iterator[Stack]:
    """The stack of an installation."""
    with ExitStack() as stack:
        made = Stack(installation)
        stack.callback(made.close)
        yield made
