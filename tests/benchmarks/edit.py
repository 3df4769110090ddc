"""A paragraph is put at the top of 400 pages: what is embedded and written again.

`make bench-edit`; OPTIONS='--pages 40 --runs 1' for less. A Word file is uploaded, then the same
file with one more paragraph before all others. One installation with real processes and usual
settings; the provider answers after 200 ms. Judges are the provider's books and the places of the
rows in their table (ctid): a row that was written again lies somewhere else.
"""

import io
import time
from dataclasses import dataclass

import docx

from tests.benchmarks.engine import LATENCY_MS, fresh
from tests.benchmarks.made_documents import Writer, make_docx
from tests.benchmarks.records import Record, Target, arguments, finish, versions_of
from tests.support.installation import BOB, BUCKET, Installation, until
from tests.support.provider_program import RunningProvider

PAGES = 400
PARAGRAPH = "This paragraph was not here before: it says that the rest is as it was."
MOST = 3  #: chunks and rows


@dataclass
class Edit:
    """One edit."""

    first_seconds: float
    edit_seconds: float
    chunks: int
    embedded: int  #: texts, by the provider's books
    inserted: int  #: rows of chunks
    moved: int  #: rows of other chunks that lie elsewhere now


def with_paragraph(content: bytes) -> bytes:
    """The same Word file with one more paragraph at its top."""
    document = docx.Document(io.BytesIO(content))
    document.paragraphs[0].insert_paragraph_before(PARAGRAPH)
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def places(running: Installation, name: str) -> dict[str, str]:
    """Where the row of each chunk of a document lies."""
    rows = running.rows(
        """select chunk.id::text, chunk.tableoid::text || chunk.ctid::text as place
             from ingest.chunks as chunk join ingest.documents as document
               on document.id = chunk.document_id
            where document.object_name = %s""",
        name,
    )
    return {row["id"]: row["place"] for row in rows}


def ingested(running: Installation, name: str, content: bytes) -> float:
    """Upload and wait until this version can be found; returns the seconds."""
    state = """select job.state from ingest.documents as document
                      join ingest.jobs as job on job.id = document.latest_job_id
                      join storage.objects as object
                        on object.name = document.object_name
                       and object.version = document.storage_version
                where document.object_name = %s and job.finished_at is not null"""
    before = {row["id"] for row in running.rows("select id from ingest.jobs")}
    began = time.monotonic()
    options = {"upsert": "true"}
    running.client(BOB).storage.from_(BUCKET).upload(name, content, options)  # type: ignore[arg-type]
    until(
        lambda: {row["id"] for row in running.rows("select id from ingest.jobs")} - before or None,
        "a job",
    )
    done = until(lambda: running.rows(state, name) or None, "it is ingested", 600)
    assert done[0]["state"] == "succeeded", done
    return time.monotonic() - began


def edit(running: Installation, provider: RunningProvider, number: int, pages: int) -> Edit:
    """Ingest a new document, then its edited version."""
    # Each run has words of its own: nothing is reused from the document before.
    name, content = f"{BOB}/{number}.docx", make_docx(pages, Writer(number))
    edited = with_paragraph(content)
    first_seconds = ingested(running, name, content)
    before = places(running, name)
    texts = provider.books()["texts"]
    edit_seconds = ingested(running, name, edited)
    after = places(running, name)
    return Edit(
        first_seconds,
        edit_seconds,
        len(after),
        round(provider.books()["texts"] - texts),
        len(after.keys() - before.keys()),
        sum(after[chunk] != before[chunk] for chunk in after.keys() & before.keys()),
    )


def measure(pages: int, runs: int) -> Record:
    """Edit so many documents."""
    record = Record(
        "edit",
        "A paragraph at the top",
        f"A Word file of {pages} pages, ingested, then again with one more paragraph before all "
        f"others; the provider answers after {LATENCY_MS} ms.",
    )
    edits = []
    with fresh(latency_ms=LATENCY_MS) as (running, provider):
        with running.database.connect() as admin:
            record.versions = versions_of(admin)
        running.start_worker()
        for number in range(runs):
            edits.append(edit(running, provider, number, pages))
            one = edits[-1]
            for name, unit, figure in (
                ("first ingest", "s", one.first_seconds),
                ("after the edit", "s", one.edit_seconds),
                ("chunks", "chunks", one.chunks),
                ("chunks embedded", "chunks", one.embedded),
                ("rows inserted", "rows", one.inserted),
                ("rows of other chunks moved", "rows", one.moved),
            ):
                record.case(f"{pages} pages", name, unit).values.append(figure)
    record.targets = [
        Target("chunks embedded, at most 3", max(one.embedded for one in edits), most=MOST),
        Target("rows inserted, at most 3", max(one.inserted for one in edits), most=MOST),
        Target("other rows touched, none", max(one.moved for one in edits), most=0),
    ]
    return record


def main() -> None:
    """Measure and print."""
    options = arguments("An edit of a long document.", pages=PAGES)
    finish(measure(options.pages, options.runs), options)


if __name__ == "__main__":
    main()
