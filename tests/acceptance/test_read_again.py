"""Real workers with different rules and extras read documents again."""

import sys
from typing import Any

from docmill.embedded.process import ChildProcess
from tests.support.installation import ALICE, Installation, until

#: docmill with another reader: its rules, and what is installed beside the base.
_READER = """
import sys
from docmill.worker.extraction.parent import guard
from docmill.worker.extraction.shared import profiles
rules, *extras = {reader!r}.split("+")
guard.EXTRACTION_VERSION = rules
profiles.available = lambda: tuple(extras)
from docmill.cli.main import main
main()
"""
TEXT = "# Numbers\n\n" + "\n\n".join(f"Paragraph {n} is about {n} things." for n in range(200))


def start_reader(running: Installation, reader: str) -> ChildProcess:
    """A worker that reads in this way."""
    program = running.program
    running.program = (sys.executable, "-c", _READER.format(reader=reader))
    try:
        return running.start_worker()
    finally:
        running.program = program


def read_by(running: Installation, name: str) -> str:
    """How a document was read: rules and extras."""
    (row,) = running.rows(
        """select concat_ws('+', published.reader_rules, nullif(array_to_string(extras, '+'), ''))
                      as reader
             from ingest_private.published_versions as published
                  join ingest.documents as document on document.id = published.document_id
            where document.object_name = %s""",
        name,
    )
    return str(row["reader"])


def chunk_rows(running: Installation) -> list[dict[str, Any]]:
    return running.rows("select id, ctid::text, xmin::text from ingest.chunks order by id")


def test_rules_that_rise_read_what_is_there_again_and_write_no_chunk_that_is_the_same(
    installation: Installation,
) -> None:
    installation.start("beat")
    former = start_reader(installation, "5")
    name = installation.upload(ALICE, "numbers.md", TEXT)
    job = installation.wait_for_job(name, "succeeded")
    before = chunk_rows(installation)
    assert len(before) > 1
    document = installation.document(name)
    (said,) = installation.docmill_rows("reindex", "documents", "--outdated")
    assert said["documents"] == 0

    start_reader(installation, "6+ocr")
    (said,) = installation.docmill_rows("reindex", "documents", "--outdated", "--yes", "--wait")
    assert (said["documents"], said["jobs"], said["succeeded"], said["failed"]) == (1, 1, 1, 0)
    assert (said["chunks_embedded"], said["chunks_reused"]) == (0, len(before))
    assert (said["tokens_used"], said["cost_usd"]) == (0, 0)
    assert chunk_rows(installation) == before
    assert read_by(installation, name) == "6+ocr"
    after = installation.document(name)
    assert document is not None
    assert after is not None
    for column in ("status", "error_code", "latest_job_id", "chunk_count", "content_sha256"):
        assert after[column] == document[column]
    assert after["latest_job_id"] == job["id"]
    assert not former.ended()


def test_other_links_in_the_same_text_are_found_and_no_chunk_is_written(
    installation: Installation,
) -> None:
    installation.start("beat")
    installation.start_worker()
    page = "<h1>Tides</h1><p>Read <a href='https://{}.example/tides'>the table</a> first.</p>"

    def links() -> list[Any]:
        found = installation.search(ALICE, "the table of tides")
        return [hit["metadata"].get("links") for hit in found]

    name = installation.upload(ALICE, "tides.html", page.format("old"))
    installation.wait_for_job(name, "succeeded")
    assert links() == [["https://old.example/tides"]]
    before = chunk_rows(installation)
    for place in ("new", "old", "newest"):
        installation.upload(ALICE, "tides.html", page.format(place))
        until(lambda: links() == [[f"https://{place}.example/tides"]], f"the {place} link")  # noqa: B023
    assert chunk_rows(installation) == before


def test_a_poorer_worker_beside_never_replaces_a_richer_reading(
    installation: Installation,
) -> None:
    installation.start("beat")
    rich = start_reader(installation, "5+ocr+pandoc")
    names = [installation.upload(ALICE, f"{n}.md", f"# {n}\n\nText {n}.") for n in range(6)]
    for name in names:
        installation.wait_for_job(name, "succeeded")
    start_reader(installation, "5")

    (said,) = installation.docmill_rows(
        "reindex", "documents", "--source", "docs", "--yes", "--wait"
    )
    assert (said["succeeded"], said["failed"]) == (len(names), 0)
    assert {read_by(installation, name) for name in names} == {"5+ocr+pandoc"}

    rich.stop()
    until(lambda: len(installation.workers()) == 1, "the richer one is gone")
    (said,) = installation.docmill_rows(
        "reindex", "documents", "--source", f"docs/{names[0]}", "--yes"
    )
    assert said["jobs"] == 1
    query = "select id from ingest.jobs where state = 'queued'"
    (job,) = installation.rows(query)
    waiting = "select job_id from ingest_private.job_queue where phase = 'waiting'"
    until(lambda: bool(installation.rows(waiting)), "the poorer one leaves it")
    (explained,) = installation.docmill_rows("explain", str(job["id"]))
    assert "with ocr, pandoc" in explained["explanation"]
    assert read_by(installation, names[0]) == "5+ocr+pandoc"

    start_reader(installation, "5+ocr+pandoc+office")
    installation.rows(
        "update ingest_private.job_queue set due_at = now() where phase = 'waiting' returning 1"
    )
    until(lambda: not installation.rows(query), "a richer one takes it")
    until(
        lambda: read_by(installation, names[0]) == "5+ocr+pandoc+office", "it is read by that one"
    )
