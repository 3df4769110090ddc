"""The bulk lane with the real processes: half the price, nothing twice, nothing lost."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from docmill.worker.embedding.serving import HARMLESS_TEXT
from tests.support.fake_batches import FakeBatches, Script
from tests.support.fake_openai import error, vector_of
from tests.support.installation import ALICE, BOB, SHORT_LEASE, Installation, until
from tests.support.provider_program import tokens_of

pytestmark = pytest.mark.timeout(300)

#: A dollar for each token of the fake provider, half of it in a batch.
SETTINGS = {
    "DOCMILL_EMBEDDING_USD_PER_MILLION_TOKENS": "1000000",
    "DOCMILL_BULK_SECONDS": "0.3",
    "DOCMILL_BULK_WAIT_SECONDS": "0.5",
    "DOCMILL_EMBEDDING_TIMEOUT_SECONDS": "60",
    **SHORT_LEASE,
}
FILLER = "It says so at some length, as pages like this one do. " * 20


def sections(subject: str, count: int) -> str:
    return "\n".join(f"# Part {n}\n\n{subject}, part {n}. {FILLER}\n" for n in range(count))


@pytest.fixture(scope="module")
def bulk(shared_installation: Installation) -> Installation:
    """Everything runs; what lies in a user's folder is the user's."""
    running = shared_installation
    running.settings |= SETTINGS
    with running.database.connect() as connection:
        connection.execute("update ingest_private.sources set owner_from = 'folder:1'")
    running.start_all()
    # A job that runs when its worker dies goes on alone, in a worker for such jobs.
    running.start_worker(isolated=True)
    return running


@pytest.fixture
def batches(bulk: Installation) -> Iterator[FakeBatches]:
    """The provider's batches, which a test may tell what to do."""
    yield bulk.openai.batches
    bulk.openai.batches.script = Script()


def ingest(bulk: Installation, folder: Path, subjects: Sequence[str]) -> list[str]:
    """Upload a document of three chunks for each subject, in bulk; their names."""
    folder.mkdir()
    for subject in subjects:
        (folder / f"{subject}.md").write_text(sections(subject, 3))
    said = bulk.docmill_rows(
        *("ingest", str(folder), "--bucket", "docs", "--owner", ALICE, "--lane", "bulk", "--yes")
    )
    return [row["object_name"] for row in said]


def chunks(bulk: Installation, version: int, like: str) -> list[dict[str, Any]]:
    return bulk.rows(
        """select chunk.headings, chunk.content, chunk.embedding::real[] as embedding
             from ingest.chunks as chunk
                  join ingest.documents as document on document.id = chunk.document_id
            where chunk.index_version = %s and document.object_name like %s""",
        version,
        like,
    )


def check_vectors(found: Sequence[dict[str, Any]]) -> list[str]:
    """Each chunk has the vector that the provider gives for its text; the texts."""
    texts = []
    for row in found:
        line = " > ".join(row["headings"]) + "\n" if row["headings"] else ""
        text = line + row["content"]
        width = len(row["embedding"])
        np.testing.assert_allclose(row["embedding"], vector_of(text, width), atol=1e-3)
        texts.append(text)
    return texts


def usage(bulk: Installation, purpose: str) -> tuple[int, float]:
    (row,) = bulk.rows(
        """select coalesce(sum(tokens), 0)::int as tokens, coalesce(sum(usd), 0)::float as usd
             from ingest.usage where purpose = %s""",
        purpose,
    )
    return row["tokens"], row["usd"]


def test_files_are_ingested_in_bulk_and_uploads_go_before(
    bulk: Installation, batches: FakeBatches, tmp_path: Path
) -> None:
    batches.script.is_held = True
    names = ingest(bulk, tmp_path / "archive", ["kiln", "loom", "press"])
    query = "select count(*)::int as jobs from ingest.jobs where hold_reason = 'in_batch'"
    until(lambda: bulk.rows(query)[0]["jobs"] == len(names) or None, "they are in a batch")
    batches.wait_for_batches(1)
    until(lambda: batches.state()["texts"] == 9 or None, "all texts are submitted")
    # They hold nothing, and an upload passes them.
    assert bulk.rows("select from ingest_private.leases") == []
    assert bulk.wait_for_job(bulk.upload(BOB, "now.txt", "At once."))["state"] == "succeeded"
    first = bulk.latest_job(names[0])
    assert first is not None
    (said,) = bulk.docmill_rows("explain", str(first["id"]))
    assert (said["situation"], said["hold_reason"]) == ("held", "in_batch")
    assert "3 are in one. The provider has had the first since" in said["explanation"]
    (top,) = bulk.docmill_rows("top")
    assert {row["stage"]: row["jobs"] for row in top["stages"]}["in_batch"] == 3
    assert {row["hold_reason"] for row in bulk.docmill_rows("jobs", "--owner", ALICE)} == {
        "in_batch"
    }

    before = usage(bulk, "ingest")
    batches.script.is_held = False
    for name in names:
        assert bulk.wait_for_job(name)["state"] == "succeeded"
    texts = check_vectors(chunks(bulk, 1, f"{ALICE}/%"))
    assert sorted(texts) == sorted(batches.paid)
    assert len(texts) == len(set(batches.submitted_texts())) == batches.state()["texts"] == 9
    after = usage(bulk, "ingest")
    assert after[0] - before[0] == batches.paid_tokens
    assert after[1] - before[1] == pytest.approx(batches.paid_tokens / 2)
    until(lambda: not batches.files or None, "the provider's files are deleted")


def test_a_backfill_in_bulk_sets_aside_what_the_provider_refuses(
    bulk: Installation, batches: FakeBatches
) -> None:
    bulk.openai.respond = lambda texts: (
        error(400, "no") if any("unspeakable" in text for text in texts) else None
    )
    known, paid, direct = len(batches.batches), batches.paid_tokens, len(bulk.openai.texts)
    before = usage(bulk, "ingest")
    bulk.client(None).storage.create_bucket("attic")
    storage = bulk.client(None).storage.from_("attic")
    storage.upload(f"{ALICE}/old.md", sections("The attic", 3).encode())
    storage.upload(f"{ALICE}/odd.md", (sections("Odd", 2) + "\n# Last\n\nunspeakable").encode())
    (said,) = bulk.docmill_rows(
        *("sources", "add", "attic", "--owner-from", "folder:1", "--lane", "bulk")
    )
    assert said["queued"] == 2
    assert bulk.wait_for_job(f"{ALICE}/old.md")["state"] == "succeeded"
    assert bulk.wait_for_job(f"{ALICE}/odd.md")["state"] == "succeeded"
    odd = bulk.document(f"{ALICE}/odd.md")
    assert odd is not None
    assert odd["quarantined_chunks"] == 1
    submitted = [
        line["body"]["input"][0]
        for batch in list(batches.batches.values())[known:]
        for line in batch["lines"]
    ]
    assert len(submitted) == len(set(submitted))
    # Only parts of what was refused were asked for directly, and a text that tries the provider.
    (refused,) = (text for text in submitted if "unspeakable" in text)
    asked = bulk.openai.texts[direct:]
    bought = {text for text in asked if "unspeakable" not in text} - {HARMLESS_TEXT}
    assert all(text.partition("\n")[2] in refused for text in bought)
    after = usage(bulk, "ingest")
    assert after[0] - before[0] == batches.paid_tokens - paid + sum(map(tokens_of, bought))
    check_vectors(chunks(bulk, 1, f"{ALICE}/o%.md"))
    bulk.openai.respond = lambda _texts: None


def filled(bulk: Installation, version: int) -> bool | None:
    query = """select not exists (select from ingest_private.missing_from(%s, 1))
                      and not exists (select from ingest.jobs
                                       where state in ('queued', 'running')) as filled"""
    return bool(bulk.rows(query, version)[0]["filled"]) or None


def test_a_worker_that_dies_between_submit_and_record_submits_nothing_twice(
    bulk: Installation, batches: FakeBatches
) -> None:
    names = [bulk.upload(ALICE, f"before {n}.md", sections(f"The {n}", 2)) for n in range(3)]
    for name in names:
        assert bulk.wait_for_job(name)["state"] == "succeeded"
    known, paid, before = len(batches.batches), batches.paid_tokens, usage(bulk, "reindex")
    batches.script.lost = 1
    (said,) = bulk.docmill_rows(
        *("reindex", "start", "--model", "other-model", "--dimensions", "128"),
        *("--send-dimensions", "--lane", "bulk", "--yes"),
    )
    version = said["id"]
    # The provider has the batch, and the worker does not know.
    batches.wait_for_batches(known + 1)
    assert bulk.rows("select from ingest_private.bulk_batches where state = 'made'")
    worker, _isolated = (
        child for child in bulk.children if child.log_path.name.startswith("worker")
    )
    bulk.kill(worker)
    bulk.children.remove(worker)
    bulk.start_worker()
    until(lambda: filled(bulk, version), "the version is filled")

    assert "bulk_batch_found_again" in bulk.logs()
    found = bulk.rows(
        """select document.object_name, chunk.headings, chunk.content,
                  chunk.embedding::real[] as embedding
             from ingest.chunks as chunk
                  join ingest.documents as document on document.id = chunk.document_id
            where chunk.index_version = %s""",
        version,
    )
    texts = check_vectors(found)
    submitted = [
        line["body"]["input"][0]
        for batch in list(batches.batches.values())[known:]
        for line in batch["lines"]
    ]
    assert len(submitted) == len(set(submitted))
    assert sorted(texts) == sorted(submitted)
    after = usage(bulk, "reindex")
    assert after[0] - before[0] == batches.paid_tokens - paid
    assert after[1] - before[1] == pytest.approx((batches.paid_tokens - paid) / 2)
    (row,) = (row for row in bulk.docmill_rows("reindex", "status") if row["id"] == version)
    assert (row["is_bulk"], row["missing"], row["jobs_in_batch"]) == (True, 0, 0)
    until(lambda: not batches.files or None, "the provider's files are deleted")


def test_a_provider_without_batches_is_named(bulk: Installation) -> None:
    said = bulk.docmill(
        *("reindex", "start", "--provider", "azure", "--model", "m", "--dimensions", "128"),
        *("--lane", "bulk", "--yes"),
        fails=True,
    )
    assert said.startswith("docmill: bulk_unsupported: provider azure:")
    assert "Leave out --lane bulk" in said
