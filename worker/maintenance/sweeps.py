"""Sweeps through whole tables, page by page, each page a transaction of its own."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import timedelta
from uuid import UUID

from docmill.worker.store import maintenance
from docmill.worker.store.database import Connection
from docmill.worker.store.maintenance import Difference

Transaction = Callable[[], AbstractContextManager[Connection]]


def reconcile(
    transaction: Transaction, *, newest: timedelta | None, repair: bool
) -> Iterator[Difference]:
    """Compare Storage with documents; if `newest` is given, only what was written so lately.

    Each difference is repaired, or noted to be repaired, before it is returned, if it is to be.
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


def apply_pauses(transaction: Transaction) -> Iterator[int]:
    """Hold what is paused and let go on what is not; how many jobs changed, page by page."""
    after: UUID | None = None
    while True:
        with transaction() as connection:
            changed, after = maintenance.apply_pauses_page(connection, after=after)
        yield changed
        if after is None:
            return
