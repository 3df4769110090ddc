"""Samples on the schedule: whether searches find what is nearest, and which indexes are too large.

Workers may not repair an index. What they find is stored with what an operator does about it.
"""

from collections import defaultdict
from collections.abc import Sequence
from statistics import fmean
from typing import Final

from docmill.worker.log import get_logger
from docmill.worker.maintenance.sweeps import Transaction
from docmill.worker.store import samples
from docmill.worker.store.samples import RecallOfSearch

log = get_logger(__name__)

#: Recall below this breaks the promise of searches (docs/retrieval.md).
PROMISED: Final = 0.98
OWNERS: Final = 3
QUERIES: Final = 5
HITS: Final = 10
#: The most chunks of an owner that are compared with a query: 1.5 GB at 1,536 dimensions.
MOST: Final = 500_000


def remedy(*, uses_graph: bool, is_sketched: bool) -> str:
    """How to repair searches that miss passages."""
    if uses_graph:
        return "the HNSW index misses passages here: turn it off with docmill index hnsw off"
    if not is_sketched:
        return "workers still sketch older chunks: try again when docmill doctor says ok"
    return "searches miss passages that an exact comparison finds: please report it"


def sample_recall(transaction: Transaction) -> None:
    """Compare a few searches of a few owners with all their passages, and store the result.

    Each search has a transaction of its own. Owners with more than MOST chunks are left out, and so
    are comparisons that take longer than a worker waits for a statement.
    """
    with transaction() as connection:
        wanted = samples.draw_recall(connection, owners=OWNERS, queries=QUERIES)
    found = defaultdict[str, list[RecallOfSearch]](list)
    for owner, query in wanted:
        with transaction() as connection:
            measured = samples.recall_of(connection, owner, query, hits=HITS, most=MOST)
        if measured is not None:
            found[owner].append(measured)
    seen, mend, is_graph = judged(list(found.values()))
    with transaction() as connection:
        samples.note_recall(connection, seen, mend, is_graph=is_graph)


def judged(found: Sequence[Sequence[RecallOfSearch]]) -> tuple[str, str | None, bool]:
    """What was seen of the searches of each owner; what mends it; whether it is the HNSW index."""
    if not found:
        return "no searches could be compared", None, False
    recalls = [fmean(one.share for one in of_owner) for of_owner in found]
    worst = min(recalls)
    seen = f"searches of {len(found)} owners find {100 * worst:.1f} % of the nearest or more"
    if worst >= PROMISED:
        return seen, None, False
    of_worst = found[recalls.index(worst)]
    uses_graph = any(one.uses_graph for one in of_worst)
    is_sketched = all(one.is_sketched for one in of_worst)
    return seen, remedy(uses_graph=uses_graph, is_sketched=is_sketched), uses_graph


def sample_bloat(transaction: Transaction) -> None:
    """Look for tables and indexes that take too much room, and store what is found."""
    with transaction() as connection:
        found = samples.sample_bloat(connection)
    if found:
        log.warning("room_wasted", relations=found)
