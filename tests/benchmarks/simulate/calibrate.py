"""From two measured loads to demands; and how far predictions are from what was measured. Pure."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from tests.benchmarks.simulate.measure import Alone, File, Load
from tests.benchmarks.simulate.model import Arrival, Demands, Kind, Plant, simulate


def fit_costs(amounts: Sequence[Sequence[float]], totals: Sequence[float]) -> tuple[float, ...]:
    """Costs, none negative, so that amounts times costs come nearest to the totals, as shares."""
    rows = np.array(amounts) / np.array(totals)[:, None]
    wanted = np.ones(len(totals))
    columns = range(rows.shape[1])
    best, found = np.inf, np.zeros(rows.shape[1])
    for size in range(1, len(columns) + 1):
        for used in combinations(columns, size):
            costs, *_ = np.linalg.lstsq(rows[:, used], wanted, rcond=None)
            off = float(np.sum((rows[:, used] @ costs - wanted) ** 2))
            if costs.min() >= 0 and off < best - 1e-12:
                best, found = off, np.zeros(rows.shape[1])
                found[list(used)] = costs
    return tuple(map(float, found))


def early_share(few: Load, part: str) -> float:
    """Of a part's time, what comes before embeddings; of documents that shared one request."""
    return min(1.0, few.early_cpu[part] / few.run_cpu[part]) if few.run_cpu[part] else 0.5


def demands_of(
    few: Load, loads: Sequence[Load], alone: dict[str, Alone], hnsw: tuple[float, float]
) -> Demands:
    """What a document demands, from loads that differ in kinds and pages.

    `few`: so few small ones that all of them are read before the first request. `alone`: what a
    document of a kind takes without a child. The proportions of kinds are kept, those of beginnings
    and of pages each, and made to fit what the children of all loads took.
    """

    def costs(part: str) -> tuple[float, ...]:
        amounts = [(len(load.files), load.chunks) for load in loads]
        return fit_costs(amounts, [load.run_cpu[part] for load in loads])

    read_document, first, page = fit_costs(
        [
            (
                len(load.files),
                sum(alone[kind].first for kind, _ in load.files),
                sum(alone[kind].page * pages for kind, pages in load.files),
            )
            for load in loads
        ],
        [load.run_cpu["reading"] for load in loads],
    )
    worker, postgres, around = costs("worker"), costs("PostgreSQL"), costs("around")
    uploads = sum(len(load.files) for load in loads)
    large = loads[-1]
    return Demands(
        kinds={
            kind: Kind(page * one.page, chunks_of_page(kind, loads), read_first=first * one.first)
            for kind, one in alone.items()
        },
        read_document=read_document,
        worker_document=worker[0],
        worker_chunk=worker[1],
        postgres_upload=sum(load.upload_cpu["PostgreSQL"] for load in loads) / uploads,
        postgres_document=postgres[0],
        postgres_chunk=postgres[1],
        receiver_document=sum(load.upload_cpu["receiver"] for load in loads) / uploads,
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
