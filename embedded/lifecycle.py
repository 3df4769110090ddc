"""Starts the embedded stack, watches it, and stops only what it started."""

import fcntl
import json
import os
import shutil
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Final

import psycopg
from psycopg import sql

from docmill.embedded.api import ApiSettings, EmbeddingKeys, OwnFunction
from docmill.embedded.auth import AuthSettings, install_users
from docmill.embedded.embedding import LOCAL, Embedding
from docmill.embedded.own_project import project_folder, run_migrations, start_functions
from docmill.embedded.postgres import PostgresServer, start_postgres
from docmill.embedded.process import (
    ChildProcess,
    free_port,
    log_tail,
    never_stops,
    port_is_free,
    start_child,
)
from docmill.embedded.redis import RedisServer, start_redis
from docmill.embedded.rest import RestSettings
from docmill.embedded.stack import (
    DEFAULT_BUCKET,
    DEMO_USERS,
    LOCK_NAME,
    SERVICES,
    Keys,
    Ports,
    StackInfo,
    load_keys,
    lock_holder,
    process_start_time,
    temporary_folder,
    write_info,
    write_private,
)
from docmill.embedded.storage import StorageSettings, install_webhook
from docmill.embedded.supabase import LOGIN_ROLES, bootstrap_supabase, set_password
from docmill.embedded.tokens import api_keys
from docmill.embedded.watched import WatchedChild
from docmill.worker.admin.schema import apply_schema
from docmill.worker.admin.sources import add_source
from docmill.worker.admin.status import list_workers
from docmill.worker.asking import servers_of
from docmill.worker.errors import ServiceError
from docmill.worker.ports import StopCheck
from docmill.worker.settings.environment import load_settings, variables_read
from docmill.worker.settings.parts import PREFIX, ChatSettings, DocumentSettings, ProviderSettings
from docmill.worker.settings.processes import PROCESSES
from docmill.worker.store.maintenance import active_index_version

READY_SECONDS: Final = 90.0

#: Users may do anything with their own objects in the default bucket, as in most projects.
_BUCKET_POLICIES: Final = """
    create policy "own documents: read" on storage.objects for select to authenticated
        using (bucket_id = {bucket} and owner_id = ((select auth.jwt()) ->> 'sub'));
    create policy "own documents: write" on storage.objects for insert to authenticated
        with check (bucket_id = {bucket} and owner_id = ((select auth.jwt()) ->> 'sub')
                    and (storage.foldername(name))[1] = ((select auth.jwt()) ->> 'sub'));
    create policy "own documents: change" on storage.objects for update to authenticated
        using (bucket_id = {bucket} and owner_id = ((select auth.jwt()) ->> 'sub'))
        with check (bucket_id = {bucket} and owner_id = ((select auth.jwt()) ->> 'sub')
                    and (storage.foldername(name))[1] = ((select auth.jwt()) ->> 'sub'));
    create policy "own documents: delete" on storage.objects for delete to authenticated
        using (bucket_id = {bucket} and owner_id = ((select auth.jwt()) ->> 'sub'));
"""


class EmbeddedStack:
    """PostgreSQL, Redis, the API and docmill's own processes, as child processes.

    Start it from the main thread: the children get a signal when the thread that started them ends.
    """

    def __init__(
        self,
        home: Path,
        *,
        flower: bool = True,
        embedding: Embedding | None = None,
        check: StopCheck = never_stops,
    ) -> None:
        """Without Flower the start is a little faster; without `embedding` the local model embeds.

        `check` is called during the start; if it raises, everything that was started is stopped.
        """
        self.home = home
        self._has_flower = flower
        self._embedding = embedding or LOCAL
        self._check = check
        self._stops = ExitStack()
        self._watched: dict[str, WatchedChild] = {}

    @contextmanager
    def running(self) -> Iterator[StackInfo]:
        """Start everything and wait until it is ready; at the end stop it in reverse order.

        Raises ServiceError if a stack already runs on this folder or a part does not start.
        """
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._stops:
            self._lock()
            yield self._start()

    def restart_ended(self) -> list[str]:
        """Start parts that ended by themselves again, in their place; return the names.

        Never waits.
        """
        return [name for name, watched in self._watched.items() if watched.restart()]

    def hurry(self) -> None:
        """Kill docmill's own processes, which may be waiting for jobs. Safe in a signal handler."""
        for name in (*SERVICES, "api"):
            if name in self._watched:
                self._watched[name].child.process.kill()

    def _lock(self) -> None:
        lock = self._stops.enter_context((self.home / LOCK_NAME).open("a"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = lock_holder(self.home)
            who = f" (process {holder.pid})" if holder else ""
            raise ServiceError(f"a stack already runs on {self.home}{who}: docmill down") from None
        lock.truncate(0)
        lock.write(f"{os.getpid()} {process_start_time(os.getpid())}")
        lock.flush()

    def _start(self) -> StackInfo:
        keys = load_keys(self.home)
        ports = _choose_ports(self.home)
        postgres = start_postgres(self.home / "postgres", port=ports.postgres, check=self._check)
        self._stops.callback(postgres.data.wait_until_free)
        self._watch(postgres.child, may_start=postgres.data.is_free)
        redis = start_redis(self.home / "redis", port=ports.redis, check=self._check)
        self._watch(redis.child)
        info = _info(self.home, redis, ports, keys, self._embedding)
        prepare_database(postgres, info, self._embedding)
        run_migrations(postgres, project_folder(self.home))
        self._stops.callback((self.home / "stack.json").unlink, missing_ok=True)
        self._start_services(info)
        self._wait_until_ready(info)
        write_info(self.home, info)
        return info

    def _watch(self, child: ChildProcess, *, may_start: Callable[[], bool] = lambda: True) -> None:
        watched = self._watched[child.name] = WatchedChild(child, may_start=may_start)
        self._stops.callback(watched.stop)

    def _start_services(self, info: StackInfo) -> None:
        folders = self._own_folders()
        environ = {**_base_environ(), "TMPDIR": folders["TMPDIR"]}
        settings = {
            **self._embedding.secrets,
            **info.environ(),
            **info.flower_environ(),
            **folders,
        }
        api_settings = _api_settings(info, self._embedding)
        functions = self._start_own_functions(info)
        own = {"api": replace(api_settings, own_functions=functions).environ()}
        own |= {name: _settings_of(arguments[0], settings) for name, arguments in SERVICES.items()}
        for name, command in self._commands().items():
            self._check()
            child = start_child(
                name,
                command,
                log_path=self.home / "logs" / f"{name}.log",
                environ={**environ, **own[name]},
            )
            self._watch(child)
        # These end in parallel; the parts that they need end after them, one after the other.
        self._stops.callback(self._ask_services_to_stop)

    def _start_own_functions(self, info: StackInfo) -> tuple[OwnFunction, ...]:
        environ = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        functions = []
        for function, child in start_functions(self.home, info, environ):
            if child is not None:
                self._watch(child)
            functions.append(function)
        return tuple(functions)

    def _ask_services_to_stop(self) -> None:
        for name in SERVICES:
            if name in self._watched:
                self._watched[name].ask_to_stop()

    def _own_folders(self) -> dict[str, str]:
        # Processes leave temporary files here; the next start removes them at the latest.
        temporary = temporary_folder(self.home)
        if temporary.parent == self.home:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(mode=0o700, exist_ok=True)
        spool = os.environ.get("DOCMILL_SPOOL_DIR") or str(temporary)
        return {"TMPDIR": str(temporary), "DOCMILL_SPOOL_DIR": spool}

    def _commands(self) -> dict[str, list[str]]:
        commands = {"api": [sys.executable, "-m", "docmill.embedded.api"]}
        for name, arguments in SERVICES.items():
            if name != "flower" or self._has_flower:
                commands[name] = [sys.executable, "-m", "docmill", *arguments]
        return commands

    def _wait_until_ready(self, info: StackInfo) -> None:
        checks: dict[str, Callable[[], bool]] = {
            "api": lambda: _answers(f"{info.api_url}/status"),
            "webhook": lambda: _answers(f"http://127.0.0.1:{info.ports.webhook}/readyz"),
            "worker": lambda: _has_worker(info, isolated=False),
            "isolated": lambda: _has_worker(info, isolated=True),
            "flower": lambda: not self._has_flower or _answers(f"{info.flower_url}/healthcheck"),
        }
        deadline = time.monotonic() + READY_SECONDS
        for name, is_ready in checks.items():
            while not is_ready():
                self._check()
                child = self._watched[name].child
                if child.ended() or time.monotonic() > deadline:
                    raise ServiceError(f"{name} did not start:\n{log_tail(child.log_path)}")
                time.sleep(0.05)


def _settings_of(process: str, settings: Mapping[str, str]) -> dict[str, str]:
    """The variables that a process reads, so that it gets no key that it does not need."""
    read = variables_read(PROCESSES[process])
    return {name: value for name, value in settings.items() if name in read}


def _info(
    home: Path, redis: RedisServer, ports: Ports, keys: Keys, embedding: Embedding
) -> StackInfo:
    started = process_start_time(os.getpid())
    assert started is not None
    return StackInfo(os.getpid(), started, str(home), ports, keys, redis.url, embedding.plain)


def _choose_ports(home: Path) -> Ports:
    # Use the same ports as last time if they are free: addresses in a client's settings stay valid.
    path = home / "ports.json"
    wanted = json.loads(path.read_text()) if path.exists() else {}
    chosen = {
        name: wanted[name] if name in wanted and port_is_free(wanted[name]) else free_port()
        for name in (field.name for field in fields(Ports))
    }
    write_private(path, json.dumps(chosen))
    return Ports(**chosen)


def prepare_database(postgres: PostgresServer, info: StackInfo, embedding: Embedding) -> None:
    """Make the database a Supabase project with docmill's schema. Repeatable.

    Raises SettingsError if no configured provider can embed for the existing index.
    """
    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        is_new = _scalar(connection, "select to_regclass('storage.objects') is null")
    if is_new:
        bootstrap_supabase(postgres)
    for role in LOGIN_ROLES:
        set_password(postgres, role, info.keys.role_password)
    with psycopg.connect(info.database_url("postgres")) as connection:
        apply_schema(connection, embedding.index)
        active = active_index_version(connection)
    if active is not None:
        embedding.check(active.provider)
    set_password(postgres, "docmill_worker", info.keys.role_password)
    _add_default_bucket(postgres)
    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        install_webhook(
            connection,
            f"http://127.0.0.1:{info.ports.webhook}/webhooks/storage",
            info.keys.webhook_secret,
        )
        install_users(connection, DEMO_USERS)


def _add_default_bucket(postgres: PostgresServer) -> None:
    with psycopg.connect(postgres.url()) as connection:
        # Removed sources stay as rows, so no rows means that no source was ever added.
        if _scalar(connection, "select exists (select from ingest_private.sources)"):
            return
        connection.execute(
            "insert into storage.buckets (id, name) values (%s, %s)",
            [DEFAULT_BUCKET, DEFAULT_BUCKET],
        )
        connection.execute(sql.SQL(_BUCKET_POLICIES).format(bucket=sql.Literal(DEFAULT_BUCKET)))
        add_source(
            connection,
            {
                "bucket_id": DEFAULT_BUCKET,
                "prefix": "",
                "owner_from": "uploader",
                "access": "owner",
                "priority": 5,
                "weight": 1,
                "max_bytes": None,
            },
        )


def _scalar(connection: "psycopg.Connection[tuple[object, ...]]", query: str) -> object:
    row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def _base_environ() -> dict[str, str]:
    # The embedded stack ignores settings of another installation in this shell. It uses keys of
    # providers, but gives each process only those that it needs.
    foreign = ("DATABASE_URL", "REDIS_URL", "SUPABASE_", "CHAT_", "RERANK_", "ADMIN_DATABASE_URL")
    providers = variables_read(ProviderSettings) | {"DOCMILL_EMBEDDER"}
    return {
        name: value
        for name, value in os.environ.items()
        if name not in providers
        and not name.removeprefix(PREFIX).startswith((*foreign, "ADMIN_DATABASE_URL", "METRICS_"))
    }


def _api_settings(info: StackInfo, embedding: Embedding) -> ApiSettings:
    return ApiSettings(
        api_keys(info),
        StorageSettings(
            info.database_url("supabase_storage_admin"),
            Path(info.home) / "objects",
            max_file_bytes=load_settings(DocumentSettings).max_document_bytes,
        ),
        RestSettings(info.database_url("authenticator")),
        AuthSettings(info.database_url("supabase_auth_admin"), info.keys.demo_password),
        console_bucket=DEFAULT_BUCKET,
        console_hint=(
            f"Users of this machine: {', '.join(DEMO_USERS.values())}. "
            "docmill status shows their password."
        ),
        asking=servers_of(load_settings(ChatSettings)),
        embedding=EmbeddingKeys.of(embedding.settings),
        port=info.ports.api,
    )


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:  # noqa: S310 -- our own URL
            return bool(response.status < 400)
    except OSError:
        return False


def _has_worker(info: StackInfo, *, isolated: bool) -> bool:
    with psycopg.connect(info.database_url("postgres"), autocommit=True) as connection:
        return any(worker["isolated"] == isolated for worker in list_workers(connection))
