"""Measure, predict what was not measured, compare; and only then say how it grows.

`make simulate`; OPTIONS="--bound 0.3 --a-day 5000" for other bounds and days. It takes some
minutes, most of them for real loads on a real installation:

1. Three loads, of small documents and of larger ones, give what a document demands of each part.
2. From these the model predicts other loads: longer documents, a slow provider, an HNSW index, a
   limit, few slots, small requests. Each is then measured.
3. If one prediction is off by more than the bound, the program ends with status 1 and extrapolates
   nothing. Otherwise it prints days that no machine here could run.
"""

import argparse
import random
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from tests.benchmarks.figures import machine
from tests.benchmarks.simulate.bounds import binding, bounds, workers_needed
from tests.benchmarks.simulate.calibrate import Check, cores_of, demands_of, drain, refusal
from tests.benchmarks.simulate.measure import (
    LATENCY_MS,
    Bench,
    File,
    Load,
    bench,
    fit_log,
    hnsw_costs,
    mixed,
    read_alone,
)
from tests.benchmarks.simulate.model import (
    OFFICE_DAY,
    Demands,
    Kind,
    Mix,
    Plant,
    day,
    simulate,
)

BOUND: Final = 0.25
FEW: Final = 30
LOOK: Final = 40
SMALL: Final = 100
SHORT: Final = 50
LARGE: Final = 50
PAGES: Final = range(4, 9)  #: of the larger documents
OTHER_PAGES: Final = range(1, 9)  #: of those that are predicted
#: Recognising a scanned page takes so many seconds of a core: docs/measurements.md.
SCAN: Final = Kind(read_page=6.5, chunks_page=2.0, one_at_a_time=True)
DIMENSIONS_MEASURED: Final = 256
DIMENSIONS_USUAL: Final = 1536
#: Documents of an office: shares, and pages that are equally likely.
OFFICE: Final = Mix(
    {"pdf": 0.40, "docx": 0.25, "html": 0.10, "md": 0.10, "txt": 0.10, "scan": 0.05},
    {
        "pdf": (1, 2, 4, 8, 30),
        "docx": (1, 2, 4, 10),
        "html": (1, 2, 3),
        "md": (1, 2, 4),
        "txt": (1, 1, 5),
        "scan": (1, 2, 6),
    },
)
#: Rows of an HNSW index: more than were measured.
INDEXED: Final = 1_000_000
#: The busiest hours: those that are simulated.
HOURS: Final = range(9, 12)


@dataclass(frozen=True)
class Case:
    """A load that is predicted, then measured."""

    name: str
    files: list[File]
    plant: Plant
    behaviour: dict[str, float] = field(default_factory=dict)
    hnsw: bool = False


def settings_of(plant: Plant) -> dict[str, str]:
    """Of a worker."""
    return {
        "DOCMILL_SLOTS": str(plant.slots),
        "DOCMILL_EMBEDDING_REQUESTS": str(plant.requests),
        "DOCMILL_EMBEDDING_BATCH_SIZE": str(plant.batch),
    }


def cases(plant: Plant, demands: Demands, large: Load) -> list[list[Case]]:
    """Groups of cases; the cores of the machine are measured again between two groups."""
    chance = random.Random(2)
    long = [(kind, chance.randint(12, 20)) for kind in ("pdf", "docx", "html") * 6]
    half, whole = (mixed(number, OTHER_PAGES, chance) for number in (40, 80))
    limit = 60 * large.tokens / large.seconds / 2
    return [
        [Case("documents of 12 to 20 pages", long, plant)],
        [
            Case(
                "provider answers after 4 s",
                half,
                replace(plant, latency=4.0),
                {"latency_ms": 4000},
            )
        ],
        [Case("HNSW index", whole, plant, hnsw=True)],
        [
            Case(
                f"limit of {limit:,.0f} tokens a minute",
                whole,
                replace(plant, tokens_a_minute=limit, burst_seconds=10),
                {"tokens_a_minute": limit, "burst_seconds": 10},
            ),
            Case(
                "4 slots, provider answers after 1.5 s",
                [("txt", 1)] * 32,
                replace(plant, slots=4, latency=1.5),
                {"latency_ms": 1500},
            ),
            Case(
                "requests of 16 texts, one at a time, 1 s each",
                half,
                replace(plant, requests=1, batch=16, latency=1.0),
                {"latency_ms": 1000},
            ),
        ],
    ]


def measure(files: Path) -> tuple[Demands, list[Check], tuple[float, float]]:
    """Demands, the checks of the model, and what a row costs with HNSW and the usual dimensions."""
    plant, chance = Plant(cores=1, latency=LATENCY_MS / 1000), random.Random(1)
    alone = read_alone(files)
    with bench() as running:
        plant = replace(plant, children=running.children)
        index, usual = (
            hnsw_costs(running.running, dimensions)
            for dimensions in (DIMENSIONS_MEASURED, DIMENSIONS_USUAL)
        )
        print_index({DIMENSIONS_MEASURED: index, DIMENSIONS_USUAL: usual})
        running.use_worker(settings_of(plant))
        few = running.load([("txt", 1)] * FEW)
        small = running.load([("txt", 1)] * SMALL)
        short = running.load(mixed(SHORT, (1,), chance))
        stored = running.stored_bytes()
        large = running.load(mixed(LARGE, PAGES, chance))
        stored = running.stored_bytes() - stored
        print(f"{stored / large.chunks:,.0f} bytes of tables and indexes a chunk\n")
        loads = {
            "one page of text": small,
            "all kinds, 1 page": short,
            f"all kinds, {PAGES[0]} to {PAGES[-1]} pages": large,
        }
        demands = demands_of(few, list(loads.values()), alone, fit_log(index))
        print_demands(loads, demands)
        checks = list(check_all(running, plant, demands, large))
    return demands, checks, fit_log(usual)


def check_all(running: Bench, plant: Plant, demands: Demands, large: Load) -> Iterator[Check]:
    """Predict and measure each case, between two looks at what the machine has to give."""
    cores = cores_of(large, plant, demands)
    found = []
    for group in cases(plant, demands, large):
        measured = [(case, *measure_case(running, case)) for case in group]
        running.use_worker(settings_of(plant))
        before, cores = cores, cores_of(running.load(large.files[:LOOK]), plant, demands)
        found += [compare(*each, (before + cores) / 2, demands) for each in measured]
    yield from found


def measure_case(running: Bench, case: Case) -> tuple[Load, int]:
    """What it did; and the rows of the HNSW index half-way."""
    running.use_worker(settings_of(case.plant))
    if case.hnsw:
        running.use_hnsw(used=True)
    before = running.rows_of_index()
    load = running.load(case.files, **case.behaviour)
    if case.hnsw:
        running.use_hnsw(used=False)
    return load, before + load.chunks // 2 if case.hnsw else 0


def compare(case: Case, load: Load, rows: int, cores: float, demands: Demands) -> Check:
    """The prediction beside it."""
    plant = replace(case.plant, cores=cores, hnsw_rows=rows, together=True, uploaded=True)
    found = bounds(plant, demands, case.files)
    rate = drain(plant, demands, case.files)
    return Check(case.name, rate, load.rate, cores, load.cores, binding(found))


# -- what is printed


def print_index(found: dict[int, list[tuple[int, float, float]]]) -> None:
    """What a row of an HNSW index takes."""
    print("| dimensions | rows in the index | PostgreSQL, ms a row | index, bytes a row |")
    print("| --- | --- | --- | --- |")
    for dimensions, rows in found.items():
        for count, seconds, size in rows:
            print(f"| {dimensions} | {count:,} | {1000 * seconds:.2f} | {size:,.0f} |")
    print()


def print_demands(loads: dict[str, Load], demands: Demands) -> None:
    """The loads, and what follows of them."""
    print("| load | documents | chunks | requests | docs/s | cores used |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, load in loads.items():
        print(
            f"| {name} | {len(load.files)} | {load.chunks} | {load.requests:.0f} |"
            f" {load.rate:.1f} | {load.cores:.2f} |"
        )
    print("\n| CPU, ms | a document | a chunk |\n| --- | --- | --- |")
    for name, a_document, a_chunk in (
        ("worker", demands.worker_document, demands.worker_chunk),
        ("PostgreSQL, run", demands.postgres_document, demands.postgres_chunk),
        ("PostgreSQL, upload", demands.postgres_upload, 0.0),
        ("receiver", demands.receiver_document, 0.0),
        ("Storage's stand-in and Redis", demands.around_document, demands.around_chunk),
    ):
        print(f"| {name} | {1000 * a_document:.1f} | {1000 * a_chunk:.2f} |")
    pages = ", ".join(
        f"{kind} {1000 * each.read_first:.1f} + {1000 * each.read_page:.1f}"
        for kind, each in demands.kinds.items()
    )
    print(
        f"| of these before the embeddings | worker {demands.worker_early:.0%},"
        f" PostgreSQL {demands.postgres_early:.0%} | |"
    )
    print(f"| child | {1000 * demands.read_document:.1f}, and a document + a page of {pages} | |\n")


def print_checks(checks: Sequence[Check]) -> None:
    """Predictions beside measurements."""
    print("| load | predicted, docs/s | with cores | measured | cores used | error | binds |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for check in checks:
        print(
            f"| {check.name} | {check.predicted:.2f} | {check.cores:.2f} | {check.measured:.2f} |"
            f" {check.used:.2f} | {check.error:+.0%} | {check.binds} |"
        )
    print()


def print_days(demands: Demands, a_day: Sequence[int], plant: Plant) -> None:
    """Days of an office, in their busiest hours; of the most documents also with an HNSW index."""
    chance = random.Random(3)
    sample = [OFFICE.draw(chance) for _ in range(2000)]
    chunks = sum(demands.chunks(*one) for one in sample) / len(sample)
    print(
        f"Documents of {chunks:.1f} chunks on average, {OFFICE.shares['scan']:.0%} of them scans. "
        f"Workers have {plant.cores:.0f} cores, PostgreSQL {plant.database_cores:.0f}; the "
        f"provider allows {plant.tokens_a_minute:,.0f} tokens a minute.\n"
    )
    print(
        "| documents a day | HNSW, rows | busiest hour, docs/s | workers | used in that hour |"
        " binds first, at docs/s | wait for a slot, p50, p95 (s) |"
        " to searchable, p50, p95 (s) | queue's peak |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    most = max(a_day)
    for documents, rows in [*((each, 0) for each in a_day), (most, INDEXED)]:
        print(day_row(demands, documents, replace(plant, hnsw_rows=rows), sample), flush=True)


def day_row(demands: Demands, documents: int, plant: Plant, sample: Sequence[File]) -> str:
    """One number of documents a day."""
    peak = documents * max(OFFICE_DAY) / 3600
    plant = replace(plant, workers=workers_needed(plant, demands, sample, peak))
    found = bounds(plant, demands, sample)
    used = sorted(found, key=lambda name: found[name].rate)[:4]
    shares = ", ".join(f"{name} {peak / found[name].rate:.1%}" for name in used)
    said = simulate(plant, demands, day(documents, OFFICE, random.Random(4), hours=HOURS))
    return (
        f"| {documents:,} | {plant.hnsw_rows:,} | {peak:.4f} | {plant.workers} | {shares} |"
        f" {binding(found)}, {found[binding(found)].rate:.2f} |"
        f" {said.wait(0.5):.2f}, {said.wait(0.95):.2f} |"
        f" {said.sojourn(0.5):.2f}, {said.sojourn(0.95):.2f} | {said.queue_peak} |"
    )


def main() -> None:
    """Measure, check, and extrapolate if the check is passed."""
    parser = argparse.ArgumentParser(description="A model of the pipeline, checked first.")
    parser.add_argument("--bound", type=float, default=BOUND, help="largest error, as a share")
    parser.add_argument("--a-day", default="10,1000,10000,100000", help="documents a day")
    parser.add_argument("--cores", type=float, default=2, help="of a worker's machine")
    parser.add_argument("--database-cores", type=float, default=2)
    parser.add_argument("--tokens-a-minute", type=float, default=1_000_000)
    parser.add_argument("--requests-a-minute", type=float, default=3000)
    options = parser.parse_args()
    print(f"{machine()}\n", flush=True)
    with tempfile.TemporaryDirectory(prefix="docmill-simulate-") as folder:
        demands, checks, usual = measure(Path(folder))
    print_checks(checks)
    if reason := refusal(checks, options.bound):
        sys.exit(reason)
    plant = Plant(
        cores=options.cores,
        database_cores=options.database_cores,
        tokens_a_minute=options.tokens_a_minute,
        requests_a_minute=options.requests_a_minute,
    )
    demands = replace(demands, kinds=demands.kinds | {"scan": SCAN}, hnsw=usual)
    print_days(demands, [int(number) for number in options.a_day.split(",")], plant)


if __name__ == "__main__":
    main()
