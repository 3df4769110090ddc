"""What binds, without simulating: the demand of a document at each resource against what there is.

No pipeline does more than its scarcest resource allows (Denning and Buzen's bounds, 1978).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tests.benchmarks.simulate.model import Demands, Plant


@dataclass(frozen=True)
class Bound:
    """One resource."""

    demand: float  #: seconds of it, or units, of one document
    capacity: float  #: the same in a second

    @property
    def rate(self) -> float:
        """Documents a second at most."""
        return self.capacity / self.demand if self.demand else math.inf


def bounds(
    plant: Plant, demands: Demands, documents: Sequence[tuple[str, int]]
) -> dict[str, Bound]:
    """Each resource's bound for documents like these (kind, pages). Requests count as full."""
    count = len(documents)
    chunks = sum(demands.chunks(*document) for document in documents) / count
    reading = sum(demands.reading(*document) for document in documents) / count
    alone = sum(
        demands.reading(*document)
        for document in documents
        if demands.kinds[document[0]].one_at_a_time
    )
    worker = demands.worker_document + chunks * demands.worker_chunk
    queries = demands.postgres_document + chunks * demands.postgres_of_chunk(plant.hnsw_rows)
    upload = 0.0 if plant.uploaded else demands.postgres_upload
    receiver = 0.0 if plant.uploaded else demands.receiver_document
    requests = chunks / min(plant.batch, plant.batch_tokens / demands.tokens_chunk)
    machine = reading + worker + receiver
    around = demands.around_document + chunks * demands.around_chunk
    held = reading + worker + queries + plant.latency + (around if plant.together else 0.0)
    found = {
        "the worker's process": Bound(worker, plant.workers),
        "scans, one at a time": Bound(alone / count, plant.workers),
        "children": Bound(reading, plant.workers * plant.children),
        "connections": Bound(queries, plant.workers * plant.connections),
        "slots": Bound(held, plant.workers * plant.slots),
        "requests in flight": Bound(requests * plant.latency, plant.workers * plant.requests),
    }
    if plant.together:
        found["cores of workers"] = Bound(machine + queries + upload + around, plant.cores)
    else:
        found["cores of workers"] = Bound(machine, plant.workers * plant.cores)
        found["cores of PostgreSQL"] = Bound(queries + upload, plant.database_cores)
    if plant.tokens_a_minute:
        tokens = chunks * demands.tokens_chunk
        found["tokens a minute"] = Bound(tokens, plant.tokens_a_minute / 60)
    if plant.requests_a_minute:
        found["requests a minute"] = Bound(requests, plant.requests_a_minute / 60)
    return found


def binding(found: dict[str, Bound]) -> str:
    """The resource that allows least."""
    return min(found, key=lambda name: found[name].rate)


def doubled(plant: Plant, resource: str) -> Plant:
    """Twice as much of one resource."""
    fields = {
        "children": "children",
        "connections": "connections",
        "slots": "slots",
        "requests in flight": "requests",
        "cores of workers": "cores",
        "cores of PostgreSQL": "database_cores",
        "tokens a minute": "tokens_a_minute",
        "requests a minute": "requests_a_minute",
    }
    name = fields[resource]
    return replace(plant, **{name: 2 * getattr(plant, name)})


def workers_needed(
    plant: Plant,
    demands: Demands,
    documents: Sequence[tuple[str, int]],
    a_second: float,
    at_most: float = 0.7,
) -> int:
    """Workers so that nothing that comes with a worker is used more than `at_most`."""
    one = bounds(replace(plant, workers=1), demands, documents)
    rate = min(
        one[name].rate
        for name in (
            *("cores of workers", "the worker's process", "children", "connections"),
            *("slots", "requests in flight", "scans, one at a time"),
        )
    )
    return max(1, math.ceil(a_second / (at_most * rate)))
