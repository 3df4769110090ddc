"""A provider of embeddings as a program of its own: it takes its time, has limits and faults.

    python -m tests.support.provider_program --port 9000 --latency-ms 200 \
        --tokens-a-minute 1000000 --requests-a-minute 3000

It speaks as OpenAI does, limits in headers included, and keeps books: `GET /` answers them. What it
is to do otherwise is told by `POST /script`, a JSON object with fields of `Behaviour`; its `faults`
are statuses (429, 500) or `hang` for the requests that come next, one each. `batches` has fields of
`Script` (tests/support/fake_batches.py): how batches end, and when. Batches have no limits.
"""

import argparse
import math
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final

import httpx

from docmill.embedded.process import free_port, start_child
from tests.support.fake_openai import DIMENSIONS, Answer, FakeOpenAI, embeddings, error

#: How long a request hangs that is told to: longer than anybody waits.
HANG_SECONDS: Final = 3600
#: Stands for the status of one that hangs.
HANGS: Final = 0


@dataclass
class Behaviour:
    """How it serves. Limits of 0 are none."""

    latency_ms: float = 0
    tokens_a_minute: float = 0
    requests_a_minute: float = 0
    burst_seconds: float = 60  #: so much of a minute's limit may be used at once
    tells_limits: bool = True  #: in headers
    faults: list[int | str] = field(default_factory=list)


class Bucket:
    """What is left of a limit: it fills up steadily."""

    def __init__(self, a_minute: float, burst_seconds: float, now: float) -> None:
        self.limit = a_minute
        self._capacity = a_minute * burst_seconds / 60
        self._left = self._capacity
        self._at = now

    def seconds_until(self, amount: float, now: float) -> float:
        """How long until so much is there; 0 when it is."""
        if not self.limit:
            return 0
        self._left = min(self._capacity, self._left + (now - self._at) * self.limit / 60)
        self._at = now
        return max(0.0, amount - self._left) * 60 / self.limit

    def use(self, amount: float) -> None:
        """Take so much."""
        self._left -= amount if self.limit else 0

    def headers(self, what: str) -> dict[str, str]:
        """As OpenAI tells them."""
        if not self.limit:
            return {}
        full = (self._capacity - self._left) * 60 / self.limit
        return {
            f"x-ratelimit-limit-{what}": f"{self.limit:.0f}",
            f"x-ratelimit-remaining-{what}": f"{max(0, math.floor(self._left))}",
            f"x-ratelimit-reset-{what}": duration(full),
        }


def duration(seconds: float) -> str:
    """As OpenAI writes it: 20ms, 1.5s, 6m0s."""
    if seconds < 1:
        return f"{1000 * seconds:.0f}ms"
    minutes, rest = divmod(seconds, 60)
    return f"{minutes:.0f}m{rest:.3g}s" if minutes else f"{rest:.3g}s"


@dataclass
class Books:
    """What was asked and answered."""

    requests: int = 0
    texts: int = 0
    tokens: int = 0  #: that were embedded
    refused: int = 0
    refused_tokens: int = 0
    paid_twice: int = 0  #: tokens of texts that were embedded before
    last_at: float = 0  #: when texts were taken last
    asked_at: float = 0  #: by the clock, the latest request; and its answer
    answered_at: float = 0
    in_flight: int = 0
    most_in_flight: int = 0


class LimitedProvider:
    """Answers for a FakeOpenAI."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._lock = threading.Lock()
        self._known: set[int] = set()
        self._recent: deque[tuple[float, int]] = deque()
        self.books = Books()
        self._begin(behaviour)

    def _begin(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        now = time.monotonic()
        self._began = now
        burst = behaviour.burst_seconds
        self._tokens = Bucket(behaviour.tokens_a_minute, burst, now)
        self._requests = Bucket(behaviour.requests_a_minute, burst, now)
        self.books = Books()
        self._known.clear()

    def told(self, changes: dict[str, Any]) -> None:
        """Behave otherwise, with empty books."""
        with self._lock:
            self._begin(Behaviour(**{**vars(self.behaviour), **changes}))

    def state(self) -> dict[str, Any]:
        """The books."""
        with self._lock:
            return {**vars(self.books), "seconds": time.monotonic() - self._began}

    def respond(self, texts: list[str]) -> Answer:
        """Answer when its time has come."""
        with self._flight():
            with self._lock:
                status, headers = self._admit(texts)
            if status == HANGS:
                time.sleep(HANG_SECONDS)
            # A refusal takes no time of a model.
            time.sleep(self.behaviour.latency_ms / 1000 if status == 200 else 0)
            if status == 200:
                return status, embeddings(texts, DIMENSIONS), headers
            return status, error(status, "rate_limit_exceeded")[1], headers

    @contextmanager
    def _flight(self) -> Iterator[None]:
        with self._lock:
            books = self.books
            books.asked_at = time.time()
            books.in_flight += 1
            books.most_in_flight = max(books.most_in_flight, books.in_flight)
        try:
            yield
        finally:
            with self._lock:
                books.in_flight -= 1
                books.answered_at = time.time()

    def _admit(self, texts: list[str]) -> tuple[int, dict[str, str]]:
        now, tokens = time.monotonic(), sum(map(tokens_of, texts))
        self.books.requests += 1
        wait = max(self._tokens.seconds_until(tokens, now), self._requests.seconds_until(1, now))
        fault = self.behaviour.faults.pop(0) if self.behaviour.faults else None
        if fault is not None or wait > 0:
            self.books.refused += 1
            self.books.refused_tokens += tokens
        elif wait <= 0:
            self._tokens.use(tokens)
            self._requests.use(1)
            self._enter(texts, tokens)
            self.books.last_at = now
        headers = self._headers()
        if fault is not None:
            return HANGS if fault == "hang" else int(fault), headers
        if wait > 0:
            waits = {"retry-after-ms": f"{1000 * wait:.0f}", "retry-after": f"{math.ceil(wait)}"}
            return 429, headers | waits
        return 200, headers

    def _headers(self) -> dict[str, str]:
        if not self.behaviour.tells_limits:
            return {}
        return self._tokens.headers("tokens") | self._requests.headers("requests")

    def _enter(self, texts: list[str], tokens: int) -> None:
        self.books.texts += len(texts)
        self.books.tokens += tokens
        for text in texts:
            known = hash(text)
            self.books.paid_twice += tokens_of(text) if known in self._known else 0
            self._known.add(known)


def tokens_of(text: str) -> int:
    """As the fake server counts them in its answers."""
    return len(text) // 4 + 1


# -- as a program


@dataclass
class RunningProvider:
    """The program, as those see it who ask it."""

    address: str
    pid: int

    @property
    def url(self) -> str:
        """Base URL for the client."""
        return f"{self.address}/v1"

    def books(self) -> dict[str, float]:
        """What was asked and answered since it began or was told."""
        return dict(httpx.get(self.address).raise_for_status().json())

    def tell(self, **changes: Any) -> None:
        """Behave so, with empty books."""
        httpx.post(f"{self.address}/script", json=changes).raise_for_status()


@contextmanager
def provider_program(folder: Path, **behaviour: float) -> Iterator[RunningProvider]:
    """Start it, and stop it in the end."""
    port = free_port()
    options = [f"--{name.replace('_', '-')}={value}" for name, value in behaviour.items()]
    child = start_child(
        "provider",
        [sys.executable, "-m", "tests.support.provider_program", f"--port={port}", *options],
        log_path=folder / "provider.log",
    )
    running = RunningProvider(f"http://127.0.0.1:{port}", child.pid)
    try:
        _wait_for(running)
        yield running
    finally:
        child.stop()


def _wait_for(running: RunningProvider) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            running.books()
        except httpx.HTTPError:
            assert time.monotonic() < deadline, "the provider does not begin"
            time.sleep(0.05)
        else:
            return


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(description="A provider of embeddings.")
    parser.add_argument("--port", type=int, default=0)
    for each in fields(Behaviour):
        if each.name.endswith(("_ms", "_minute", "_seconds")):
            parser.add_argument(
                f"--{each.name.replace('_', '-')}", type=float, default=each.default
            )
    options = vars(parser.parse_args(arguments))
    port = options.pop("port")
    provider = LimitedProvider(Behaviour(**options))
    server = FakeOpenAI(
        respond=provider.respond,
        state=provider.state,
        told=provider.told,
        port=port,
        answers_batches=False,
    )
    print(server.url, flush=True)
    threading.Event().wait()  # until a signal ends it


if __name__ == "__main__":
    main()
