"""The user's own `supabase` folder next to the stack: its migrations and Edge Functions."""

import re
import shutil
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import psycopg

from docmill.embedded.api import OwnFunction
from docmill.embedded.postgres import PostgresServer
from docmill.embedded.process import ChildProcess, free_port, start_child
from docmill.embedded.stack import FOLDER_NAME, StackInfo
from docmill.worker.errors import ServiceError

#: File names that the Supabase CLI accepts as migrations.
_MIGRATION: Final = re.compile(r"([0-9]+)_(.*)\.sql")
_HISTORY: Final = """
    create schema if not exists supabase_migrations authorization postgres;
    create table if not exists supabase_migrations.schema_migrations (
        version text primary key, statements text[], name text);
    alter table supabase_migrations.schema_migrations owner to postgres;
"""
#: Folder names that the CLI accepts as functions; folders that begin with _ hold shared code.
_FUNCTION: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
#: docmill serves these itself, with the model of this machine.
_BUILT_IN: Final = ("embed", "ask")


def project_folder(home: Path) -> Path:
    """The `supabase` folder of a stack: next to its data folder, or else here."""
    return (home.parent if home.name == FOLDER_NAME else Path.cwd()) / "supabase"


def run_migrations(postgres: PostgresServer, folder: Path) -> list[str]:
    """Run new files of `folder`/migrations in order, each in a transaction; return their names.

    The history is in supabase_migrations, like the CLI's. Migrations run as `postgres`, which may
    create policies on Storage's tables during this, as in a real project. Raises ServiceError, with
    the file.
    """
    files = sorted(
        (found, path)
        for path in (folder / "migrations").glob("*.sql")
        if (found := _version_of(path)) is not None
    )
    if not files:
        return []
    ran = []
    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        connection.execute(_HISTORY)
        done = {
            row[0]
            for row in connection.execute(
                "select version from supabase_migrations.schema_migrations"
            )
        }
        for version, path in files:
            if version not in done:
                _run(connection, version, path)
                ran.append(path.name)
    return ran


def _version_of(path: Path) -> str | None:
    found = _MIGRATION.fullmatch(path.name)
    return found[1] if found else None


def _run(connection: "psycopg.Connection[tuple[Any, ...]]", version: str, path: Path) -> None:
    text = path.read_text()
    try:
        with connection.transaction():
            connection.execute("grant supabase_storage_admin to postgres")
            connection.execute("set local role postgres")
            connection.execute(text.encode())
            connection.execute("reset role")
            connection.execute("revoke supabase_storage_admin from postgres")
            connection.execute(
                "insert into supabase_migrations.schema_migrations (version, statements, name)"
                " values (%s, %s, %s)",
                [version, [text], path.stem.partition("_")[2]],
            )
    except psycopg.Error as error:
        raise ServiceError(
            f"{path} does not run: {error.diag.message_primary or error}. Mend it, then docmill up"
        ) from None


def start_functions(
    home: Path, info: StackInfo, environ: Mapping[str, str]
) -> Iterator[tuple[OwnFunction, ChildProcess | None]]:
    """Start each function of `supabase/functions` with Deno; start nothing if Deno is missing."""
    folder = project_folder(home) / "functions"
    deno = _deno()
    for name, program in _found(folder):
        port = free_port()
        needs_token = _needs_token(folder.parent, name)
        child = None
        if deno is not None:
            child = start_child(
                f"function {name}",
                [
                    *(deno, "run", "--quiet", "--no-prompt", "--allow-net", "--allow-env"),
                    *(f"--allow-read={folder}", str(program)),
                ],
                log_path=home / "logs" / f"function-{name}.log",
                environ={**environ, **_environ_of(folder, home, info, port)},
            )
        yield OwnFunction(name, port if child else None, needs_token), child


def _found(folder: Path) -> Iterator[tuple[str, Path]]:
    for program in sorted(folder.glob("*/index.ts")):
        name = program.parent.name
        if _FUNCTION.fullmatch(name) and name not in _BUILT_IN:
            yield name, program


def _deno() -> str | None:
    beside = Path(sys.executable).with_name("deno")
    return str(beside) if beside.exists() else shutil.which("deno")


def _needs_token(folder: Path, name: str) -> bool:
    """`verify_jwt` of the function in config.toml. Raises ServiceError if the file is not TOML."""
    path = folder / "config.toml"
    try:
        config = tomllib.loads(path.read_text()) if path.exists() else {}
    except tomllib.TOMLDecodeError as error:
        raise ServiceError(f"{path} cannot be read: {error}") from None
    return bool(config.get("functions", {}).get(name, {}).get("verify_jwt", True))


def _environ_of(folder: Path, home: Path, info: StackInfo, port: int) -> dict[str, str]:
    """The environment of a function: a project's variables, and the function's own `.env`."""
    own = {}
    if (folder / ".env").exists():
        lines = (line.strip() for line in (folder / ".env").read_text().splitlines())
        pairs = (line.partition("=") for line in lines if "=" in line and line[0] != "#")
        own = {name.strip(): value.strip().strip("\"'") for name, _, value in pairs}
    return {
        **own,
        "SUPABASE_URL": info.api_url,
        "SUPABASE_ANON_KEY": info.keys.publishable_key,
        "SUPABASE_SERVICE_ROLE_KEY": info.keys.secret_key,
        "SUPABASE_DB_URL": info.database_url("postgres"),
        "DENO_DIR": str(home / "deno"),
        "DENO_NO_UPDATE_CHECK": "1",
        "DENO_SERVE_ADDRESS": f"tcp:127.0.0.1:{port}",
        "NO_COLOR": "1",
    }
