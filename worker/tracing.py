"""What a document goes through, as spans of one trace: a port that any part of the worker may call.

Nothing is noted until a process that exports traces has put a tracer here; until then each call
returns at once. Names are from a small fixed set, attributes are ids, codes and numbers: never an
owner, a name of a file or a text. A place in a trace is named as in the W3C's header `traceparent`.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Final, Literal, Protocol
from uuid import UUID

from docmill.worker.errors import JobError

_QUEUE: Final = "ingest.jobs"
#: The spans of a job, as conventions for messaging have them: a job is a message.
CREATE: Final = f"create {_QUEUE}"
PROCESS: Final = f"process {_QUEUE}"

Kind = Literal["internal", "server", "client", "producer", "consumer"]
Value = str | int | float | bool
Attributes = Mapping[str, Value]

_NO_ATTRIBUTES: Final[Attributes] = {}
_HEADER: Final = re.compile(
    r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?"
)


def parsed(header: str) -> str | None:
    """A `traceparent` in version 00, with the flag for sampling alone; None if it is not one."""
    found = _HEADER.fullmatch(header)
    if found is None or (found[1] == "00" and found[5]):
        return None
    return f"00-{found[2]}-{found[3]}-{int(found[4], 16) & 1:02x}"


class Span(Protocol):
    """Something that took time. Its calls may come from any thread, and must not block or raise."""

    @property
    def traceparent(self) -> str:
        """Its place in its trace."""

    def set(self, attributes: Attributes) -> None:
        """Add attributes."""

    def link(self, traceparent: str) -> None:
        """Name a span, maybe of another trace, that it has to do with."""

    def end(self, error: str | None = None) -> None:
        """It is over, with the code of an error or without. Repeatable: the first end counts."""


class Tracer(Protocol):
    """Makes spans, and passes them on when they have ended. Must not block or raise."""

    def start(
        self,
        name: str,
        *,
        kind: Kind,
        parent: str | None,
        links: Sequence[str],
        attributes: Attributes,
        began_ns: int | None,
    ) -> Span:
        """A span that has begun; without a parent, the first of a new trace."""


class _Nothing:
    """The span of a process that traces nothing."""

    traceparent = ""

    def set(self, attributes: Attributes) -> None:
        pass

    def link(self, traceparent: str) -> None:
        pass

    def end(self, error: str | None = None) -> None:
        pass

    def __enter__(self) -> Span:
        return self

    def __exit__(self, *_: object) -> None:
        pass


_NOTHING: Final = _Nothing()
_tracer: Tracer | None = None
#: The span within which this thread, or task, works.
_current: ContextVar[str | None] = ContextVar("traceparent", default=None)


def use(tracer: Tracer | None) -> None:
    """Have this process trace from now on, or no longer."""
    global _tracer  # noqa: PLW0603 -- one for the process, as its log
    _tracer = tracer


def is_on() -> bool:
    """Whether this process traces."""
    return _tracer is not None


def current() -> str | None:
    """The span within which this thread works, if any."""
    return _current.get()


def start(
    name: str,
    *,
    kind: Kind = "internal",
    parent: str | None = None,
    links: Sequence[str] = (),
    attributes: Attributes = _NO_ATTRIBUTES,
    began_ns: int | None = None,
) -> Span:
    """A span that its caller ends; without a parent, the first of a new trace.

    `began_ns` is when it began, as time.time_ns has it: now, unless it is given.
    """
    if _tracer is None:
        return _NOTHING
    return _tracer.start(
        name, kind=kind, parent=parent, links=links, attributes=attributes, began_ns=began_ns
    )


def step(name: str, attributes: Attributes = _NO_ATTRIBUTES) -> AbstractContextManager[Span]:
    """A part of the span within which this thread works. Ends with the `with`."""
    if _tracer is None:
        return _NOTHING
    return within(start(name, parent=_current.get(), attributes=attributes))


@contextmanager
def within(span: Span) -> Iterator[Span]:
    """Work within a span that has begun; it ends with the `with`, and names what went wrong."""
    before = _current.set(span.traceparent or None)
    try:
        yield span
    except BaseException as error:
        span.end(error_type(error))
        raise
    finally:
        _current.reset(before)
        span.end()


def of_job(operation: Literal["create", "process"], job_id: UUID) -> dict[str, Value]:
    """What CREATE and PROCESS say of a job."""
    return {
        "messaging.system": "docmill",
        "messaging.destination.name": _QUEUE,
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.message.id": str(job_id),
    }


def error_type(error: BaseException) -> str:
    """What a span says of an error: its code if it has a fixed one, else the name of its class."""
    return error.code if isinstance(error, JobError) else type(error).__name__
