"""How long an owner waits while another one sends many files, or files that are slow to read.

`make bench-fairness`; OPTIONS='--only cjk --samples 10' for less. Each kind of load runs on a fresh
installation with one worker, while an honest owner uploads a page, waits until it is searchable,
and uploads the next. The same run measures the honest owner without a load, and the load alone.

    beside    p95 of the honest owner's waits must be within 3 times the idle median and 2 s
    loss      the loading owner gets at least 0.8 of what it gets alone, in the same time
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from tests.benchmarks.figures import Figures, machine, print_table
from tests.benchmarks.installations import fresh_installation
from tests.faults.hostile_documents import pdf_that_draws_itself
from tests.support.installation import ALICE, BOB, Installation, until
from tests.support.slow import PARAGRAPH

SAMPLES: Final = 40
IDLE_SAMPLES: Final = 10
#: The longest time to measure a load, with and without the honest owner.
WINDOW_SECONDS: Final = 120.0
PAGE: Final = "A page of an honest owner. " * 60

File = tuple[str, bytes]


def small_files() -> Iterator[File]:
    """Two thousand notes."""
    for number in range(2000):
        yield f"{number}.txt", f"Note number {number}. {PAGE}".encode()


def cjk() -> Iterator[File]:
    """Sixty files of a megabyte of one Han letter."""
    for number in range(60):
        yield f"{number}.txt", f"{number}\n\n".encode() + "\u7684".encode() * 333_333


def monstrous() -> Iterator[File]:
    """Twenty files that keep a parser busy for twenty seconds or more."""
    for number in range(10):
        yield f"{number}.md", b"%d\n\n" % number + PARAGRAPH.encode() * 70_000
        yield f"{number}.pdf", pdf_that_draws_itself() + b"%%%d" % number


def backlog() -> Iterator[File]:
    """Seven hundred notes that have waited for ten minutes."""
    for number in range(700):
        yield f"{number}.txt", f"Old note number {number}. {PAGE}".encode()


def scans() -> Iterator[File]:
    """Twenty pictures of a page."""
    for number in range(20):
        yield f"{number}.pdf", make_scan(number)


def make_scan(number: int) -> bytes:
    """A page with a picture of some words."""
    from PIL import Image, ImageDraw

    picture = Image.new("L", (1240, 1754), 255)
    draw = ImageDraw.Draw(picture)
    for line in range(40):
        draw.text((80, 60 + 40 * line), f"Line {line} of scan {number}: {PAGE[:80]}", fill=0)
    with tempfile.TemporaryFile() as file:
        picture.save(file, "PDF")
        file.seek(0)
        return file.read()


LOADS: Final[dict[str, Callable[[], Iterator[File]]]] = {
    "small": small_files,
    "cjk": cjk,
    "monstrous": monstrous,
    "backlog": backlog,
    "scans": scans,
}


@dataclass
class Found:
    """The measurements beside one load."""

    beside: Figures
    load_alone: int
    load_beside: int

    @property
    def kept(self) -> float:
        """The share of its work that the loading owner completed beside the honest one."""
        return self.load_beside / self.load_alone if self.load_alone else 1.0


@contextmanager
def fresh() -> Iterator[Installation]:
    """An installation of its own, without a worker."""
    with fresh_installation() as running:
        running.start("beat")
        running.start_webhook()
        yield running


def upload_all(running: Installation, files: Iterator[File]) -> None:
    """Upload as Bob, eight at a time."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda file: running.upload(BOB, *file), files))


def one_wait(running: Installation) -> float:
    """Seconds until a new page of Alice's is searchable."""
    started = time.monotonic()
    name = running.upload(ALICE, f"page-{started}.txt", f"{started} {PAGE}")
    query = "select from ingest.documents where object_name = %s and searchable"
    until(lambda: bool(running.rows(query, name)), "an honest page", 600)
    return time.monotonic() - started


def waits(running: Installation, samples: int, seconds: float) -> list[float]:
    """One page after the other, until there are enough samples or the time is over."""
    found: list[float] = []
    begun = time.monotonic()
    while len(found) < samples and time.monotonic() - begun < seconds:
        found.append(one_wait(running))
    return found


def finished(running: Installation) -> int:
    """How many of Bob's jobs have ended."""
    (row,) = running.rows(
        "select count(*) from ingest.jobs where owner_id = %s and finished_at is not null", BOB
    )
    return int(row["count"])


def under_load(load: str, *, samples: int, window: float) -> tuple[list[float], int, float]:
    """The honest owner's waits, how much of the load was done in that time, and the time.

    Without samples the load is alone for the whole window.
    """
    with fresh() as running:
        if load == "backlog":
            upload_all(running, LOADS[load]())
            running.rows(
                """update ingest_private.job_queue
                      set aged_at = aged_at - interval '10 minutes' returning 1"""
            )
        running.start_worker()
        if load != "backlog":
            upload_all(running, LOADS[load]())
        before, started = finished(running), time.monotonic()
        found = waits(running, samples, window)
        while not samples and time.monotonic() - started < window:
            time.sleep(0.2)
        return found, finished(running) - before, time.monotonic() - started


def measure(load: str, samples: int) -> Found:
    """The honest owner with the load, then the load alone for the same time."""
    beside, done_beside, seconds = under_load(load, samples=samples, window=WINDOW_SECONDS)
    _none, done_alone, _seconds = under_load(load, samples=0, window=seconds)
    return Found(Figures(load, "s", beside), done_alone, done_beside)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Waits beside a load.")
    parser.add_argument("--only", choices=LOADS, action="append", help="these loads")
    parser.add_argument("--samples", type=int, default=SAMPLES)
    options = parser.parse_args()
    print(machine())
    with fresh() as running:
        running.start_worker()
        idle = Figures("idle", "s", waits(running, IDLE_SAMPLES, WINDOW_SECONDS))
    found = [measure(load, options.samples) for load in options.only or LOADS]
    print_table([idle, *(one.beside for one in found)])
    bound = 3 * idle.quantile(0.5) + 2
    for one in found:
        print(
            f"{one.beside.name}: p95 {one.beside.quantile(0.95):.1f} s against {bound:.1f} s; "
            f"the load got {one.load_beside} done beside, {one.load_alone} alone ({one.kept:.2f})"
        )


if __name__ == "__main__":
    main()
