"""The API as a child process, next to PostgreSQL and Redis."""

import http.client
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from docmill.embedded.api.app import STATUS_PATH
from docmill.embedded.api.settings import ApiSettings
from docmill.embedded.process import ChildProcess, log_tail, start_child
from docmill.worker.errors import ServiceError

START_SECONDS: Final = 60.0


@dataclass(frozen=True)
class ApiServer:
    """A running API."""

    child: ChildProcess
    settings: ApiSettings

    @property
    def url(self) -> str:
        """The address that clients have as SUPABASE_URL."""
        return self.settings.url

    def stop(self) -> None:
        """Let running requests and webhooks end, then stop."""
        self.child.stop()


def start_api(settings: ApiSettings, *, log_path: Path) -> ApiServer:
    """Start the API and wait until it answers. Raises ServiceError if it does not.

    It ends with the calling thread.
    """
    child = start_child(
        "api",
        [sys.executable, "-m", "docmill.embedded.api"],
        log_path=log_path,
        environ={**os.environ, **settings.environ()},
        leave_root=True,
    )
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and not child.ended():
        if _answers(settings):
            return ApiServer(child, settings)
        time.sleep(0.02)
    child.stop()
    raise ServiceError(f"the API did not start:\n{log_tail(log_path)}")


def _answers(settings: ApiSettings) -> bool:
    connection = http.client.HTTPConnection(settings.host, settings.port, timeout=1)
    try:
        connection.request("GET", STATUS_PATH)
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
