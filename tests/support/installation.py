"""docmill as it really runs: its processes with their own database, Redis and Storage."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import redis as redis_client
from psycopg.rows import dict_row
from supabase import Client, create_client

from docmill.embedded.api import ApiServer
from docmill.embedded.process import ChildProcess, free_port, log_tail, start_child
from docmill.embedded.redis import RedisServer
from docmill.embedded.stack import SERVICES
from docmill.embedded.storage import install_webhook
from docmill.worker.admin.schema import apply_schema
from docmill.worker.models import IndexSettings
from tests.support.api import KEYS, start_test_api, user_client
from tests.support.database import Database, as_client
from tests.support.fake_openai import DIMENSIONS, MODEL, FakeOpenAI, vector_of

SECRET_KEY = KEYS.secret_key
WEBHOOK_SECRET = "webhook-canary"
FLOWER_LOGIN = ("operator", "flower-canary")
BUCKET = "docs"
T = TypeVar("T")
ALICE = "11111111-1111-4111-8111-111111111111"
BOB = "22222222-2222-4222-8222-222222222222"

#: Short times. A lease lasts longer than a busy machine keeps a worker from renewing it: a job that
#: loses its worker goes on in an isolated worker only, and most tests have none.
FAST = {
    "DOCMILL_LEASE_SECONDS": "20",
    "DOCMILL_RESEND_SECONDS": "2",
    "DOCMILL_DISPATCH_SECONDS": "0.5",
    "DOCMILL_RESCUE_SECONDS": "0.5",
    "DOCMILL_RETRY_BASE_SECONDS": "0.2",
    "DOCMILL_RETRY_MAX_SECONDS": "2",
    "DOCMILL_DRAIN_SECONDS": "5",
    "DOCMILL_SLOTS": "8",
}

#: For workers that die or are cut off, beside an isolated worker: a rescue comes soon.
SHORT_LEASE = {"DOCMILL_LEASE_SECONDS": "3"}

POLICIES = """
    create policy own_read on storage.objects for select to authenticated
        using (owner_id = ((select auth.jwt()) ->> 'sub'));
    create policy own_write on storage.objects for insert to authenticated
        with check ((storage.foldername(name))[1] = ((select auth.jwt()) ->> 'sub'));
    create policy own_update on storage.objects for update to authenticated
        using (owner_id = ((select auth.jwt()) ->> 'sub'))
        with check ((storage.foldername(name))[1] = ((select auth.jwt()) ->> 'sub'));
    create policy own_delete on storage.objects for delete to authenticated
        using (owner_id = ((select auth.jwt()) ->> 'sub'));
"""


def until(probe: Callable[[], T | None], what: str, timeout: float = 180) -> T:
    """The first value of `probe` that is neither None nor False."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        value = probe()
        if value is not None and value is not False:
            return value
        time.sleep(0.05)
    raise AssertionError(f"{what}: not within {timeout} s")


@dataclass
class Installation:
    """The processes, and helpers for tests."""

    database: Database
    redis: RedisServer
    storage: ApiServer
    openai: FakeOpenAI
    folder: Path
    webhook_port: int
    settings: dict[str, str]
    flower_port: int = field(default_factory=free_port)
    children: list[ChildProcess] = field(default_factory=list)
    program: tuple[str, ...] = (sys.executable, "-m", "docmill")

    # -- processes

    def environ(self) -> dict[str, str]:
        """The environment of docmill's processes: only settings of this installation."""
        inherited = {
            name: value
            for name, value in os.environ.items()
            if name in ("PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV")
        }
        return inherited | self.settings

    def docmill(self, *arguments: str, fails: bool | None = False) -> str:
        """The output of `docmill ARGUMENTS`.

        `fails`: whether it must end with an error; None: both are allowed.
        """
        done = subprocess.run(
            [sys.executable, "-m", "docmill", *arguments],
            env=self.environ(),
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        said = done.stdout + done.stderr
        assert fails is None or (done.returncode != 0) == fails, said
        return said if fails else done.stdout

    def docmill_rows(self, *arguments: str, fails: bool | None = False) -> list[dict[str, Any]]:
        """The rows that it prints with --json."""
        said = self.docmill(*arguments, "--json", fails=fails)
        return [json.loads(line) for line in said.splitlines()]

    def start(self, *arguments: str, **settings: str) -> ChildProcess:
        """Start `docmill ARGUMENTS`."""
        name = f"{arguments[0]}-{len(self.children)}"
        child = start_child(
            name,
            [*self.program, *arguments],
            log_path=self.folder / f"{name}.log",
            environ=self.environ() | settings,
        )
        self.children.append(child)
        return child

    def start_worker(self, *, isolated: bool = False, **settings: str) -> ChildProcess:
        """Start a worker and wait until it takes jobs."""
        before = {row["id"] for row in self.workers()}
        child = self.start(*SERVICES["isolated" if isolated else "worker"], **settings)

        def is_ready() -> bool:
            assert not child.ended(), log_tail(child.log_path)
            return any(
                row["id"] not in before and row["isolated"] == isolated for row in self.workers()
            )

        until(is_ready, "worker")
        until(lambda: "worker_ready" in child.log_path.read_text(), "worker ready")
        return child

    def start_webhook(self) -> ChildProcess:
        """Start the receiver and wait until it listens."""
        import httpx

        child = self.start(*SERVICES["webhook"])

        def is_ready() -> bool:
            assert not child.ended(), log_tail(child.log_path)
            try:
                return httpx.get(f"{self.webhook_url}/readyz").status_code == 200
            except httpx.HTTPError:
                return False

        until(is_ready, "webhook")
        return child

    def start_all(self) -> None:
        """Webhook, a worker, beat."""
        self.start(*SERVICES["beat"])
        self.start_webhook()
        self.start_worker()

    def start_flower(self) -> ChildProcess:
        """Start Flower behind a login; it listens a little later."""
        user, password = FLOWER_LOGIN
        return self.start(
            *SERVICES["flower"],
            DOCMILL_FLOWER_PORT=str(self.flower_port),
            DOCMILL_FLOWER_USER=user,
            DOCMILL_FLOWER_PASSWORD=password,
        )

    def start_redis_again(self) -> None:
        """Start Redis again on the same port, after it was killed."""
        self.children.insert(0, self.redis.child.start_again())

    def kill(self, child: ChildProcess) -> None:
        """End a process with SIGKILL, so that it cannot clean up."""
        os.kill(child.pid, signal.SIGKILL)
        child.process.wait()

    def logs(self) -> str:
        """The logs of all processes so far."""
        return "\n".join(
            child.log_path.read_text(errors="replace")
            for child in self.children
            if child.log_path.exists()
        )

    @property
    def webhook_url(self) -> str:
        return f"http://127.0.0.1:{self.webhook_port}"

    @property
    def flower_url(self) -> str:
        return f"http://127.0.0.1:{self.flower_port}"

    # -- clients

    def client(self, sub: str | None) -> Client:
        """supabase-py as a user; with the secret key if `sub` is None."""
        if sub is None:
            return create_client(self.storage.url, SECRET_KEY)
        token = KEYS.sign({"sub": sub, "role": "authenticated"}, seconds=3600)
        return user_client(self.storage.url, token)

    def upload(self, sub: str, name: str, content: str | bytes) -> str:
        """Upload or replace a file in the user's folder; return the object's name."""
        full = f"{sub}/{name}"
        data = content.encode() if isinstance(content, str) else content
        self.client(sub).storage.from_(BUCKET).upload(full, data, {"upsert": "true"})
        return full

    def search(self, sub: str, text: str, limit: int = 5) -> list[dict[str, Any]]:
        """The chunks that this user finds."""
        embedding = "[" + ",".join(map(repr, vector_of(text).tolist())) + "]"
        with as_client(self.database, {"sub": sub}, read_only=True) as connection:
            cursor = connection.cursor(row_factory=dict_row)
            return cursor.execute(
                "select * from ingest.match_chunks(%s, %s, %s)", [embedding, MODEL, limit]
            ).fetchall()

    # -- reading the database

    def rows(self, query: str, *parameters: Any) -> list[dict[str, Any]]:
        """Rows that the superuser reads."""
        with self.database.connect() as connection:
            cursor = connection.cursor(row_factory=dict_row)
            return cursor.execute(query.encode(), parameters).fetchall()

    def workers(self) -> list[dict[str, Any]]:
        return self.rows("select id, isolated, draining from ingest_private.workers")

    def document(self, name: str) -> dict[str, Any] | None:
        rows = self.rows("select * from ingest.documents where object_name = %s", name)
        return rows[0] if rows else None

    def job(self, job_id: UUID) -> dict[str, Any]:
        return self.rows("select * from ingest.jobs where id = %s", job_id)[0]

    def latest_job(self, name: str) -> dict[str, Any] | None:
        rows = self.rows(
            "select job.* from ingest.jobs as job join ingest.documents as document"
            " on document.latest_job_id = job.id where document.object_name = %s",
            name,
        )
        return rows[0] if rows else None

    def wait_for_job(self, name: str, *states: str, timeout: float = 180) -> dict[str, Any]:
        """The newest job of a document once it is in one of these states (any final one)."""
        wanted = states or ("succeeded", "failed", "superseded", "cancelled")

        def probe() -> dict[str, Any] | None:
            job = self.latest_job(name)
            return job if job is not None and job["state"] in wanted else None

        try:
            return until(probe, f"job of {name} in {wanted}", timeout)
        except AssertionError as error:
            raise AssertionError(
                f"{error}: {self.latest_job(name)}\n{self.logs()[-6000:]}"
            ) from None

    @contextmanager
    def slow_publish(self) -> Iterator[None]:
        """While this is open, publishing one chunk takes a minute, as for a large document."""
        with self.database.connect() as connection:
            connection.execute(
                """create function public.doze() returns trigger language plpgsql as $$
                   begin perform pg_sleep(60); return new; end $$;
                   create trigger doze before insert on ingest_private.chunks_1
                      for each row execute function public.doze()"""
            )
            try:
                yield
            finally:
                connection.execute(
                    """select pg_terminate_backend(pid) from pg_stat_activity
                        where wait_event = 'PgSleep' and datname = current_database()"""
                )
                connection.execute("drop function public.doze cascade")

    def wait_for_publish(self) -> None:
        """Return when a worker is in the middle of a slow publish."""
        query = """select 1 from pg_stat_activity
                    where wait_event = 'PgSleep' and datname = current_database()"""
        until(lambda: bool(self.rows(query)), "a publish")

    def forget_hints(self) -> None:
        """Remove every message from Redis, as soon as it answers."""
        client = redis_client.Redis.from_url(self.settings["REDIS_URL"])

        def is_empty() -> bool:
            try:
                client.flushdb()
            except redis_client.ConnectionError:
                return False
            return True

        until(is_empty, "Redis")
        client.close()


def apply_current_schema(database: Database) -> None:
    """Apply this version's schema, with an index for the fake model."""
    with database.connect("postgres") as connection:
        apply_schema(connection, IndexSettings(MODEL, DIMENSIONS, {"max_tokens": 400}))


@contextmanager
def install(
    database: Database,
    redis: RedisServer,
    folder: Path,
    apply: Callable[[Database], None] = apply_current_schema,
    /,
    **settings: str,
) -> Iterator[Installation]:
    """An installation without running processes; at the end everything started is stopped.

    `database` is a project without docmill's schema; `apply` installs it.
    """
    with ExitStack() as stack:
        apply(database)
        openai = FakeOpenAI()
        stack.callback(openai.close)
        webhook_port = free_port()
        with database.connect() as connection:
            connection.execute(POLICIES)
            connection.execute("insert into storage.buckets (id, name) values ('docs', 'docs')")
            connection.execute("insert into ingest_private.sources (bucket_id) values ('docs')")
            install_webhook(
                connection, f"http://127.0.0.1:{webhook_port}/webhooks/storage", WEBHOOK_SECRET
            )
        storage = start_test_api(database, folder)
        stack.callback(storage.stop)
        installation = Installation(
            database,
            redis,
            storage,
            openai,
            folder,
            webhook_port,
            FAST
            | {
                "DATABASE_URL": database.url("docmill_worker"),
                "DOCMILL_ADMIN_DATABASE_URL": database.url("postgres"),
                "REDIS_URL": redis.url,
                "SUPABASE_URL": storage.url,
                "SUPABASE_SECRET_KEY": SECRET_KEY,
                "DOCMILL_WEBHOOK_SECRET": WEBHOOK_SECRET,
                "DOCMILL_WEBHOOK_PORT": str(webhook_port),
                "DOCMILL_EMBEDDER": "openai",
                "DOCMILL_EMBEDDING_MODEL": MODEL,
                "DOCMILL_EMBEDDING_DIMENSIONS": str(DIMENSIONS),
                "OPENAI_BASE_URL": openai.url,
                "OPENAI_API_KEY": "sk-canary-0123456789",
                "DOCMILL_SPOOL_DIR": str(folder),
            }
            | settings,
        )
        try:
            yield installation
        finally:
            openai.gate.set()
            for child in reversed(installation.children):
                child.stop()
