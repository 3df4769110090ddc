"""Sweeps through whole tables, page by page, each page a transaction of its own."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from docmill.worker.store import maintenance, reindex
from docmill.worker.store.database import Connection
from docmill.worker.store.maintenance import ChunkCopy, Difference

Transaction = Callable[[], AbstractContextManager[Connection]]

#: Number of documents for which one transaction makes jobs.
_PAGE: Final = 500


def reconcile(
    transaction: Transaction, *, newest: timedelta | None, repair: bool
) -> Iterator[Difference]:
    """Compare Storage with documents; with `newest`, only files that were written so recently.

    With `repair`, each difference is repaired, or noted for repair, before it is returned.
    """
    after: UUID | None = None
    while True:
        with transaction() as connection:
            found, after = maintenance.reconcile_page(
                connection, after=after, newest=newest, repair=repair
            )
        yield from found
        if after is None:
            return


def drain_withdrawn(transaction: Transaction, *, keep_embeddings: timedelta) -> Iterator[int]:
    """Remove the contents of withdrawn documents; yields how many rows, part by part.

    May be broken off after any part. The embeddings of deleted files are kept for so long.
    """
    yield from _until_none(
        transaction,
        lambda connection: maintenance.drain_withdrawn(connection, keep_embeddings=keep_embeddings),
    )


def fill_chunks(transaction: Transaction, copy: ChunkCopy) -> Iterator[int]:
    """Make the copies that chunks of an older release lack; yields how many, part by part.

    May be broken off after any part.
    """
    yield from _until_none(
        transaction, lambda connection: maintenance.fill_chunks(connection, copy)
    )


def _until_none(transaction: Transaction, do: Callable[[Connection], int]) -> Iterator[int]:
    done = None
    while done != 0:
        with transaction() as connection:
            done = do(connection)
        yield done


def apply_pauses(transaction: Transaction) -> Iterator[int]:
    """Hold paused jobs and resume others; yields how many jobs changed, page by page."""
    after: UUID | None = None
    while True:
        with transaction() as connection:
            changed, after = maintenance.apply_pauses_page(connection, after=after)
        yield changed
        if after is None:
            return


def read_again(
    transaction: Transaction,
    choice: Mapping[str, Any],
    *,
    limit: int | None = None,
    max_tokens: int | None = None,
) -> Iterator[Sequence[UUID]]:
    """Make a job for each chosen document, within limits on their number and their tokens.

    Yields the ids of the jobs. Safe to repeat: a document with a job is not chosen again.
    """
    after: UUID | None = None
    while limit is None or limit > 0:
        with transaction() as connection:
            page = reindex.read_again(
                connection,
                choice,
                limit=_PAGE if limit is None else min(_PAGE, limit),
                after=after,
                max_tokens=max_tokens,
            )
        yield page.job_ids
        limit = None if limit is None else limit - len(page.job_ids)
        max_tokens = None if max_tokens is None else max_tokens - page.tokens
        after = page.next_after
        if after is None:
            return
