"""The stack of test_cli.py when a part of it dies, and commands that are told to end."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from docmill.embedded.stack import DEFAULT_OWNER, read_info
from tests.support.database import delete_objects, put_object
from tests.support.installation import until
from tests.support.shell import Shell, descendants


def children(shell: Shell) -> dict[str, int]:
    """Process ids of the stack's children, by the end of their command line."""
    found = {}
    for pid in descendants(shell.status_of_stack()["pid"]):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
        except OSError:
            continue
        found["postgres" if command[0].endswith(b"/bin/postgres") else command[-1].decode()] = pid
    return found


def ingest(shell: Shell, text: str) -> dict[str, Any]:
    """Upload a text and wait until it is done."""
    path = shell.folder / f"{uuid4()}.txt"
    path.write_text(text)
    (report,) = shell.rows("ingest", path.name, "--wait")
    assert report["state"] == "succeeded"
    return report


def test_a_stack_lives_in_a_folder_of_any_name(shell: Shell) -> None:
    ingest(shell, "The lighthouse was painted red last year. " * 5)
    (hit,) = shell.rows("search", "lighthouse", "-k", "1")
    assert "painted red" in hit["content"]


def test_a_killed_postgres_loses_no_upload_and_comes_back_where_it_was(shell: Shell) -> None:
    before = shell.status_of_stack()
    data = shell.folder / ".docmill" / "postgres" / "data"
    old = (data / "postmaster.pid").read_text().partition("\n")[0]
    info = read_info(shell.folder / ".docmill")
    assert info is not None
    name = f"{DEFAULT_OWNER}/gone.txt"
    # As Storage itself, after whose commit a client gets its answer.
    with psycopg.connect(info.database_url("supabase_storage_admin")) as connection:
        object_id = put_object(connection, name, bucket="documents", owner=DEFAULT_OWNER)
        connection.commit()
        os.kill(int(old), signal.SIGKILL)

    def new_server() -> bool:
        try:
            lines = (data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:  # at a moment between the two
            return False
        return len(lines) > 7 and lines[0] != old and lines[7].strip() == "ready"

    until(new_server, "a new PostgreSQL")
    with psycopg.connect(before["database_url"], autocommit=True) as connection:
        kept = connection.execute(
            "select count(*) from ingest.documents where object_id = %s", [object_id]
        ).fetchone()
        assert kept == (1,)
    with psycopg.connect(info.database_url("supabase_storage_admin")) as connection:
        # It is a row without a file.
        delete_objects(connection, [name], bucket="documents")
    ingest(shell, "After the server died, the ferry still left at noon. " * 5)
    assert shell.status_of_stack() == before


def test_a_killed_redis_comes_back_where_it_was(shell: Shell) -> None:
    stack = json.loads((shell.folder / ".docmill" / "stack.json").read_text())
    old = next(
        pid for name, pid in children(shell).items() if name.endswith(f":{stack['ports']['redis']}")
    )
    os.kill(old, signal.SIGKILL)
    ingest(shell, "After the broker died, the bakery still opened at six. " * 5)
    up_log = (shell.folder / ".docmill" / "logs" / "up.log").read_text()
    assert "docmill: redis ended and was started again" in up_log


@contextmanager
def paused_worker(shell: Shell) -> Iterator[None]:
    """While this is open, no job ends."""
    (row,) = shell.rows("status")
    # A worker that ended with an earlier test's Redis is listed until its heartbeat is old.
    alive = set(descendants(shell.status_of_stack()["pid"]))
    shared = {int(w["id"].split(":")[1]) for w in row["workers"] if not w["isolated"]}
    (pid,) = shared & alive
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_waiting_for_documents_can_be_interrupted(shell: Shell, number: signal.Signals) -> None:
    name = f"slow-{number.name}.txt"
    (shell.folder / name).write_text("It takes its time. " * 9)
    with paused_worker(shell), shell.terminal("ingest", name, "--wait") as terminal:
        terminal.wait_for(name)
        terminal.interrupt(number)
        said = terminal.ended(128 + number)
        assert "docmill: interrupted: what was uploaded is ingested all the same" in said
    shell.run("watch", "--until-idle")
    assert name in shell.run("jobs", "--state", "succeeded")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_watching_can_be_interrupted(shell: Shell, number: signal.Signals) -> None:
    ingest(shell, "Something to see. " * 9)
    with shell.terminal("watch") as terminal:
        terminal.wait_for("succeeded")
        terminal.interrupt(number)
        assert "docmill: interrupted: the jobs go on" in terminal.ended(128 + number)


@pytest.mark.parametrize(
    "arguments",
    [("status",), ("jobs",), ("jobs", "--json"), ("watch", "--until-idle"), ("doctor",)],
)
def test_output_that_nobody_reads_is_no_error(shell: Shell, arguments: tuple[str, ...]) -> None:
    assert shell.run_unread(*arguments) == (0, "")


def test_a_closed_stdout_is_no_error(shell: Shell) -> None:
    for command in (("status",), ("jobs", "--json")):
        own = Shell(shell.folder, ("/bin/sh", "-c", 'exec "$@" >&-', "sh", *shell.program))
        assert own.run(*command) == ""
