"""Logging: an event name plus fields, as JSON lines or for a terminal.

The ids of a run are bound once, with structlog's contextvars. Logs hold no document text and no
secrets: if the name of a field suggests a secret, its value is replaced, also in lines of
libraries.
"""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any, Literal, cast

if TYPE_CHECKING:  # imported with the first log line, so processes without one start faster
    import structlog

_SECRET_NAME = re.compile(r"secret|password|token$|authorization|api_?key|signature", re.IGNORECASE)
#: How secrets look in text of others: keys, signed links, passwords in addresses.
_SECRET_TEXT = re.compile(
    r"sb_secret_\w+|sk-[\w-]{8,}|whsec_[\w+/=]+|eyJ[\w-]+\.[\w-]+\.[\w-]+|(?<=://)[^\s/:@]*:[^\s/@]+(?=@)"
)
REDACTED = "[redacted]"


def redact(text: str) -> str:
    """Replace everything that looks like a secret."""
    return _SECRET_TEXT.sub(REDACTED, text)


def _redact_event(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    for name, value in event.items():
        if name != "token" and _SECRET_NAME.search(name):
            event[name] = REDACTED
        elif isinstance(value, str):
            event[name] = redact(value)
    return event


def configure_logging(
    *, log_format: Literal["json", "console"], level: str, stream: Any = None
) -> None:
    """Send structlog and the standard library's loggers to stderr in one form. Repeatable."""
    import structlog

    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _redact_event,
    ]
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.captureWarnings(capture=True)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # Their lines for each request would repeat docmill's own events, and show names of objects.
    libraries = ("httpx", "httpcore", "openai", "kombu", "amqp", "urllib3")
    for noisy in (*libraries, "celery.app.trace", "celery.worker.strategy"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # They warn of each try to connect and to roll back; of an outage docmill's own line is enough.
    for driver in ("psycopg", "psycopg.pool"):
        logging.getLogger(driver).setLevel(logging.ERROR)


class _LateLogger:
    """A logger that is made when it is first used."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, method: str) -> Any:
        import structlog

        return getattr(structlog.get_logger(self._name), method)


def get_logger(name: str) -> "structlog.stdlib.BoundLogger":
    """A logger named after its module."""
    return cast("structlog.stdlib.BoundLogger", _LateLogger(name))
