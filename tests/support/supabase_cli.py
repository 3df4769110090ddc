"""Migrations of a Supabase project, run as its CLI runs them; and the CLI, if installed."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import psycopg

from tests.support.database import Database

#: Where `make supabase` installs it.
INSTALLED = Path(__file__).parents[2] / ".venv" / "supabase" / "node_modules" / ".bin" / "supabase"

# Texts that may contain a semicolon that ends no statement, and the end of a statement.
_TOKEN = re.compile(
    r"""--[^\n]*
      | /\*.*?\*/
      | '(?:[^']|'')*'
      | "(?:[^"]|"")*"
      | (?P<dollar>(?<![A-Za-z0-9_$])\$(?:[A-Za-z_][A-Za-z0-9_]*)?\$).*?(?P=dollar)
      | (?P<end>;)""",
    re.VERBOSE | re.DOTALL,
)


def split(text: str) -> list[str]:
    """The statements of a migration with the comments before them, split as by the CLI."""
    statements, start = [], 0
    for token in _TOKEN.finditer(text):
        if token["end"]:
            statements.append(text[start : token.start()].strip())
            start = token.end()
    statements.append(text[start:].strip())
    return [statement for statement in statements if statement]


def pending(connection: psycopg.Connection[Any], folder: Path) -> list[Path]:
    """Files whose version is not recorded; the CLI refuses one that is older than recorded ones."""
    done = {
        row[0]
        for row in connection.execute("select version from supabase_migrations.schema_migrations")
    }
    local = {path.name.split("_")[0]: path for path in sorted(folder.glob("[0-9]*_*.sql"))}
    assert done <= set(local), "remote migration versions not found in local migrations directory"
    found = [version for version in local if version not in done]
    assert all(version > max(done, default="") for version in found), "inserted before the last"
    return [local[version] for version in found]


def push(database: Database, folder: Path, role: str | None = "postgres") -> list[str]:
    """Run new files, each in the implicit transaction of a pipeline; return their names."""
    ran = []
    with database.connect(role) as connection:
        connection.execute(
            """create schema if not exists supabase_migrations;
               create table if not exists supabase_migrations.schema_migrations (
                   version text not null primary key, statements text[], name text)"""
        )
        for path in pending(connection, folder):
            connection.execute("reset all")
            version, _, name = path.stem.partition("_")
            statements = split(path.read_text())
            with connection.pipeline():
                for statement in statements:
                    connection.execute(statement.encode())
                connection.execute(
                    """insert into supabase_migrations.schema_migrations (version, name, statements)
                       values (%s, %s, %s)""",
                    [version, name, statements],
                )
            ran.append(path.name)
    return ran


def find_cli() -> str | None:
    """The CLI, if it is installed."""
    return str(INSTALLED) if INSTALLED.exists() else shutil.which("supabase")


def run_cli(project: Path, home: Path, *arguments: str) -> str:
    """Run it in a project's folder, without settings from outside; return its output."""
    cli = find_cli()
    assert cli is not None
    done = subprocess.run(
        [cli, *arguments, "--yes", "--workdir", str(project)],
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "SUPABASE_TELEMETRY_DISABLED": "1",
            "DO_NOT_TRACK": "1",
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
