"""`docmill doctor`: checks every dependency, and says how to repair it."""

import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import psycopg

from docmill.cli.admin import admin_connection
from docmill.cli.context import running_stack, settings_in_use
from docmill.cli.exit_code import ExitCode
from docmill.cli.output import console, print_json
from docmill.cli.unexpected import explain_job_error, reason_of
from docmill.worker.errors import DocmillError, JobError, ServiceError
from docmill.worker.models import IndexVersion
from docmill.worker.settings.processes import Settings
from docmill.worker.store.database import require_database

State = Literal["ok", "warning", "failed"]


@dataclass(frozen=True)
class Finding:
    """One check: its state, what was seen, and what to do if it is not ok."""

    check: str
    state: State
    seen: str
    remedy: str | None = None


#: A check of a service gives one finding or several.
Check = Callable[[Settings], Finding | Iterable[Finding]]


def doctor(*, as_json: bool) -> int:
    """Check everything; exit code 1 when something has failed."""
    findings = list(_findings())
    for finding in findings:
        if as_json:
            print_json(vars(finding))
        else:
            _print(finding)
    failed = any(finding.state == "failed" for finding in findings)
    return ExitCode.FAILED if failed else ExitCode.DONE


def _print(finding: Finding) -> None:
    style = {"ok": "green", "warning": "yellow", "failed": "bold red"}[finding.state]
    console().print(f"{finding.state:8} {finding.check:22} {finding.seen}", style=style)
    if finding.remedy:
        console().print(f"{'':9}{finding.remedy}")


def _findings() -> Iterator[Finding]:
    yield _python()
    yield _network_namespaces()
    yield _process_namespaces()
    yield from _embedded_parts()
    try:
        settings = settings_in_use()
    except ServiceError as error:
        yield Finding("project", "warning", "none", str(error))
        return
    except DocmillError as error:
        yield Finding("settings", "failed", "invalid", str(error))
        return
    stack = running_stack()
    yield Finding("project", "ok", f"embedded stack, {stack.api_url}" if stack else "environment")
    for name, check in _SERVICE_CHECKS.items():
        yield from _guarded(name, check, settings)


def _guarded(name: str, check: Check, settings: Settings) -> list[Finding]:
    try:
        found = check(settings)
        return [found] if isinstance(found, Finding) else list(found)
    except JobError as error:
        return [Finding(name, "failed", *explain_job_error(error))]
    except DocmillError as error:
        return [Finding(name, "failed", "not usable", str(error))]
    except Exception as error:  # if one check fails, the others still run
        return [Finding(name, "failed", *_explain(error))]


def _explain(error: Exception) -> tuple[str, str]:
    if isinstance(error, psycopg.Error):
        return reason_of(error), "check DATABASE_URL and DOCMILL_ADMIN_DATABASE_URL"
    return (
        f"{type(error).__name__}: {reason_of(error)}",
        "an error that docmill does not know: report it with this line",
    )


def _python() -> Finding:
    version = platform.python_version()
    if sys.version_info[:2] in ((3, 11), (3, 12), (3, 13)):
        return Finding("python", "ok", version)
    return Finding("python", "failed", version, "use Python 3.11, 3.12 or 3.13")


def _network_namespaces() -> Finding:
    from docmill.embedded.launch import can_leave_network

    if can_leave_network():
        return Finding("network namespaces", "ok", "parsers run without a network")
    return Finding(
        "network namespaces",
        "warning",
        "not allowed here",
        "parsers can use the network; allow user namespaces, or run the worker without a network",
    )


def _process_namespaces() -> Finding:
    from docmill.embedded.launch import can_hide_processes

    if can_hide_processes():
        return Finding("process namespaces", "ok", "parsers see no other process")
    return Finding(
        "process namespaces",
        "warning",
        "not allowed here",
        "only filters keep parsers away from other processes; allow user namespaces",
    )


def _embedded_parts() -> Iterator[Finding]:
    from docmill.embedded.extra import REMEDY, missing_modules
    from docmill.embedded.redis import redis_binary

    missing = missing_modules()
    if missing:
        yield Finding(
            "embedded mode", "warning", f"no {', '.join(missing)}", f"to use it, {REMEDY}"
        )
    else:
        yield Finding("embedded mode", "ok", "installed")

    try:
        yield Finding("embedded redis", "ok", f"{redis_binary()}: for development only")
    except ServiceError as error:
        yield Finding("embedded redis", "warning", "not found", str(error))


def _database(settings: Settings) -> Finding:
    require_database(settings.require("database_url"), patience_seconds=0)
    with psycopg.connect(settings.require("database_url"), connect_timeout=10) as connection:
        row = connection.execute(
            "select current_user, current_setting('server_version'), rolsuper or rolbypassrls"
            "  from pg_roles where rolname = current_user"
        ).fetchone()
    assert row is not None
    user, version, too_mighty = row
    if too_mighty:
        return Finding(
            "database",
            "failed",
            f"PostgreSQL {version} as {user}",
            "workers log in as docmill_worker, not as a role that bypasses row-level security",
        )
    return Finding("database", "ok", f"PostgreSQL {version} as {user}")


def _schema(settings: Settings) -> Finding:
    from docmill.worker.admin.schema import check_schema

    with admin_connection(settings) as connection:
        problems = check_schema(connection)
    if problems:
        return Finding("schema", "failed", "not as expected", "; ".join(problems))
    return Finding("schema", "ok", "as this version expects")


def _doorbell(settings: Settings) -> Finding:
    from docmill.worker.admin.doorbell import read_doorbell, try_doorbell

    with admin_connection(settings) as connection:
        installed = read_doorbell(connection)
        if installed.url is None:
            return Finding("doorbell", "ok", _without_doorbell(settings))
        problem = installed.problem or try_doorbell(connection)
    if problem is None:
        return Finding("doorbell", "ok", f"{installed.url} answers")
    return Finding("doorbell", "failed", f"{installed.url} cannot be reached", problem)


def _without_doorbell(settings: Settings) -> str:
    return (
        f"not installed: uploads are looked for every {settings.dispatch_seconds:g} s, unless a "
        "Database Webhook reports them at once (docs/webhook.md)"
    )


def _receiver(settings: Settings) -> Finding:
    from docmill.worker.webhook.signatures import Verifier

    shared, signing = settings.webhook_secret, settings.webhook_signing_secrets
    if shared is None and not signing:
        return Finding("webhook secret", "ok", "not set here; docmill webhook needs one")
    Verifier(
        shared.get_secret_value() if shared else None,
        [secret.get_secret_value() for secret in signing],
    )
    return Finding("webhook secret", "ok", "set")


def _index(settings: Settings) -> Finding:
    index = _active_index(settings)
    seen = f"{index.id}: {index.model} of {index.provider}, {index.dimensions} dimensions"
    return Finding("index version", "ok", seen)


def _active_index(settings: Settings) -> IndexVersion:
    from docmill.worker.processes.connections import build_database
    from docmill.worker.processes.runtime import active_index

    require_database(settings.require("database_url"), patience_seconds=0)
    database = build_database(settings)
    database.open()
    try:
        return active_index(database)
    finally:
        database.close()


def _search(settings: Settings) -> Finding:
    from docmill.worker.admin.graph import read_graph

    if settings.admin_database_url is None:
        return Finding("search", "ok", "not checked: that needs the admin URL")
    with admin_connection(settings) as connection:
        graph = read_graph(connection)
    if graph is None:
        return Finding("search", "ok", "no index version yet")
    seen = f"{graph.largest:,} chunks of the largest owner, " + (
        "with an HNSW index" if graph.has_graph else "without an HNSW index"
    )
    if not graph.is_sketched:
        return Finding(
            "search", "warning", "workers are still sketching older chunks", "wait for them"
        )
    if graph.advice:
        return Finding("search", "warning", seen, f"docmill index hnsw {graph.advice}")
    return Finding("search", "ok", seen)


def _redis(settings: Settings) -> Finding:
    import redis

    client = redis.Redis.from_url(
        settings.require("redis_url"), socket_connect_timeout=5, socket_timeout=5
    )
    try:
        version = client.info("server")["redis_version"]
        policy = client.config_get("maxmemory-policy").get("maxmemory-policy", "")
    except redis.ResponseError:  # managed servers forbid CONFIG
        return Finding("redis", "ok", "answers")
    except redis.AuthenticationError as error:
        remedy = "put the user and the password of Redis into REDIS_URL"
        return Finding("redis", "failed", reason_of(error), remedy)
    except redis.RedisError as error:
        remedy = "start Redis, or set REDIS_URL to its address"
        return Finding("redis", "failed", reason_of(error), remedy)
    finally:
        client.close()
    if policy not in ("", "noeviction"):
        return Finding(
            "redis",
            "warning",
            f"{version}, maxmemory-policy {policy}",
            "set maxmemory-policy noeviction: an evicted queue binding loses messages in silence",
        )
    return Finding("redis", "ok", version)


def _storage(settings: Settings) -> Finding:
    import httpx

    url, key = settings.require("supabase_url"), settings.require("supabase_secret_key")
    try:
        response = httpx.get(
            f"{url.rstrip('/')}/storage/v1/bucket",
            headers={"apikey": key, "Authorization": f"Bearer {key}"},
            timeout=10,
        )
    except httpx.HTTPError as error:
        seen = f"{url} does not answer ({reason_of(error)})"
        return Finding("storage", "failed", seen, "check SUPABASE_URL and this machine's network")
    if response.status_code in (400, 401, 403):
        return Finding(
            "storage",
            "failed",
            f"the key is refused (status {response.status_code})",
            "set SUPABASE_SECRET_KEY to a secret key of this project (Settings, API Keys)",
        )
    if response.status_code != httpx.codes.OK:
        seen = f"status {response.status_code} from {url}"
        remedy = "set SUPABASE_URL to the address of a Supabase project, without a path"
        return Finding("storage", "failed", seen, remedy)
    return Finding("storage", "ok", f"{len(response.json())} buckets")


def _work(settings: Settings) -> Iterator[Finding]:
    """Report whether documents get ingested: the same troubles as `docmill status`."""
    from docmill.worker.admin.status import list_troubles, list_workers

    with admin_connection(settings) as connection:
        troubles = list_troubles(connection)
        workers = list_workers(connection)
    for trouble in troubles:
        state: State = "failed" if trouble["is_failure"] else "warning"
        yield Finding(
            trouble["trouble"].replace("_", " "), state, trouble["seen"], trouble["remedy"]
        )
    yield Finding("workers", "ok" if workers else "failed", f"{len(workers)} seen lately")


def _embedder(settings: Settings) -> Finding:
    from docmill.worker.processes.connections import build_embedder

    embedder = build_embedder(settings, _active_index(settings))
    vectors, _tokens = embedder.embed(["docmill"])
    return Finding("embedder", "ok", f"{embedder.model}, {vectors.shape[1]} dimensions")


def _spool(settings: Settings) -> Finding:
    free = shutil.disk_usage(settings.spool_dir).free
    seen = f"{settings.spool_dir}, {free // 1024**2} MiB free"
    if not os.access(settings.spool_dir, os.W_OK):
        return Finding("spool", "failed", seen, "make DOCMILL_SPOOL_DIR writable")
    if free < settings.spool_bytes:
        return Finding("spool", "warning", seen, "free space, or lower DOCMILL_SPOOL_BYTES")
    return Finding("spool", "ok", seen)


_SERVICE_CHECKS: dict[str, Check] = {
    "database": _database,
    "schema": _schema,
    "doorbell": _doorbell,
    "webhook secret": _receiver,
    "index version": _index,
    "search": _search,
    "redis": _redis,
    "storage": _storage,
    "embedder": _embedder,
    "workers": _work,
    "spool": _spool,
}
