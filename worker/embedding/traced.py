"""The spans of a request for embeddings, of which several documents may be the cause.

Each document's trace has a span `embed` for its part. The request itself is below it if no other
document has a part in it; else it is a trace of its own, and links lead there and back. So no trace
holds anything of another document but where in its trace to look.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from docmill.worker import tracing
from docmill.worker.embedding.submission import Item
from docmill.worker.tracing import Span, Value, error_type

#: Providers that the conventions name otherwise than docmill.
_NAMES: Final = {"azure": "azure.ai.openai", "gemini": "gcp.gemini"}


class TracedRequest:
    """A request that is under way."""

    def __init__(self, batch: Sequence[Item], attributes: dict[str, Value]) -> None:
        self._items = _by_trace(batch)
        self._estimated = sum(item.tokens for item in batch) or 1
        self._parts = {trace: _part(trace, items) for trace, items in self._items.items()}
        places = [part.traceparent for part in self._parts.values()]
        is_shared = len(places) != 1
        self._request = tracing.start(
            f"embeddings {attributes['gen_ai.request.model']}",
            kind="client",
            parent=None if is_shared else places[0],
            links=places if is_shared else (),
            attributes={
                "gen_ai.operation.name": "embeddings",
                **attributes,
                "docmill.texts": len(batch),
                "docmill.documents": len(places),
            },
        )
        if is_shared:
            for part in self._parts.values():
                part.link(self._request.traceparent)

    def answered(self, tokens: int) -> None:
        """Note what was billed, and each document's share."""
        self._request.set({"gen_ai.usage.input_tokens": tokens})
        for trace, part in self._parts.items():
            own = sum(item.tokens for item in self._items[trace])
            part.set({"docmill.tokens": round(tokens * own / self._estimated)})

    def end(self, error: str | None = None) -> None:
        """It was answered, or not."""
        for span in (self._request, *self._parts.values()):
            span.end(error)


class UntracedRequest:
    """A request of a process that traces nothing."""

    def answered(self, tokens: int) -> None:
        """Nothing is noted."""


_UNTRACED = UntracedRequest()


@contextmanager
def traced_request(
    batch: Sequence[Item], *, provider: str, model: str
) -> Iterator[TracedRequest | UntracedRequest]:
    """The spans of a request, while it is open."""
    if not tracing.is_on():
        yield _UNTRACED
        return
    request = TracedRequest(
        batch,
        {"gen_ai.provider.name": _NAMES.get(provider, provider), "gen_ai.request.model": model},
    )
    try:
        yield request
    except BaseException as error:
        request.end(error_type(error))
        raise
    finally:
        request.end()


def _by_trace(batch: Sequence[Item]) -> dict[str, list[Item]]:
    found: dict[str, list[Item]] = {}
    for item in batch:
        if item.submission.trace is not None:
            found.setdefault(item.submission.trace, []).append(item)
    return found


def _part(trace: str, items: Sequence[Item]) -> Span:
    waited = time.monotonic() - min(item.submission.submitted_at for item in items)
    return tracing.start(
        "embed",
        parent=trace,
        attributes={"docmill.texts": len(items), "docmill.waited_seconds": round(waited, 3)},
    )
