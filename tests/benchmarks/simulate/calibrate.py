"""From two measured loads to demands; and how far predictions are from what was measured. Pure."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tests.benchmarks.simulate.measure import File, Load
from tests.benchmarks.simulate.model import Arrival, Demands, Kind, Plant, simulate


def two_costs(
    amounts: tuple[tuple[float, float], tuple[float, float]], totals: tuple[float, float]
) -> tuple[float, float]:
    """Costs a and b, neither negative, so that each of two totals is its amounts times them.

    Where the two totals ask for a negative cost, it is 0, and the second total decides.
    """
    (p, q), (r, s) = amounts
    determinant = p * s - q * r
    a = (totals[0] * s - q * totals[1]) / determinant
    b = (p * totals[1] - totals[0] * r) / determinant
    if a < 0:
        return 0.0, totals[1] / s
    if b < 0:
        return totals[1] / r, 0.0
    return a, b


def early_share(few: Load, part: str) -> float:
    """Of a part's time, what comes before embeddings; of documents that shared one request."""
    return min(1.0, few.early_cpu[part] / few.run_cpu[part]) if few.run_cpu[part] else 0.5


def demands_of(
    few: Load, small: Load, large: Load, pages: dict[str, float], hnsw: tuple[float, float]
) -> Demands:
    """What a document demands, from a load of small documents and one of larger ones.

    `few`: so few small ones that all of them are read before the first request.
    `pages`: CPU seconds of a page by kind as read without a child. Their proportions are kept, and
    together they are made to fit what the children of both loads took.
    """

    def costs(part: str) -> tuple[float, float]:
        amounts = tuple((len(load.files), load.chunks) for load in (small, large))
        return two_costs(amounts, (small.run_cpu[part], large.run_cpu[part]))  # type: ignore[arg-type]

    def alone(load: Load) -> float:
        return sum(pages[kind] * count for kind, count in load.files)

    read_document, times = two_costs(
        ((len(small.files), alone(small)), (len(large.files), alone(large))),
        (small.run_cpu["reading"], large.run_cpu["reading"]),
    )
    worker, postgres, around = costs("worker"), costs("PostgreSQL"), costs("around")
    uploads = len(small.files) + len(large.files)
    return Demands(
        kinds={
            kind: Kind(times * seconds, chunks_of_page(kind, (small, large)))
            for kind, seconds in pages.items()
        },
        read_document=read_document,
        worker_document=worker[0],
        worker_chunk=worker[1],
        postgres_upload=(small.upload_cpu["PostgreSQL"] + large.upload_cpu["PostgreSQL"]) / uploads,
        postgres_document=postgres[0],
        postgres_chunk=postgres[1],
        receiver_document=(small.upload_cpu["receiver"] + large.upload_cpu["receiver"]) / uploads,
        around_document=around[0],
        around_chunk=around[1],
        tokens_chunk=large.tokens / large.chunks,
        worker_early=early_share(few, "worker"),
        postgres_early=early_share(few, "PostgreSQL"),
        hnsw=hnsw,
    )


def chunks_of_page(kind: str, loads: Sequence[Load]) -> float:
    """Chunks of a kind's pages, from the load that has most of it."""
    load = max(loads, key=lambda each: sum(pages for one, pages in each.files if one == kind))
    return load.chunks_by_kind[kind] / sum(pages for one, pages in load.files if one == kind)


def drain(plant: Plant, demands: Demands, files: Sequence[File]) -> float:
    """Documents a second that the model does, of a load that waits when the clock begins."""
    arrivals = [Arrival(0.0, kind, pages) for kind, pages in files]
    random.Random(1).shuffle(arrivals)  # the queue of one owner is in no order of kinds
    return simulate(replace(plant, uploaded=True, together=True), demands, arrivals).rate


def cores_of(load: Load, plant: Plant, demands: Demands) -> float:
    """Cores with which the model is as fast as the load was: what the machine had to give."""
    low, high = 0.02, 64.0
    for _ in range(40):
        cores = (low * high) ** 0.5
        if drain(replace(plant, cores=cores), demands, load.files) < load.rate:
            low = cores
        else:
            high = cores
    return high


@dataclass(frozen=True)
class Check:
    """One prediction beside what was measured."""

    name: str
    predicted: float
    measured: float
    cores: float  #: that the prediction was made for
    used: float  #: cores that the parts used in this run
    binds: str

    @property
    def error(self) -> float:
        """Share of what was measured by which the prediction is off; above 0: too high."""
        return self.predicted / self.measured - 1


def refusal(checks: Sequence[Check], bound: float) -> str | None:
    """Why nothing may be concluded from the model; None: every prediction is near enough."""
    if not checks:
        return "nothing was measured, so nothing is predicted"
    off = [check for check in checks if abs(check.error) > bound]
    if not off:
        return None
    named = ", ".join(f"{check.name} by {check.error:+.0%}" for check in off)
    return f"the model is off by more than {bound:.0%} ({named}): nothing is predicted from it"
