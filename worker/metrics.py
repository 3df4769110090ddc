"""What is measured, and where it is said: a port that any part of the worker may call.

Nothing is kept until a process that serves metrics has put a recorder here, so that commands and
tests pay nothing. Labels are from small fixed sets, or name what the operator has configured: never
an owner, a document or a file.
"""

from dataclasses import dataclass
from typing import Final, Literal, Protocol


@dataclass(frozen=True)
class Metric:
    """One metric. A counter is exported with `_total` after its name."""

    name: str
    kind: Literal["counter", "histogram"]
    meaning: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()  #: upper bounds, of a histogram


_SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)


def _counter(name: str, meaning: str, *labels: str) -> Metric:
    return Metric(f"docmill_{name}", "counter", meaning, labels)


def _histogram(
    name: str, meaning: str, *labels: str, buckets: tuple[float, ...] = _SECONDS
) -> Metric:
    return Metric(f"docmill_{name}", "histogram", meaning, labels, buckets)


RUNS: Final = _counter(
    "runs",
    "Runs of jobs by how they ended, and the error code if one ended them.",
    "outcome",
    "code",
)
RUN_SECONDS: Final = _histogram("run_seconds", "Time of a run.", "outcome")
STAGE_SECONDS: Final = _histogram("stage_seconds", "Time that runs spend in a stage.", "stage")
LEASES_LOST: Final = _counter(
    "leases_lost",
    "Runs that lost their lease although their document was still wanted.",
)
REQUESTS: Final = _counter(
    "embedding_requests", "Requests for embeddings by error code; ok: answered.", "provider", "code"
)
REQUEST_SECONDS: Final = _histogram(
    "embedding_request_seconds", "Time of a request for embeddings.", "provider"
)
BATCH_FILL: Final = _histogram(
    "batch_fill",
    "Texts of a request, as a share of DOCMILL_EMBEDDING_BATCH_SIZE.",
    "provider",
    buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 1),
)
TOKENS: Final = _counter("tokens", "Tokens that providers billed.", "provider")
SPEND: Final = _counter("spend_usd", "What they cost, at the price of the model.", "provider")
RATE_LIMIT_WAITS: Final = _counter(
    "rate_limit_waits", "Requests that a provider's rate limit refused or held back.", "provider"
)
RATE_LIMIT_SECONDS: Final = _counter(
    "rate_limit_wait_seconds", "Pauses that rate limits asked for, together.", "provider"
)
CHILD_ENDS: Final = _counter(
    "child_ends", "Extraction children by error code; ok: read to the end.", "profile", "code"
)
CHILD_SECONDS: Final = _histogram(
    "child_cpu_seconds",
    "CPU time of an extraction child, by class of its owner.",
    "profile",
    "owner_class",
)
PUBLISHED_CHUNKS: Final = _counter("published_chunks", "Chunks of documents that were published.")
PUBLISH_SECONDS: Final = _histogram("publish_seconds", "Time of the transaction that publishes.")
SCHEDULE_WORKS: Final = _counter(
    "schedule_works",
    "Works of the schedule that a worker did; failed: it will be tried again.",
    "work",
    "outcome",
)
SCHEDULE_MESSAGES: Final = _counter("schedule_messages", "Messages that beat sent.", "task")

#: All of them, in the order of the docs.
METRICS: Final = (
    *(RUNS, RUN_SECONDS, STAGE_SECONDS, LEASES_LOST),
    *(REQUESTS, REQUEST_SECONDS, BATCH_FILL, TOKENS, SPEND, RATE_LIMIT_WAITS, RATE_LIMIT_SECONDS),
    *(CHILD_ENDS, CHILD_SECONDS, PUBLISHED_CHUNKS, PUBLISH_SECONDS),
    *(SCHEDULE_WORKS, SCHEDULE_MESSAGES),
)


class Recorder(Protocol):
    """Keeps what is measured. Called from several threads; must not block or raise."""

    def record(self, metric: Metric, value: float, labels: dict[str, str]) -> None:
        """Add to a counter, or note one observation of a histogram."""


_recorder: Recorder | None = None


def use(recorder: Recorder | None) -> None:
    """Have this process record from now on, or no longer."""
    global _recorder  # noqa: PLW0603 -- one for the process, as its log
    _recorder = recorder


def record(metric: Metric, value: float = 1, **labels: str) -> None:
    """Add to a counter, or note one observation. Does nothing where nobody listens."""
    if _recorder is not None:
        _recorder.record(metric, value, labels)
