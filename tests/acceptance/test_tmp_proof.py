"""The bulk lane with the real processes: half the price, nothing twice, nothing lost."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from docmill.worker.embedding.serving import HARMLESS_TEXT
from tests.support.fake_batches import FakeBatches, Script
from tests.support.fake_openai import error, vector_of
from tests.support.installation import ALICE, BOB, Installation, until
from tests.support.provider_program import tokens_of

pytestmark = pytest.mark.timeout(300)

#: A dollar for each token of the fake provider, half of it in a batch.
SETTINGS = {
    "DOCMILL_EMBEDDING_USD_PER_MILLION_TOKENS": "1000000",
    "DOCMILL_BULK_SECONDS": "0.3",
    "DOCMILL_BULK_WAIT_SECONDS": "0.5",
    "DOCMILL_EMBEDDING_TIMEOUT_SECONDS": "60",
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
    with bulk.database.connect() as c:
        c.execute("""create function public.doze() returns trigger language plpgsql security definer as $$
          begin if new.content like '%The 2%' then perform pg_sleep(20); end if; return new; end $$;
          create trigger doze before insert on ingest_private.bulk_texts for each row execute function public.doze()""")
    (said,) = bulk.docmill_rows(
        *("reindex", "start", "--model", "other-model", "--dimensions", "128"),
        *("--send-dimensions", "--lane", "bulk", "--yes"),
    )
    version = said["id"]
    # The provider has the batch, and the worker does not know.
    batches.wait_for_batches(known + 1)
    assert bulk.rows("select from ingest_private.bulk_batches where state = 'made'")
    (worker,) = (child for child in bulk.children if child.log_path.name.startswith("worker"))
    bulk.kill(worker)
    bulk.children.remove(worker)
    print("leases", bulk.rows("select * from ingest_private.leases"))
    with bulk.database.connect() as c:
        c.execute("drop trigger doze on ingest_private.bulk_texts")
    bulk.start_worker()
    import time

    end = time.time() + 60
    while time.time() < end and not filled(bulk, version):
        time.sleep(1)
    print(
        "QUEUE",
        bulk.rows(
            "select job.state, entry.phase, entry.isolated, entry.crashes from ingest_private.job_queue entry join ingest.jobs job on job.id = entry.job_id"
        ),
    )
    print(
        "EXPLAIN",
        bulk.rows(
            "select explained.explanation from ingest.jobs job cross join lateral ingest_private.explain_job(job.id) as explained where job.finished_at is null"
        ),
    )
    bulk.start_worker(isolated=True)
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
