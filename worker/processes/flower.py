"""`docmill flower`: the operators' dashboard. It shows and changes nothing."""

import ast
import hmac
import ipaddress
import logging
import signal
import time
from base64 import b64encode
from pathlib import Path
from typing import Any, Final

from flower.app import Flower
from flower.events import Events
from flower.urls import settings as flower_settings
from flower.views.tasks import TASK_COLUMNS
from tornado.httputil import HTTPServerRequest
from tornado.ioloop import IOLoop
from tornado.options import options
from tornado.web import RequestHandler, stream_request_body

from docmill.worker.app import create_app
from docmill.worker.errors import ServiceError, SettingsError
from docmill.worker.log import configure_logging, get_logger
from docmill.worker.queue import RUN_JOB
from docmill.worker.settings.parts import DashboardSettings
from docmill.worker.settings.processes import FlowerSettings

log = get_logger(__name__)

#: For health checks: says that the process answers, and nothing else.
_OPEN_PATH: Final = "/healthcheck"
#: The columns of the list of tasks, and what is written above them.
_COLUMNS: Final = {
    "kwargs": "Document",
    "state": "Stage",
    "exception": "Error",
    "runtime": "Took",
    "received": "Received",
    "args": "Job",
    "uuid": "Details",
}
#: Flower shows ids as a whole where there is room for a table of nothing else.
_STYLE: Final = b"""
.task-uuid-full { display: none; }
.task-uuid-short { display: inline; }
"""
_STYLE_PATH: Final = "/static/css/flower.css"
#: About 3 KiB each.
_REMEMBERED_TASKS: Final = 20_000
_FORGET_WORKERS_SECONDS: Final = 3600
_RECONNECT_SECONDS: Final = 2.0


def run_flower(settings: FlowerSettings) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code.

    Raises SettingsError where anybody could look in, ServiceError where it cannot listen.
    """
    login = login_of(settings)
    configure_logging(log_format=settings.log_format, level=settings.log_level)
    # A line for each refused request would show what others look for.
    logging.getLogger("tornado.access").setLevel(logging.ERROR)
    _set_options(settings, login)
    app = create_app(settings.require("redis_url"))
    # Names and states come with the events: the tasks' code is not needed.
    app.conf.include = ()
    events = _Events(app, IOLoop.current(), max_tasks_in_memory=_REMEMBERED_TASKS)
    dashboard = _Dashboard(login, options=options, capp=app, events=events, **flower_settings)
    try:
        dashboard.start_http_server()
    except OSError as error:
        raise ServiceError(
            f"cannot listen on {settings.flower_host}:{settings.flower_port} ({error.strerror}): "
            "set DOCMILL_FLOWER_HOST or DOCMILL_FLOWER_PORT"
        ) from None
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: dashboard.io_loop.add_callback_from_signal(dashboard.stop))
    log.info("flower_started", host=settings.flower_host, port=settings.flower_port)
    dashboard.start()
    return 0


def login_of(settings: DashboardSettings) -> str | None:
    """User and password as `user:password`; None when none is asked for, which loopback allows.

    Raises SettingsError that names what is missing.
    """
    user, password = settings.flower_user, settings.flower_password
    if user is None and password is None:
        if not _is_loopback(settings.flower_host):
            raise SettingsError(
                f"set DOCMILL_FLOWER_USER and DOCMILL_FLOWER_PASSWORD: on {settings.flower_host} "
                "Flower can be reached from other machines"
            )
        return None
    if user is None or password is None:
        raise SettingsError("set both DOCMILL_FLOWER_USER and DOCMILL_FLOWER_PASSWORD")
    login = f"{user}:{password.get_secret_value()}"
    # Browsers disagree on how to send other letters, and the first colon ends the user's name.
    if not login.isascii() or ":" in user:
        raise SettingsError(
            "DOCMILL_FLOWER_USER and DOCMILL_FLOWER_PASSWORD: ASCII only, no colon in the user"
        )
    return login


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _set_options(settings: DashboardSettings, login: str | None) -> None:
    # Flower's options are one object for the process; its environment variables are not read.
    options.address = settings.flower_host
    options.port = settings.flower_port
    options.basic_auth = [login] if login else []
    # What Flower can do to workers and tasks is not what an operator wants: a revoked hint is
    # sent again. `docmill cancel` and `docmill retry` do it.
    options.read_only = True
    options.tasks_columns = ",".join(_COLUMNS)
    TASK_COLUMNS.update(_COLUMNS)
    options.format_task = readable
    options.purge_offline_workers = _FORGET_WORKERS_SECONDS


def readable(task: Any) -> Any:
    """A task as a person reads it: its document and its job, each as text. Changes the task."""
    document = _document_of(task)
    if document is None:
        task.kwargs = task.name
    else:
        task.kwargs = f"{document['document']} in {document['folder']}"
        # As many digits as commands need; `docmill explain` takes them.
        task.args = str(task.args)[:8]
    return task


def _document_of(task: Any) -> dict[str, str] | None:
    if task.name != RUN_JOB:
        return None
    try:
        shown: dict[str, str] = ast.literal_eval(task.kwargs)
    except (ValueError, SyntaxError, TypeError):  # cut on its way, or of another release
        return None
    return shown if {"document", "folder"} <= set(shown) else None


class _Events(Events):  # type: ignore[misc]  # Flower is not typed
    """Listens to events for ever.

    Flower's own waits twice as long after each failure, so that it is deaf for hours after Redis
    was away for hours.
    """

    def run(self) -> None:
        """What the thread does."""
        while True:
            try:
                with self.capp.connection() as connection:
                    receiver = self.capp.events.Receiver(connection, handlers={"*": self.on_event})
                    receiver.capture(limit=None, timeout=None, wakeup=True)
            except Exception as error:  # whatever it is, the next connection may be a better one
                log.warning("events_not_heard", error=type(error).__name__)
            time.sleep(_RECONNECT_SECONDS)


class _Dashboard(Flower):  # type: ignore[misc]
    """Flower that asks for the login before it looks at a request.

    Its own pages ask as well, but /metrics would name workers and tasks to everybody.
    """

    def __init__(self, login: str | None, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._expected = f"Basic {b64encode(login.encode()).decode()}" if login else None

    def find_handler(self, request: HTTPServerRequest, **arguments: Any) -> Any:
        """The page, or the refusal."""
        if request.path == _OPEN_PATH or self._may_enter(request):
            if request.path == _STYLE_PATH:
                return self.get_handler_delegate(request, _Style)
            return super().find_handler(request, **arguments)
        return self.get_handler_delegate(request, _LoginRequired)

    def _may_enter(self, request: HTTPServerRequest) -> bool:
        if self._expected is None:
            return True
        given = request.headers.get("Authorization", "")
        return hmac.compare_digest(given.encode(), self._expected.encode())


class _Style(RequestHandler):
    """Flower's style, and what we add to it."""

    def get(self) -> None:
        """The style sheet."""
        own = Path(flower_settings["static_path"], "css", "flower.css").read_bytes()
        self.set_header("Content-Type", "text/css")
        self.set_header("Cache-Control", "max-age=3600")
        self.finish(own + _STYLE)


@stream_request_body
class _LoginRequired(RequestHandler):
    """Answers 401 to every method, and keeps nothing of what was sent."""

    def data_received(self, chunk: bytes) -> None:
        """Whoever is not known shall not fill our memory."""

    def check_xsrf_cookie(self) -> None:
        """Nothing is done for whoever is not known: there is nothing to forge."""

    def prepare(self) -> None:
        """Answer before the method is looked at."""
        self.set_status(401)
        self.set_header("WWW-Authenticate", 'Basic realm="docmill"')
        self.finish("a login is needed")
