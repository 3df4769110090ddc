"""A provider of embeddings that records its requests, and misbehaves on demand."""

import base64
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from tests.faults.hostile_documents import FORBIDDEN
from tests.support.fake_openai import Answer, Raw, embeddings, error

#: The time of a request, and of each of its texts.
REQUEST_SECONDS, TEXT_SECONDS = 0.2, 0.002


def tokens_of(text: str) -> int:
    """Tokens as the fake server counts them."""
    return len(text) // 4 + 1


@dataclass
class Provider:
    """Answers for a FakeOpenAI (`respond`), and the record of its answers."""

    #: The model in the present request.
    model: Callable[[], str] = lambda: ""
    #: How often each text was embedded by each model, without wrong answers.
    paid: Counter[tuple[str, str]] = field(default_factory=Counter)
    batches_paid_twice: int = 0
    in_flight: int = 0
    answers: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._storm: tuple[str, float] = ("", 0.0)
        self._wrong: list[str] = []
        self._odd: list[Raw] = []

    def storm(self, kind: str, seconds: float) -> None:
        """Answer only errors (`429` or `500`) for some time."""
        self._storm = (kind, time.monotonic() + seconds)

    def answer_wrongly(self, *ways: str) -> None:
        """Answer the next requests with wrong vectors, in these ways (see `_wrong_answer`)."""
        with self._lock:
            self._wrong.extend(ways)

    def calm(self) -> None:
        """Behave well from now on."""
        self._storm = ("", 0.0)
        self._wrong.clear()
        self._odd.clear()

    def respond(self, texts: list[str]) -> Answer | Raw | None:
        """The answer; None means the right embeddings."""
        with self._lock:
            self.in_flight += 1
        try:
            time.sleep(REQUEST_SECONDS + TEXT_SECONDS * len(texts))
            return self._respond(texts)
        finally:
            with self._lock:
                self.in_flight -= 1

    def answer_oddly(self, *answers: Raw) -> None:
        """Give these answers to the next requests."""
        with self._lock:
            self._odd.extend(answers)

    def _respond(self, texts: list[str]) -> Answer | Raw | None:
        if any(FORBIDDEN in text for text in texts):
            self.answers["refused"] += 1
            return error(400, "invalid_request_error")
        with self._lock:
            if self._odd:
                self.answers["odd"] += 1
                return self._odd.pop()
        kind, until = self._storm
        if time.monotonic() < until:
            self.answers[kind] += 1
            if kind == "429":
                return error(429, "rate_limit_exceeded", retry_after="1")
            return error(500, "server_error")
        with self._lock:
            if self._wrong:
                way = self._wrong.pop()
                self.answers[way] += 1
                if way != "order":
                    return 200, wrong_answer(texts, way), {}
            else:
                way = ""
            self.answers["embeddings"] += 1
            asked = [(self.model(), text) for text in texts]
            self.batches_paid_twice += any(self.paid[one] for one in asked)
            self.paid.update(asked)
        return (200, wrong_answer(texts, way), {}) if way else None

    @property
    def spend_ratio(self) -> float:
        """Embedded tokens, as a multiple of the tokens for embedding each text once."""
        ideal = sum(tokens_of(text) for _model, text in self.paid)
        spent = sum(tokens_of(text) * times for (_model, text), times in self.paid.items())
        return spent / ideal if ideal else 1.0


#: Answers that no provider should give; none may hang, end or mislead a worker.
ODD: Final = (
    Raw(b"<html><body>502 Bad Gateway</body></html>", content_type="text/html"),
    Raw(b""),
    Raw(b"", status=204),
    Raw(b"[]"),
    Raw(b'{"data": null}'),
    Raw(b'{"data": [{"index": 0, "embedding": "AAAA"}], "usage": {"total_tokens": "many"}}'),
    Raw(b'{"error": "no"}', status=429, headers={"retry-after": "inf"}),
    Raw(b'{"error": {"message": null}}', status=503, headers={"retry-after": "-1"}),
    Raw(b" " * 600, seconds_per_byte=0.01),
)

#: A provider may answer with `order`: the indices say which vector belongs to which text.
WAYS = ("count", "order", "dimensions", "NaN")


def wrong_answer(texts: list[str], way: str) -> dict[str, Any]:
    """An answer with one kind of error."""
    answer = embeddings(texts)
    data: list[dict[str, Any]] = answer["data"]
    if way == "count":
        data.pop()
    elif way == "order":
        data.reverse()
    elif way == "dimensions":
        data[-1]["embedding"] = _encoded(np.ones(255, dtype="<f4"))
    else:
        data[-1]["embedding"] = _encoded(np.full(256, np.nan, dtype="<f4"))
    return answer


def _encoded(vector: "np.ndarray[Any, np.dtype[Any]]") -> str:
    return base64.b64encode(vector.tobytes()).decode()
