"""How long a provider's limits let a corpus be embedded, as `docmill reindex start` says it."""

from dataclasses import dataclass
from math import ceil

from docmill.worker.clients.shared_limits import KnownLimits
from docmill.worker.processes.connections import limits_of
from docmill.worker.providers.base import LocalProvider
from docmill.worker.providers.registry import PROVIDERS
from docmill.worker.settings.processes import Settings


@dataclass(frozen=True)
class Pace:
    """The shortest time, and what it follows from."""

    minutes: int | None  #: None if nothing is known that bounds it
    said: str


def pace_of(
    settings: Settings, provider: str, model: str, *, chunks: int, tokens: int, is_bulk: bool
) -> Pace:
    """How long a provider's limits make it take to embed so many chunks and tokens.

    The limits are those that workers have learnt from the answers of this model.
    """
    known = PROVIDERS.get(provider)
    if isinstance(known, LocalProvider):
        return Pace(None, "as fast as the workers' machines embed")
    if is_bulk:
        return Pace(None, "a batch of the provider takes up to a day")
    requests = max(
        ceil(chunks / settings.embedding_batch_size),
        ceil(tokens / settings.embedding_batch_tokens),
    )
    url = None if settings.redis_url is None else settings.redis_url.get_secret_value()
    limits = limits_of(provider, model, url)
    return paced(limits, requests=requests, tokens=tokens)


def paced(limits: KnownLimits, *, requests: int, tokens: int) -> Pace:
    """The time that these limits allow."""
    seconds = limits.seconds_for(requests=requests, tokens=tokens)
    if seconds is None:
        return Pace(None, "unknown limit: no worker has used this model in the last day")
    minutes = ceil(seconds / 60)
    allowed = [
        f"{round(limit)} {what} a minute"
        for limit, what in (
            (limits.requests_per_minute, "requests"),
            (limits.tokens_per_minute, "tokens"),
        )
        if limit
    ]
    return Pace(minutes, f"{minutes} min at least, by the limit of {' and '.join(allowed)}")
