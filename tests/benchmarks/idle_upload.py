"""How long a page takes from upload to searchable on an idle installation, and where the time goes.

`make bench-idle-upload`; OPTIONS='--samples 20' for less. Pages are uploaded one after the other,
with pauses, usual settings, and a provider that answers at once.

    store     the client's upload, until Storage has committed it
    hint      trigger, webhook, receiver, message, claim
    download  from the claim: look at the object, download it, look again
    extract   a child reads and chunks it
    ask       until the request has reached the provider
    embed     the provider's answer
    stage     until the embeddings are staged
    publish   until it is committed
    seen      until a client that asks every 5 ms sees it
"""

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Final
from uuid import uuid4

from tests.benchmarks.engine import fresh
from tests.benchmarks.figures import Figures, machine, print_table
from tests.schema.actors import Connection
from tests.support.installation import BOB, BUCKET, Installation
from tests.support.provider_program import RunningProvider

SAMPLES: Final = 100
WARM_UP: Final = 10
PAUSE_SECONDS: Final = 0.3
LOOK_SECONDS: Final = 0.005
PAGE: Final = "A page of somebody who waits for it. " * 20
STAGES: Final = (
    *("store", "hint", "download", "extract"),
    *("ask", "embed", "stage", "publish", "seen"),
)

_SEEN: Final = b"select from ingest.documents where object_name = %s and searchable"
_TIMES: Final = b"""
    select extract(epoch from job.created_at)::float8, extract(epoch from job.started_at)::float8,
           extract(epoch from published.published_at)::float8
      from ingest.documents as document
           join ingest.jobs as job on job.id = document.latest_job_id
           join ingest_private.published_versions as published
             on published.document_id = document.id
     where document.object_name = %s
"""


class Uploads:
    """One page after the other."""

    def __init__(self, running: Installation, provider: RunningProvider, log: Path) -> None:
        self._log = log
        self._folder = running.client(BOB).storage.from_(BUCKET)
        self._provider = provider
        self._running = running
        self.whole = Figures("upload to searchable", "ms")
        self.stages = {stage: Figures(stage, "ms") for stage in STAGES}

    @contextmanager
    def connected(self) -> Iterator[Connection]:
        """The connection of a client that asks whether a page is searchable."""
        with self._running.database.connect() as connection:
            yield connection

    def _worker_says(self) -> tuple[dict[str, float], float]:
        """Seconds of each stage of the latest document, and when the last stage ended."""
        lines = [json.loads(line) for line in self._log.read_text().splitlines()]
        said = [line for line in lines if line.get("event") == "document_published"][-1]
        return said["seconds"], datetime.fromisoformat(said["timestamp"]).timestamp()

    def one(self, connection: Connection) -> None:
        """Upload a page, wait for it, note the time of each stage."""
        name = f"{BOB}/{uuid4()}.txt"
        began = time.time()
        self._folder.upload(name, f"{name} {PAGE}".encode())
        while connection.execute(_SEEN, [name]).fetchone() is None:
            time.sleep(LOOK_SECONDS)
        seen = time.time()
        row = connection.execute(_TIMES, [name]).fetchone()
        assert row is not None
        created, started, published = row
        books = self._provider.books()
        seconds, ended = self._worker_says()
        publishing = ended - seconds["publishing"]
        embedding = publishing - seconds["embedding"]
        extracting = embedding - seconds["extracting"]
        points = [began, created, started, extracting, embedding]
        points += [books["asked_at"], books["answered_at"], publishing, published, seen]
        for stage, (start, end) in zip(STAGES, pairwise(points), strict=True):
            self.stages[stage].values.append(1000 * (end - start))
        self.whole.values.append(1000 * (seen - began))

    def forget(self) -> None:
        """Drop the first measurements, which warm up."""
        for figures in (self.whole, *self.stages.values()):
            figures.values.clear()


def print_waterfall(uploads: Uploads) -> None:
    """Print the medians of the stages, one below the other."""
    at = 0.0
    print("```text")
    for stage, figures in uploads.stages.items():
        length = figures.quantile(0.5)
        bar = " " * round(at / 2) + "#" * max(1, round(length / 2))
        print(f"{stage:8} {length:6.1f} ms  {bar}")
        at += length
    print("```")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="One page on an idle installation.")
    parser.add_argument("--samples", type=int, default=SAMPLES)
    options = parser.parse_args()
    print(machine())
    with fresh() as (running, provider):
        worker = running.start_worker()
        uploads = Uploads(running, provider, worker.log_path)
        with uploads.connected() as connection:
            for number in range(WARM_UP + options.samples):
                if number == WARM_UP:
                    uploads.forget()
                uploads.one(connection)
                time.sleep(PAUSE_SECONDS)
    print_table([uploads.whole, *uploads.stages.values()])
    print_waterfall(uploads)


if __name__ == "__main__":
    main()
