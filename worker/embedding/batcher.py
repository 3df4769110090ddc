"""Packs the texts of all running jobs into full requests, the owners of the jobs taking turns.

One small document fills no request; a hundred of them do. Jobs submit their texts and wait for
their vectors; a thread collects what is there, and a few request threads keep as many requests
in flight. A request goes when it is full, or when the first of its texts has waited long enough,
which is not at all where nobody would join it (`Company`). A text that the provider
refuses is found by halving its request; the others arrive. For a while the owner of such a text
shares no request with others, who would pay for the search with their time. What arrived is handed
over even when another request of the same job failed: it was paid for.
"""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from docmill.worker.embedding.company import Company, Member
from docmill.worker.embedding.serving import serves
from docmill.worker.embedding.submission import Item, Submission
from docmill.worker.embedding.turns import Turns
from docmill.worker.errors import JobError
from docmill.worker.log import get_logger
from docmill.worker.ports import Embedder, Vector, Vectors

log = get_logger(__name__)

#: More tokens than a provider takes in one text: 8,191 of OpenAI's.
MAX_TEXT_TOKENS: Final = 8191
#: So many refused texts of a request, and none accepted: it may be the provider, not the texts.
SUSPICIOUS_TEXTS: Final = 4
#: How long an owner's texts travel apart from others' after one of them was refused.
APART_SECONDS: Final = 300


@dataclass
class _Search:
    """What is known of a request while its refused texts are looked for."""

    accepted: bool = False  #: any text of it
    refused: int = 0
    provider_serves: bool | None = None


class Batcher:
    """Embeds for many jobs at once. Thread-safe."""

    def __init__(
        self,
        embedder: Embedder,
        *,
        max_texts: int,
        max_tokens: int,
        requests: int,
        company: Company | None = None,
    ) -> None:
        """Begin to work. `company` is asked whether a text is to wait for others."""
        self._embedder = embedder
        self._company = company or Company()
        self._turns = Turns(max_texts=max_texts, max_tokens=max_tokens)
        #: Until when the texts of an owner travel apart.
        self._apart: dict[str, float] = {}
        self._changed = threading.Condition()
        self._company.on_left = self._look_again
        self._closing = False
        self._free = requests
        self._requests = ThreadPoolExecutor(requests, thread_name_prefix="embed")
        self._thread = threading.Thread(target=self._loop, name="batcher", daemon=True)
        self._thread.start()

    def submit(
        self,
        owner: str,
        texts: Sequence[str],
        token_counts: Sequence[int],
        *,
        member: Member | None = None,
        alone: bool = False,
    ) -> Submission:
        """Ask for the vectors of some texts.

        However many texts of other owners wait, the next request takes some of these, or the next
        but few where many owners wait. `member` is the run that they are of. `alone`: each in a
        request of its own, because it is likely to be refused.
        """
        submission = Submission(texts, token_counts, changed=self._changed, member=member)
        if not texts:
            return submission
        items = [
            Item(owner, submission, position, alone or token_counts[position] > MAX_TEXT_TOKENS)
            for position in range(len(texts))
        ]
        if member is not None:
            self._company.brought(member)
        with self._changed:
            self._turns.add(items)
            self._changed.notify()
        return submission

    def serves(self) -> bool:
        """Whether the provider embeds a harmless text now."""
        return serves(self._embedder)

    def close(self) -> None:
        """Take no more texts and wait for the requests in flight."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()
        self._requests.shutdown(wait=True, cancel_futures=True)

    def _look_again(self) -> None:
        with self._changed:
            self._changed.notify()

    def _loop(self) -> None:
        while True:
            with self._changed:
                if not self._wait_until_due():
                    return
                batch = self._turns.take(apart=self._those_apart())
                if not batch:
                    continue
                for item in batch:
                    item.submission.ask()
                self._free -= 1
            self._requests.submit(self._request_then_free, batch)

    def _wait_until_due(self) -> bool:
        """Return when a request is to be made. False: closed, and nothing is left."""
        while True:
            if self._closing and not self._turns.texts:
                return False
            # While no request is free the texts gather, and requests get full.
            wait = self._seconds_until_due() if self._free and self._turns.texts else None
            if wait is not None and wait <= 0:
                return True
            self._changed.wait(wait)

    def _seconds_until_due(self) -> float:
        if self._closing or self._turns.is_full():
            return 0
        return min(map(self._due_at, self._turns.heads())) - time.monotonic()

    def _due_at(self, item: Item) -> float:
        submission = item.submission
        if item.alone or submission.is_withdrawn() or submission.member is None:
            return 0
        return self._company.due_at(submission.member, submission.submitted_at)

    def _those_apart(self) -> Sequence[str]:
        now = time.monotonic()
        self._apart = {owner: until for owner, until in self._apart.items() if until > now}
        return list(self._apart)

    def _request_then_free(self, batch: list[Item]) -> None:
        try:
            self._request(batch)
        finally:
            with self._changed:
                self._free += 1
                self._changed.notify()

    def _request(self, batch: list[Item]) -> None:
        # Whatever happens here, every text of the batch gets its vector, a refusal or an error:
        # jobs wait for it.
        self._ask(batch, _Search())

    def _ask(self, batch: list[Item], search: _Search) -> None:
        try:
            vectors, tokens = self._embedder.embed([item.text for item in batch])
            shares = _shares(batch, vectors, tokens)
        except JobError as error:
            if error.code == "embedding_rejected":
                self._find_refused(batch, error, search)
            else:
                self._fail(batch, error)
        except BaseException as error:
            log.exception("embedding_crashed")
            self._fail(batch, JobError("internal_error", type(error).__name__))
        else:
            search.accepted = True
            with self._changed:
                for item, vector, billed in shares:
                    item.submission.deliver(item.position, vector, billed)

    def _find_refused(self, batch: list[Item], error: JobError, search: _Search) -> None:
        if len(batch) == 1:
            search.refused += 1
            self._refuse(batch[0])
            return
        middle = len(batch) // 2
        for half in (batch[:middle], batch[middle:]):
            if self._refuses_everything(search):
                self._fail(half, error)
            else:
                self._ask(half, search)

    def _refuses_everything(self, search: _Search) -> bool:
        """Whether the provider takes no text at all: then no text is to blame, and none is sought.

        A request of a thousand texts would otherwise be asked for two thousand times.
        """
        if search.accepted or search.refused < SUSPICIOUS_TEXTS:
            return False
        if search.provider_serves is None:
            search.provider_serves = self.serves()
        return not search.provider_serves

    def _refuse(self, item: Item) -> None:
        with self._changed:
            self._apart[item.owner] = time.monotonic() + APART_SECONDS
            item.submission.refuse(item.position)

    def _fail(self, batch: list[Item], error: JobError) -> None:
        with self._changed:
            for item in batch:
                item.submission.fail(error)


def _shares(batch: list[Item], vectors: Vectors, tokens: int) -> list[tuple[Item, Vector, float]]:
    """Each text with its vector and its share of the tokens. Raises ValueError if they do not pair.

    Nothing is delivered before all of it is known to fit.
    """
    estimated = sum(item.tokens for item in batch) or 1
    return [
        (item, vector, tokens * item.tokens / estimated)
        for item, vector in zip(batch, vectors, strict=True)
    ]
