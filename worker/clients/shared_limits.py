"""A provider's limits, shared by all workers through Redis. Without Redis, each uses its share.

The decisions are in shared_limits.lua, which Redis runs as one step and by its own clock.
"""

import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import redis

from docmill.worker.clients.rate_headers import Quota, Said, read_headers
from docmill.worker.log import get_logger
from docmill.worker.ports import Outcome, Permit

log = get_logger(__name__)

#: The longest wait for Redis.
REDIS_SECONDS: Final = 0.5
#: After Redis did not answer, it is not asked for this long.
REDIS_PAUSE_SECONDS: Final = 5.0
#: A request takes at most the tokens of this many seconds, so that one request does not use up a
#: small limit.
_REQUEST_SECONDS: Final = 10.0
#: And at most this share of the tokens that the provider allows at once.
_MOST_SHARE: Final = 0.9
#: The pause after a refusal that names none, and the longest pause that is obeyed.
_PAUSE_SECONDS: Final = 1.0
_LONGEST_PAUSE_SECONDS: Final = 900.0
_SCRIPT: Final = Path(__file__).with_suffix(".lua").read_text()

#: Uploads go before reindexing.
UPLOADS, REINDEX = 0, 1


@dataclass
class _Bucket:
    """This worker's share of one limit, while Redis cannot be reached."""

    limit: float  #: of all workers, per period
    period: float  #: in seconds
    left: float
    at: float

    def refill(self, now: float, workers: int) -> None:
        share = self.limit / workers
        self.left = min(share, self.left + (now - self.at) * share / self.period)
        self.at = now

    def seconds_until(self, amount: float, workers: int) -> float:
        share = self.limit / workers
        return (min(amount, share) - self.left) * self.period / share


@dataclass(frozen=True)
class KnownLimits:
    """What a provider allows for one model, as its answers have told; None: it has told nothing."""

    requests_per_minute: float | None
    tokens_per_minute: float | None
    scale: float = 1.0  #: the provider's tokens for each token as docmill counts

    def seconds_for(self, *, requests: int, tokens: int) -> float | None:
        """The time that the limits allow so much in; None if none is known."""
        limits = (
            (requests, self.requests_per_minute),
            (tokens * self.scale, self.tokens_per_minute),
        )
        seconds = [amount * 60 / limit for amount, limit in limits if limit]
        return max(seconds, default=None)


def known_limits(client: "redis.Redis", name: str) -> KnownLimits:
    """What workers know of a model's limits now; nothing without Redis. Never raises."""
    wanted = ("requests_limit", "requests_period", "tokens_limit", "tokens_period", "scale")
    try:
        found: Any = client.hmget(_key(name, "left"), wanted)
    except (redis.RedisError, OSError):
        return KnownLimits(None, None)
    requests, requests_ms, tokens, tokens_ms, scale = (
        None if value is None else _number(value) for value in found
    )
    return KnownLimits(
        requests and requests * 60_000 / (requests_ms or 60_000),
        tokens and tokens * 60_000 / (tokens_ms or 60_000),
        scale or 1.0,
    )


def _key(name: str, part: str) -> str:
    # The braces keep all keys on one node of a Redis cluster.
    digest = hashlib.sha256(name.encode()).hexdigest()[:16]
    return f"docmill:limits:{{{digest}}}:{part}"


class OwnShare:
    """Decides alone how much this worker may request. Thread-safe.

    It remembers the last known limits and the number of workers that share them.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: dict[str, _Bucket] = {}
        self._blocked_until = 0.0
        self.workers = 1
        self.scale = 1.0

    def know(self, what: str, limit: float, period: float = 60.0) -> None:
        """Set the limit of `requests` or `tokens`, and the seconds in which it fills up."""
        with self._lock:
            bucket = self._buckets.setdefault(what, _Bucket(limit, period, 0.0, self._clock()))
            bucket.limit, bucket.period = limit, period

    def limit(self, what: str) -> float | None:
        """The limit of all workers, per minute."""
        bucket = self._buckets.get(what)
        return None if bucket is None else bucket.limit * 60 / bucket.period

    def begin(self) -> None:
        """Start without Redis: use this worker's share from now on, and nothing from before."""
        with self._lock:
            for bucket in self._buckets.values():
                bucket.left, bucket.at = 0.0, self._clock()

    def ask(self, tokens: int) -> float:
        """Take a request of this many tokens and return 0, or the seconds until the next try."""
        costs = {"requests": 1.0, "tokens": tokens * self.scale}
        with self._lock:
            now = self._clock()
            wait = self._blocked_until - now
            for what, bucket in self._buckets.items():
                bucket.refill(now, self.workers)
                wait = max(wait, bucket.seconds_until(costs[what], self.workers))
            if wait > 0:
                return wait
            for what, bucket in self._buckets.items():
                bucket.left -= costs[what]
            return 0

    def heard(self, said: Said) -> None:
        """Learn the limits in an answer."""
        for what, quota in (("requests", said.requests), ("tokens", said.tokens)):
            if quota.limit is not None:
                self.know(what, quota.limit)
            if quota.remaining is not None:
                with self._lock:
                    bucket = self._buckets[what]
                    bucket.left = min(bucket.left, quota.remaining)

    def pause(self, seconds: float) -> None:
        """Allow nothing for this many seconds."""
        self._blocked_until = max(self._blocked_until, self._clock() + seconds)


class SharedLimits:
    """The limits for one model of a provider (`Limits` in worker/ports.py)."""

    def __init__(
        self,
        client: "redis.Redis",
        name: str,
        *,
        worker: str,
        priority: int,
        longest_request_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`name` is the same in all workers. A lower priority goes first; uploads have 0."""
        self._script = client.register_script(_SCRIPT)
        self._keys = [_key(name, part) for part in ("left", "line", "asked", "open", "workers")]
        self._worker = worker
        self._priority = priority
        self._longest_ms = round(longest_request_seconds * 1000)
        self._clock = clock
        self._own = OwnShare(clock)
        self._most: float | None = None  # tokens that are available at once
        self._away_until = 0.0
        self._is_away = False

    def ask(self, tokens: int) -> Permit | float:
        """A permit for a request, or the seconds until the next try. Never raises."""
        known = [_written(self._own.limit(what)) for what in ("requests", "tokens")]
        found = self._call("ask", self._worker, self._priority, tokens, self._longest_ms, *known)
        if found is None:
            wait = self._own.ask(tokens)
            return wait if wait > 0 else Permit(tokens)
        receipt, wait_ms, *limits, most, scale, workers = found
        self._learn(limits, scale, workers)
        self._most = _number(most)
        if receipt:
            return Permit(tokens, _text(receipt))
        return max(int(wait_ms), 1) / 1000

    def leave(self) -> None:
        """Stop waiting for a permit. Never raises."""
        self._call("leave", self._worker, self._priority)

    def settle(self, permit: Permit, outcome: Outcome | None) -> None:
        """Report the result of a request; None: it was not sent. Never raises."""
        if outcome is None:
            if permit.receipt:
                self._call("settle", permit.receipt, "", 0, "", "1", *[""] * 7)
            return
        said = read_headers(outcome.headers)
        asked = outcome.pause_seconds
        pause = min(_PAUSE_SECONDS if asked is None else asked, _LONGEST_PAUSE_SECONDS)
        self._own.heard(said)
        if outcome.refused:
            self._own.pause(pause)
        if permit.receipt:
            self._call(
                "settle",
                permit.receipt,
                _written(outcome.billed),
                round(outcome.seconds * 1000),
                "1" if outcome.refused else "",
                "",
                _written(pause * 1000),
                *_quota_arguments(said.requests),
                *_quota_arguments(said.tokens),
            )

    def most_tokens(self) -> int | None:
        """The most tokens that a request should have; None: the limit is not known."""
        limit = self._own.limit("tokens")
        if limit is None:
            return None
        most = min(limit * _REQUEST_SECONDS / 60, (self._most or limit) * _MOST_SHARE)
        return max(1, round(most / self._own.scale))

    @property
    def is_alone(self) -> bool:
        """Whether Redis did not answer the last call."""
        return self._is_away

    def _learn(self, limits: list[Any], scale: Any, workers: Any) -> None:
        requests, tokens, requests_ms, tokens_ms = (_number(value) for value in limits)
        for what, limit, period in (
            ("requests", requests, requests_ms),
            ("tokens", tokens, tokens_ms),
        ):
            if limit:
                self._own.know(what, limit, (period or 60_000) / 1000)
        self._own.scale = _number(scale) or 1.0
        self._own.workers = max(1, int(workers))

    def _call(self, *arguments: str | float) -> Any:
        """The result of the script; None if Redis does not answer."""
        if self._clock() < self._away_until:
            return None
        try:
            found = self._script(keys=self._keys, args=list(arguments))
        except (redis.RedisError, OSError) as error:
            self._away_until = self._clock() + REDIS_PAUSE_SECONDS
            if not self._is_away:
                self._is_away = True
                self._own.begin()
                log.warning("limits_not_shared", error=type(error).__name__)
            return None
        self._is_away = False
        return found


def _quota_arguments(quota: Quota) -> list[str]:
    reset = None if quota.reset_seconds is None else quota.reset_seconds * 1000
    return [_written(quota.limit), _written(quota.remaining), _written(reset)]


def _written(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _number(value: bytes | str) -> float | None:
    text = _text(value)
    return float(text) if text else None
