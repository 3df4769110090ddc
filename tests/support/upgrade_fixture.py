"""Makes tests/fixtures/upgrade: this version's wheel and a database that it filled.

    python -m tests.support.upgrade_fixture

Equal sources give equal files: ids are replaced by ones that depend on their order, times by fixed
times.
"""

import re
import subprocess
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid5

import psycopg

from docmill.embedded.postgres import binaries, start_postgres
from tests.conftest import FAST
from tests.schema import actors
from tests.support.database import (
    Database,
    make_database,
    make_template,
    put_object,
    watch_bucket,
)
from tests.support.wheel import build_wheel

FOLDER: Final = Path(__file__).parents[1] / "fixtures" / "upgrade"
OWNERS: Final = ("alice", "bob")
#: The published documents, for the test that searches.
TEXTS: Final = {
    "bridge.txt": ("The bridge was closed for repairs in May.", "It opened again in June."),
    "harbour.txt": ("The harbour opens at six.",),
}
_NAMESPACE: Final = UUID("5f1d0c66-0000-4000-8000-000000000000")
_BEGINNING: Final = datetime(2026, 1, 1, tzinfo=UTC)
_UUID: Final = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")
_TIME: Final = re.compile(r"\b\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?\+00\b")


def main() -> None:
    """Make the fixture again."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for old in FOLDER.glob("*.whl"):
        old.unlink()
    build_wheel(FOLDER)
    with tempfile.TemporaryDirectory() as folder:
        server = start_postgres(Path(folder), options=FAST)
        try:
            make_template(server)
            with make_database(server) as database:
                fill(database)
                (FOLDER / "schema.sql").write_text(_schema(database))
                (FOLDER / "data.sql").write_text(_data(database))
        finally:
            server.stop()


def fill(database: Database) -> None:
    """Write documents with chunks, and a job in every state."""
    watch_bucket(database)
    for name, texts in TEXTS.items():
        actors.upload(database, name, texts, owner="alice")
    actors.upload(database, "bob.txt", ["Bob's telescope stands on the roof."], owner="bob")
    with database.connect() as connection:
        actors.heartbeat(connection)
        _leave_unfinished(connection)


def _leave_unfinished(connection: psycopg.Connection[Any]) -> None:
    jobs = {}
    for name in ("failed.bin", "cancelled.txt", "replaced.txt", "running.txt", "queued.txt"):
        object_id = put_object(connection, name, owner="alice")
        jobs[name] = actors.job_of_worker(connection, object_id)
    run = actors.claimed(connection, jobs["failed.bin"])
    connection.execute(
        "select ingest_private.fail_job(%s, %s, 'unsupported_type', null)",
        [run.job_id, run.token],
    )
    connection.execute("select ingest_private.request_cancel(%s)", [jobs["cancelled.txt"]])
    put_object(connection, "replaced.txt", owner="alice")
    # A worker of this version that stopped in the middle of a document.
    actors.stage(connection, actors.claimed(connection, jobs["running.txt"]), ["Half of it."])


def _schema(database: Database) -> str:
    dump = _dump(database, "--schema-only", "-n", "ingest*")
    with database.connect() as connection:
        triggers = actors.rows(
            connection,
            """select pg_get_triggerdef(oid) as definition from pg_trigger
                where tgrelid = 'storage.objects'::regclass and tgname like 'docmill%%'
                order by tgname""",
        )
    prelude = """create schema if not exists extensions;
create extension if not exists vector with schema extensions;
do $$ begin
    if to_regrole('docmill_worker') is null then
        create role docmill_worker login;
    end if;
end $$;
"""
    return prelude + dump + "".join(f"{row['definition']};\n" for row in triggers)


def _data(database: Database) -> str:
    tables = ("ingest.*", "ingest_private.*", "storage.buckets", "storage.objects")
    named = [word for table in tables for word in ("-t", table)]
    dump = _dump(database, "--data-only", "--column-inserts", *named)
    # Without triggers and foreign keys, so that the rows stay unchanged.
    return "set session_replication_role = replica;\n" + normalised(dump) + "reset all;\n"


def _dump(database: Database, *options: str) -> str:
    done = subprocess.run(
        [str(binaries() / "pg_dump"), *options, "--restrict-key=docmill", database.superuser_url],
        env={"TZ": "UTC", "PGTZ": "UTC", "PGOPTIONS": "-c timezone=UTC"},
        capture_output=True,
        text=True,
        check=True,
    )
    # psql's own commands are not SQL.
    lines = (line for line in done.stdout.splitlines() if not line.startswith(("\\", "--")))
    return "\n".join(line for line in lines if line.strip()) + "\n"


def normalised(dump: str) -> str:
    """The dump with ids numbered by their order, and one fixed time for all past times."""
    ids: dict[str, str] = {}
    for number, found in enumerate(dict.fromkeys(_UUID.findall(dump))):
        ids[found] = str(uuid5(_NAMESPACE, str(number)))
    now = datetime.now(UTC)

    def moment(match: re.Match[str]) -> str:
        is_over = datetime.fromisoformat(match[0]) <= now
        chosen = _BEGINNING if is_over else _BEGINNING + timedelta(minutes=1)
        return chosen.strftime("%Y-%m-%d %H:%M:%S+00")

    return _TIME.sub(moment, _UUID.sub(lambda match: ids[match[0]], dump))


if __name__ == "__main__":
    main()
