"""The stand-in as a child process, next to PostgreSQL and Redis."""

import http.client
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from worker.errors import ServiceError
from worker.local.process import ChildProcess, log_tail, start_child
from worker.local.storage.settings import URL_PREFIX, StorageSettings

START_SECONDS: Final = 30.0


@dataclass(frozen=True)
class StorageServer:
    """A running stand-in."""

    child: ChildProcess
    settings: StorageSettings

    @property
    def url(self) -> str:
        """What clients know as SUPABASE_URL; Storage answers under /storage/v1."""
        return f"http://{self.settings.host}:{self.settings.port}"

    def stop(self) -> None:
        """Let running requests and webhooks end, then stop."""
        self.child.stop()


def start_storage(settings: StorageSettings, *, log_path: Path) -> StorageServer:
    """Start the stand-in and wait until it answers. Raises ServiceError when it does not.

    It ends with the calling thread. Secrets go through the environment: a command line can be
    read by everyone.
    """
    child = start_child(
        "storage",
        [sys.executable, "-m", "worker.local.storage"],
        log_path=log_path,
        environ={**os.environ, **settings.environ()},
        leave_root=True,
    )
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and not child.ended():
        if _answers(settings):
            return StorageServer(child, settings)
        time.sleep(0.02)
    child.stop()
    raise ServiceError(f"Storage did not start:\n{log_tail(log_path)}")


def _answers(settings: StorageSettings) -> bool:
    connection = http.client.HTTPConnection(settings.host, settings.port, timeout=1)
    try:
        connection.request("GET", f"{URL_PREFIX}/status")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
