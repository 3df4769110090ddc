"""`docmill demo`: the whole path on its own embedded stack, and a check of each promise."""

import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import UUID

import psycopg
from rich.live import Live

from docmill.cli.exit_code import ExitCode
from docmill.cli.ingest import LocalFile, find_files, upload_all
from docmill.cli.observe import FINAL_STATES, progress_line, progress_table
from docmill.cli.output import Row, cell, console, count_of, short_name
from docmill.cli.search import print_hit
from docmill.cli.stopping import StopSignals
from docmill.embedded.lifecycle import EmbeddedStack
from docmill.embedded.samples import ALICE_QUERIES, BOB_QUERIES, write_samples
from docmill.embedded.stack import ALICE, BOB, DEFAULT_BUCKET, StackInfo
from docmill.embedded.tokens import user_token
from docmill.worker.admin import callers
from docmill.worker.admin.callers import impersonated
from docmill.worker.admin.jobs import current_jobs
from docmill.worker.clients.uploads import Uploader
from docmill.worker.embedding.local import LocalEmbedder
from docmill.worker.models import Chunk
from docmill.worker.settings.environment import load_settings
from docmill.worker.settings.parts import DocumentSettings
from docmill.worker.store.database import Connection

_POLL_SECONDS: Final = 0.1
_SHOWN_OF_QUERY: Final = 90


@dataclass(frozen=True)
class Person:
    """One user of the demo."""

    name: str
    sub: str
    files: Sequence[LocalFile]


class Findings:
    """Claims that turned out false. The demo succeeds if there are none."""

    def __init__(self) -> None:
        self.failures: list[str] = []

    def expect(self, held: bool, claim: str) -> None:
        """Note the claim if it does not hold."""
        if not held:
            self.failures.append(claim)
            console().print(f"  NOT TRUE: {claim}", style="bold red")


def demo(documents: Path | None) -> int:
    """Run the demo; exit code 0 only if every claim that it shows holds."""
    findings = Findings()
    started = time.monotonic()
    with (
        StopSignals("stopping what was started") as signals,
        # A child of a killed process may still be writing in the folder.
        tempfile.TemporaryDirectory(prefix="docmill-demo-", ignore_cleanup_errors=True) as folder,
    ):
        people = _people(documents, Path(folder))
        _say("Starting PostgreSQL, Redis, the API, webhook, workers and beat on this machine")
        stack = EmbeddedStack(Path(folder) / "stack", flower=False, check=signals.check)
        signals.hurry = stack.hurry
        with stack.running() as info:
            _say(f"Ready after {time.monotonic() - started:.1f} s. Uploading")
            with signals.interrupting():
                _run(info, people, findings, own_documents=documents is not None)
            _say("Stopping everything")
        signals.check()
    _say(f"Done in {time.monotonic() - started:.1f} s")
    for failure in findings.failures:
        print(f"docmill: not true: {failure}", file=sys.stderr)
    return ExitCode.FAILED if findings.failures else ExitCode.DONE


def _say(text: str) -> None:
    console().print(f"\n== {text}", style="bold")


def _people(documents: Path | None, folder: Path) -> list[Person]:
    if documents is None:
        alice, bob = write_samples(folder / "samples")
        return [
            Person("Alice", ALICE, find_files([alice], folder=ALICE)),
            Person("Bob", BOB, find_files([bob], folder=BOB)),
        ]
    return [Person("Alice", ALICE, find_files([documents], folder=ALICE)), Person("Bob", BOB, [])]


def _run(
    info: StackInfo, people: Sequence[Person], findings: Findings, *, own_documents: bool
) -> None:
    with psycopg.connect(info.database_url("postgres"), autocommit=True) as connection:
        for person in people:
            _upload(info, person, findings)
        names = [file.object_name for person in people for file in person.files]
        finished = _watch(connection, names)
        _report(people, finished, findings, all_must_succeed=not own_documents)
        _search(connection, people, finished, findings, own_documents=own_documents)


def _upload(info: StackInfo, person: Person, findings: Findings) -> None:
    token = user_token(info, person.sub)
    uploads = upload_all(
        person.files,
        DEFAULT_BUCKET,
        lambda: Uploader(info.api_url, info.keys.publishable_key, user_token=token),
        max_bytes=load_settings(DocumentSettings).max_document_bytes,
    )
    for uploaded in uploads:
        findings.expect(
            uploaded.error is None, f"{uploaded.file.path.name} was uploaded ({uploaded.error})"
        )


def _watch(connection: Connection, names: Sequence[str]) -> dict[str, Row]:
    """Show progress until every document is done; without a terminal, print a line per change."""
    live_display = sys.stdout.isatty()
    shown: dict[str, str] = {}
    with Live(console=console(), auto_refresh=False, transient=True) as live:
        while True:
            found = current_jobs(connection, DEFAULT_BUCKET, names)
            if live_display:
                live.update(progress_table(list(found.values())), refresh=True)
            else:
                _print_changes(found, shown)
            if all(row["state"] in FINAL_STATES for row in found.values()):
                return found
            time.sleep(_POLL_SECONDS)


def _print_changes(found: dict[str, Row], shown: dict[str, str]) -> None:
    for name, row in found.items():
        if row["state"] == "running" and shown.get(name) != (line := progress_line(row)):
            shown[name] = line
            print(line, flush=True)


def _report(
    people: Sequence[Person],
    finished: dict[str, Row],
    findings: Findings,
    *,
    all_must_succeed: bool,
) -> None:
    _say("Documents")
    for person in people:
        for file in person.files:
            row = finished.get(file.object_name)
            findings.expect(row is not None, f"{file.path.name} became a document")
            if row is None:
                continue
            _print_document(person, row)
            ended_well = row["state"] == "succeeded" or not all_must_succeed
            findings.expect(ended_well, f"{file.path.name} succeeded")
    succeeded = sum(row["state"] == "succeeded" for row in finished.values())
    findings.expect(succeeded > 0, "a document became searchable")
    if not all_must_succeed:
        console().print(f"{succeeded} of {len(finished)} are searchable")


def _print_document(person: Person, row: Row) -> None:
    pages = count_of(row["page_count"], "page") if row["page_count"] else "-"
    chunks = count_of(row["chunk_count"] or 0, "chunk")
    console().print(
        f"{person.name:6} {short_name(row):32} {row['state']:10} {pages:>9} {chunks:>11} "
        f"{row['seconds'] or 0:6.2f} s"
        + (f"  {row['error_code']}: {row['error_message']}" if row["error_code"] else "")
    )


def _search(
    connection: Connection,
    people: Sequence[Person],
    finished: dict[str, Row],
    findings: Findings,
    *,
    own_documents: bool,
) -> None:
    embedder = LocalEmbedder()
    for person, other in zip(people, reversed(people), strict=True):
        if not person.files:
            continue
        own = [finished[file.object_name] for file in person.files if file.object_name in finished]
        queries = _own_queries(connection, person) if own_documents else _sample_queries(person)
        _say(f"{person.name} searches")
        for query, expected in queries:
            hits = _hits(connection, embedder, person.sub, query)
            shown = _one_line(query)
            cut = "..." if len(shown) > _SHOWN_OF_QUERY else ""
            console().print(f"\n{cell(shown[:_SHOWN_OF_QUERY])}{cut}", style="italic")
            if hits:
                print_hit(hits[0])
            found = any(_one_line(expected) in _one_line(hit["content"]) for hit in hits)
            findings.expect(found, f"{person.name} finds the passage for {cell(shown)!r}")
            foreign = _hits(connection, embedder, other.sub, query)
            names = {file.object_name for file in person.files}
            findings.expect(
                not any(hit["object_name"] in names for hit in foreign),
                f"{other.name} does not find {person.name}'s documents with {cell(shown)!r}",
            )
        _prove_isolation(connection, person, other, own, findings)


def _sample_queries(person: Person) -> Sequence[tuple[str, str]]:
    return ALICE_QUERIES if person.sub == ALICE else BOB_QUERIES


def _own_queries(connection: Connection, person: Person) -> list[tuple[str, str]]:
    """Use the text of one chunk of each of a few documents: no chunk can be nearer to it.

    Whether a real question finds the right passage depends on the model; the demo does not prove
    it.
    """
    with impersonated(connection, person.sub):
        rows = connection.execute(
            "select distinct on (document_id) headings, content from ingest.chunks"
            " order by document_id, length(content) desc, id limit 3"
        ).fetchall()
    chunks = [Chunk(0, content, tuple(headings), None, None, 0) for headings, content in rows]
    return list({chunk.content: (chunk.embedded_text, chunk.content) for chunk in chunks}.values())


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _hits(connection: Connection, embedder: LocalEmbedder, sub: str, query: str) -> list[Row]:
    vectors, _tokens = embedder.embed([query])
    return callers.search(
        connection, owner=sub, embedding=vectors[0], model=embedder.model, limit=10
    )


def _prove_isolation(
    connection: Connection, person: Person, other: Person, own: list[Row], findings: Findings
) -> None:
    ids = [row["document_id"] for row in own]
    counted = {who.name: _visible(connection, who.sub, ids) for who in (person, other)}
    console().print()
    for who, (documents, chunks) in counted.items():
        console().print(
            f"{who} sees {documents} of {person.name}'s {len(ids)} documents and {chunks} of "
            "their chunks"
        )
    findings.expect(counted[person.name][0] == len(ids), f"{person.name} sees all of their own")
    findings.expect(counted[other.name] == (0, 0), f"{other.name} sees nothing of {person.name}'s")


def _visible(connection: Connection, sub: str, ids: list[UUID]) -> tuple[int, int]:
    with impersonated(connection, sub):
        row = connection.execute(
            "select (select count(*) from ingest.documents where id = any(%(ids)s)),"
            "       (select count(*) from ingest.chunks where document_id = any(%(ids)s))",
            {"ids": ids},
        ).fetchone()
    assert row is not None
    return row[0], row[1]
