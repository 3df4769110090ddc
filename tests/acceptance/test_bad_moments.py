"""The embedded stack when something dies, and commands that are told to end."""

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
from tests.support.shell import Shell, Terminal, descendants, is_running

STACK_FIELDS = {
    *("pid", "api_url", "publishable_key", "database_url", "users", "password"),
    *("flower_url", "flower_user", "flower_password"),
}
#: Whatever a folder may be called.
HOME = "a \"b' c/é #$(x)\\"


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    folder = tmp_path_factory.mktemp("shell") / HOME
    folder.mkdir(parents=True)
    made = Shell(folder)
    (row,) = made.rows("up", "--detach")
    assert row == status_of_stack(made)
    yield made
    made.run("down")
    assert list((folder / ".docmill" / "tmp").iterdir()) == []


def status_of_stack(shell: Shell) -> dict[str, Any]:
    """What `status` says of the stack alone."""
    (row,) = shell.rows("status")
    return {name: value for name, value in row.items() if name in STACK_FIELDS}


def children(shell: Shell) -> dict[str, int]:
    """Process ids of the stack's children, by what their command line ends with."""
    found = {}
    for pid in descendants(status_of_stack(shell)["pid"]):
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
    before = status_of_stack(shell)
    data = shell.folder / ".docmill" / "postgres" / "data"
    old = (data / "postmaster.pid").read_text().partition("\n")[0]
    info = read_info(shell.folder / ".docmill")
    assert info is not None
    name = f"{DEFAULT_OWNER}/gone.txt"
    # As Storage itself, whose commits are what a client is told of.
    with psycopg.connect(info.database_url("supabase_storage_admin")) as connection:
        object_id = put_object(connection, name, bucket="documents", owner=DEFAULT_OWNER)
        connection.commit()
        os.kill(int(old), signal.SIGKILL)

    def new_server() -> bool:
        try:
            lines = (data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:  # between the two
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
    assert status_of_stack(shell) == before


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
    """While this is open, jobs do not end."""
    (row,) = shell.rows("status")
    pid = next(int(w["id"].split(":")[1]) for w in row["workers"] if not w["isolated"])
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
        interrupt(terminal, number)
        said = terminal.ended(128 + number)
        assert "docmill: interrupted: what was uploaded is ingested all the same" in said
    shell.run("watch", "--until-idle")
    assert name in shell.run("jobs", "--state", "succeeded")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_watching_can_be_interrupted(shell: Shell, number: signal.Signals) -> None:
    ingest(shell, "Something to see. " * 9)
    with shell.terminal("watch") as terminal:
        terminal.wait_for("succeeded")
        interrupt(terminal, number)
        assert "docmill: interrupted: the jobs go on" in terminal.ended(128 + number)


def interrupt(terminal: Terminal, number: signal.Signals) -> None:
    """Send a signal; SIGINT as the key that people press."""
    if number == signal.SIGINT:
        terminal.press_ctrl_c()
    else:
        terminal.process.send_signal(number)


#: Moments of a start, by the file of the data folder that appears then.
MOMENTS = ("lock", "postgres/postgres.log", "redis/redis.log", "logs/worker.log")


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_start_can_be_interrupted(tmp_path: Path, moment: str) -> None:
    own = Shell(tmp_path)
    with own.terminal("up") as terminal:
        until((tmp_path / ".docmill" / moment).exists, moment)
        terminal.press_ctrl_c()
        terminal.wait_for("docmill: stopping what was started")
        started = descendants(terminal.process.pid)
        terminal.press_ctrl_c()
        said = terminal.ended(130)
        assert "docmill: interrupted; everything that was started is stopped" in said
    assert not any(is_running(pid) for pid in started)
    assert own.run("down").strip() == "nothing is running here"


def test_a_stack_in_the_foreground_says_how_to_stop_it(tmp_path: Path) -> None:
    own = Shell(tmp_path)
    with own.terminal("up") as terminal:
        terminal.wait_for("Stop it with: Ctrl-C")
        started = descendants(terminal.process.pid)
        assert len(started) >= 8
        # Twice in a row: the second one is for the impatient.
        terminal.press_ctrl_c()
        terminal.wait_for("docmill: stopping what was started")
        terminal.press_ctrl_c()
        assert "docmill: interrupted" in terminal.ended(130)
    assert not any(is_running(pid) for pid in started)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_start_in_the_background_can_be_interrupted(
    tmp_path: Path, number: signal.Signals
) -> None:
    own = Shell(tmp_path)
    with own.terminal("up", "--detach") as terminal:
        until((tmp_path / ".docmill" / "postgres" / "postgres.log").exists, "a start")
        started = descendants(terminal.process.pid)
        assert started
        interrupt(terminal, number)
        said = terminal.ended(128 + number)
        assert "docmill: interrupted; everything that was started is stopped" in said
    assert not any(is_running(pid) for pid in started)
    assert own.run("down").strip() == "nothing is running here"


@pytest.mark.parametrize(
    ("shown", "number"),
    [("== Starting", signal.SIGINT), ("== Alice searches", signal.SIGTERM)],
)
def test_a_demo_can_be_interrupted_and_leaves_nothing(
    tmp_path: Path, shown: str, number: signal.Signals
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    with Shell(tmp_path).terminal("demo", TMPDIR=str(temporary)) as terminal:
        terminal.wait_for(shown)
        started = descendants(terminal.process.pid)
        interrupt(terminal, number)
        assert "docmill: interrupted" in terminal.ended(128 + number)
    assert not any(is_running(pid) for pid in started)
    assert list(temporary.iterdir()) == []


def test_a_stack_that_starts_can_be_stopped_from_elsewhere(tmp_path: Path) -> None:
    own = Shell(tmp_path)
    with own.terminal("up") as terminal:
        until((tmp_path / ".docmill" / "redis" / "redis.log").exists, "a start")
        assert own.run("down").strip() == "stopped"
        terminal.ended(143)


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
