"""docmill and its peers on the same files: speed, number of requests, and work.

`make bench-peers`; OPTIONS="--runs 1" for less. Each peer runs in its own venv under .venv/peers,
with its newest release, which is printed. All embed with one provider, which answers after 200 ms,
and write to the PostgreSQL of docmill's wheel. No side has a vector index, because none of them
makes one by itself.

Peers read a folder and write rows. docmill gets each file through Storage's API, and its time ends
when the last file can be searched. So its time includes more: uploads, triggers, job rows, reading
in children without rights, words for text search. On both sides the clock starts after all imports.

The sides do not do the same work. Peers read in their own process, with the libraries of their
loaders (pypdf, docx2txt, BeautifulSoup): a text without headings, lists, tables or pages. It is cut
at 1,600 characters, or 300 words by LlamaIndex. docmill reads with its own readers, keeps these,
and cuts at 400 tokens. So it embeds and stores more texts: the table says how many.
"""

import argparse
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Final

from docmill.embedded.postgres import PostgresServer, start_postgres
from docmill.embedded.redis import start_redis
from tests.benchmarks.figures import machine
from tests.benchmarks.made_documents import Writer, make_docx, make_html, make_pdf
from tests.benchmarks.peers.processes import Meter, children, cpu_of, tree
from tests.benchmarks.peers.venvs import prepare, python_of, version_in
from tests.support.database import make_database, make_template
from tests.support.fake_openai import DIMENSIONS
from tests.support.installation import BOB, BUCKET, FAST, Installation, install, until
from tests.support.provider_program import RunningProvider, provider_program

RUNS: Final = 5
FILES: Final = 300
LATENCY_MS: Final = 200
HERE: Final = Path(__file__).parent
#: The program of each peer, and the packages in its venv.
PEERS: Final = {
    "langchain": (
        *("langchain.py", "langchain-postgres", "langchain-openai", "langchain-text-splitters"),
        *("psycopg[binary]", "pypdf", "docx2txt", "beautifulsoup4"),
    ),
    "llamaindex": (
        *("llamaindex.py", "llama-index-core", "llama-index-vector-stores-postgres"),
        *("llama-index-embeddings-openai", "pypdf", "docx2txt", "beautifulsoup4"),
    ),
    "cocoindex": (
        *("cocoindex_flow.py", "cocoindex[postgres]", "openai", "numpy"),
        *("pypdf", "docx2txt", "beautifulsoup4"),
    ),
}
#: The packages whose versions name the measured release.
NAMES: Final = {
    "langchain": "langchain-postgres",
    "llamaindex": "llama-index-core",
    "cocoindex": "cocoindex",
}


@dataclass
class Run:
    """One run of one system."""

    seconds: float
    requests: float
    chunks: int
    cpu: dict[str, float]  #: seconds, by part
    peak_mb: float  #: proportional set size without PostgreSQL

    @property
    def total_cpu(self) -> float:
        return sum(self.cpu.values())


@dataclass
class Runs:
    """All runs of a system."""

    name: str
    files: int
    runs: list[Run] = field(default_factory=list)

    def row(self) -> str:
        """Medians, and the spread of the rate."""
        rates = sorted(self.files / run.seconds for run in self.runs)
        parts = {part: median(run.cpu[part] for run in self.runs) for part in self.runs[0].cpu}
        return (
            f"| {self.name} | {median(rates):.1f} ({rates[0]:.1f} to {rates[-1]:.1f}) |"
            f" {median(run.requests for run in self.runs):.0f} | {self.runs[0].chunks} |"
            f" {median(run.total_cpu for run in self.runs):.1f} |"
            f" {', '.join(f'{name} {value:.1f}' for name, value in parts.items())} |"
            f" {median(run.peak_mb for run in self.runs):.0f} |"
        )


def make_files(folder: Path, count: int) -> int:
    """Different notes, pages, Word files and PDFs of one to eight pages; returns the bytes."""
    writer = Writer()
    for number in range(count):
        pages = 1 + number % 8
        name, content = _file(writer, number, pages)
        (folder / f"{number:04}{name}").write_bytes(content)
    return sum(path.stat().st_size for path in folder.iterdir())


def _file(writer: Writer, number: int, pages: int) -> tuple[str, bytes]:
    kind = number % 5
    if kind == 0:
        return ".pdf", make_pdf(pages, writer)
    if kind == 1:
        return ".docx", make_docx(pages, writer)
    if kind == 2:
        return ".html", make_html(pages, writer)
    text = "\n\n".join(
        f"# {writer.words(3, 5)}\n\n" + "\n\n".join(writer.paragraph() for _ in range(6))
        for _ in range(pages if kind == 3 else 1)
    )
    return (".md" if kind == 3 else ".txt"), text.encode()


@contextmanager
def surroundings() -> Iterator[tuple[Path, PostgresServer, RunningProvider]]:
    """The PostgreSQL and the provider of one run."""
    with tempfile.TemporaryDirectory(prefix="docmill-bench-") as name:
        folder = Path(name)
        postgres = start_postgres(folder / "postgres")
        try:
            make_template(postgres)
            with provider_program(folder, latency_ms=LATENCY_MS) as provider:
                yield folder, postgres, provider
        finally:
            postgres.stop()


def run_peer(peer: str, files: Path) -> Run:
    """Run a peer's program from its start to its end."""
    with (
        surroundings() as (_folder, postgres, provider),
        make_database(postgres, "project") as database,
    ):
        with database.connect() as connection:
            # Peers look for pgvector on the search path, and make their tables in `public`.
            connection.execute(
                f"""alter database {database.name} set search_path = public, extensions;
                    grant create on schema public to postgres;
                    grant create on database {database.name} to postgres""".encode()
            )
        command = [
            *(str(python_of(peer)), str(HERE / PEERS[peer][0]), str(files), provider.url),
            *(database.url("postgres"), str(DIMENSIONS)),
        ]
        meter = Meter(postgres=[postgres.child.pid])
        child = subprocess.Popen(
            command,
            env={**os.environ, "COCOINDEX_DISABLE_USAGE_TRACKING": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert child.stdin is not None
        assert child.stdout is not None
        if child.stdout.readline() != b"ready\n":
            raise SystemExit(f"{peer} does not begin")
        meter.follow("program", child.pid)
        before = sum(map(cpu_of, tree(child.pid)))
        started = time.monotonic()
        child.stdin.close()
        _, status, used = os.wait4(child.pid, 0)
        seconds = time.monotonic() - started
        meter.stop()
        if status:
            raise SystemExit(f"{peer} ended with status {status}")
        books = provider.books()
        cpu = meter.cpu() | {"program": used.ru_utime + used.ru_stime - before}
        return Run(seconds, books["requests"], int(books["texts"]), cpu, meter.peak_mb)


def run_docmill(files: Path) -> Run:
    """From the first upload until the last file can be searched."""
    with surroundings() as (folder, postgres, provider):
        redis = start_redis(folder / "redis")
        try:
            with (
                make_database(postgres, "project") as database,
                install(database, redis, folder) as running,
            ):
                for setting in FAST:
                    running.settings.pop(setting, None)
                running.settings["OPENAI_BASE_URL"] = provider.url
                running.start_all()
                worker = running.children[-1]
                until(lambda: "zygote_ready" in worker.log_path.read_text(), "parsers loaded")
                provider.tell()  # reset the record: the worker has tried its key
                meter = Meter(postgres=[postgres.child.pid])
                meter.follow("Storage", running.storage.child.pid)
                meter.follow("Redis", redis.child.pid)
                for child in running.children:
                    meter.follow(child.name.partition("-")[0], child.pid, alone=True)
                # The zygote, and all processes that read files.
                for pid in children(worker.pid):
                    meter.follow("reading", pid)
                started = time.monotonic()
                _upload(running, files)
                _wait(running, len(list(files.iterdir())))
                seconds = time.monotonic() - started
                meter.stop()
                books = provider.books()
                (row,) = running.rows("select count(*) from ingest.chunks")
                return Run(seconds, books["requests"], row["count"], meter.cpu(), meter.peak_mb)
        finally:
            redis.stop()


def _upload(running: Installation, files: Path) -> None:
    folders = threading.local()

    def upload(path: Path) -> None:
        if not hasattr(folders, "own"):
            folders.own = running.client(BOB).storage.from_(BUCKET)
        folders.own.upload(f"{BOB}/{path.name}", path.read_bytes())

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(upload, sorted(files.iterdir())))


def _wait(running: Installation, count: int) -> None:
    while True:
        (row,) = running.rows(
            """select count(*) filter (where status = 'ready') as ready,
                      count(*) filter (where status = 'failed') as failed from ingest.documents"""
        )
        assert row["failed"] == 0, running.logs()
        if row["ready"] == count:
            return
        time.sleep(0.1)


def prepare_all(peers: Sequence[str]) -> None:
    """Make a venv for each peer, once; print what is measured."""
    for peer in peers:
        prepare(peer, PEERS[peer][1:])
        print(f"{NAMES[peer]} {version_in(peer, NAMES[peer])}")


def main() -> None:
    """Measure in turns, and print."""
    parser = argparse.ArgumentParser(description="docmill and its peers on the same files.")
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--files", type=int, default=FILES)
    parser.add_argument("--only", choices=("docmill", *PEERS), action="append")
    options = parser.parse_args()
    names = options.only or ["docmill", *PEERS]
    print(machine())
    prepare_all([name for name in names if name in PEERS])
    measures: dict[str, Callable[[Path], Run]] = {"docmill": run_docmill}
    measures |= {peer: lambda files, peer=peer: run_peer(peer, files) for peer in PEERS}  # type: ignore[misc]
    with tempfile.TemporaryDirectory(prefix="docmill-files-") as folder:
        size = make_files(Path(folder), options.files)
        print(f"{options.files} files, {size / 1e6:.1f} MB, {DIMENSIONS} dimensions\n")
        results = [Runs(name, options.files) for name in names]
        for _ in range(options.runs):
            for result in results:
                result.runs.append(measures[result.name](Path(folder)))
    print(
        "| system | files/s (least to most) | requests | texts | CPU s | of it | peak PSS, MB |\n"
        "| --- | --- | --- | --- | --- | --- | --- |"
    )
    for result in results:
        print(result.row())


if __name__ == "__main__":
    main()
