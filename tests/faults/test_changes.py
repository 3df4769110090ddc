"""Deletes and overwrites while the document is in every stage of its ingestion."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from time import monotonic
from typing import Any, Final

import psycopg
import pytest

from tests.faults.stack import FULL, Stack, Stage
from tests.support.database import delete_objects
from tests.support.installation import ALICE, BUCKET, until

pytestmark = pytest.mark.faults

ROUNDS: Final = 25 if FULL else 1
STAGES: Final[tuple[Stage, ...]] = ("embed", "publish", "commit", "download")
SUBJECTS: Final[dict[Stage, str]] = {
    "embed": "hold embed",
    "publish": "hold publish",
    "commit": "in its commit",
    "download": "to be downloaded",
}


@contextmanager
def one_in_each_stage(stack: Stack, names: dict[Stage, str]) -> Iterator[None]:
    """New versions of these documents, each held in its stage."""
    with ExitStack() as holds:
        for stage in STAGES:
            # Block Storage last, after the others have been downloaded.
            holds.enter_context(stack.holding(stage))
            stack.upload(SUBJECTS[stage], 3, name=names[stage])
            stack.wait_for(stage, 1)
        yield


@pytest.mark.parametrize("number", range(ROUNDS))
def test_a_delete_in_any_stage_leaves_nothing(stack: Stack, number: int) -> None:
    own = {stage: stack.fresh_name(SUBJECTS[stage]) for stage in STAGES}
    names = [f"{ALICE}/{name}" for name in own.values()]
    with one_in_each_stage(stack, own):
        jobs = [job for name in names if (job := stack.installation.latest_job(name))]
        asked = sum(stack.asked(own["download"]).values())
        started = monotonic()
        stack.installation.client(ALICE).storage.from_(BUCKET).remove(names)
        assert monotonic() - started < 5.0
    until(lambda: not any(map(stack.installation.document, names)), "the documents gone", 10)
    ended = [until(lambda job=job: _final_state(stack, job), "an end", 20) for job in jobs]  # type: ignore[misc]
    # A version whose commit had begun was searchable for a moment; the others never were.
    assert sorted(ended) == ["succeeded", "superseded", "superseded", "superseded"]
    for table in ("ingest.chunks", "ingest.chunk_positions", "ingest_private.staged_chunks"):
        gone = f"""select 1 from {table} as left_over
                    where not exists (select from ingest.documents as document
                                       where document.id = left_over.document_id)"""
        until(lambda gone=gone: not stack.installation.rows(gone), f"{table} empty", 10)  # type: ignore[misc]
    # Texts that were not embedded yet are never requested.
    assert sum(stack.asked(own["download"]).values()) == asked == 0
    assert max(stack.asked(own["embed"]).values()) == 1
    stack.note("delete, in every stage", *names)


def _final_state(stack: Stack, job: dict[str, object]) -> str | None:
    (row,) = stack.installation.rows(
        "select state, finished_at from ingest.jobs where id = %s", job["id"]
    )
    return str(row["state"]) if row["finished_at"] else None


@pytest.mark.parametrize("number", range(ROUNDS))
def test_an_overwrite_in_any_stage_keeps_the_old_version_until_the_new_one_is_there(
    stack: Stack, number: int
) -> None:
    own = {stage: stack.fresh_name(SUBJECTS[stage]) for stage in STAGES}
    names = {stage: f"{ALICE}/{own[stage]}" for stage in STAGES}
    for name in own.values():
        stack.upload("the old version", 2, name=name)
    stack.succeed(*names.values())
    with one_in_each_stage(stack, own):
        for name in own.values():
            stack.upload("the newest version", 4, name=name)
        for name in names.values():
            found = stack.chunks(name)
            assert len(found) == 2
            assert all("the old version" in text for text in found)
    for name in names.values():
        until(lambda name=name: _is_newest(stack, name), "the newest version", 30)  # type: ignore[misc]
        stack.is_whole(name, 4)
    for job in stack.succeed(*names.values()):
        assert (job["attempt"], job["chunks_total"]) == (1, 4)
    stack.note("overwrite, in every stage", *names.values())


def _is_newest(stack: Stack, name: str) -> bool:
    found = stack.chunks(name)
    assert len({text.count("the newest version") for text in found}) == 1, "a mix of versions"
    return all("the newest version" in text for text in found)


@pytest.mark.parametrize("stage", ["publish", "commit"])
def test_an_upload_and_a_delete_during_a_long_publish_hardly_wait(
    stack: Stack, stage: Stage
) -> None:
    """No wait while it writes chunks, nor while it holds its document's lock until the end.

    The fastest of three shows the time without the noise of a busy machine.
    """
    bucket = stack.installation.client(ALICE).storage.from_(BUCKET)
    spare = stack.upload("the newest version", 2)
    own = [stack.fresh_name(SUBJECTS[stage]) for _ in range(6)]
    names = [stack.upload("the old version", 3, name=name) for name in own]
    stack.succeed(spare, *names)
    overwritten, deleted = names[:3], names[3:]
    with stack.installation.database.connect() as connection, stack.holding(stage):
        for name in own:
            stack.upload("of the publish that takes long", 3, name=name)
        stack.wait_for(stage, len(names))
        uploads = [_seconds(_overwrite, connection, name, spare) for name in overwritten]
        deletes = [_seconds(delete_objects, connection, [name]) for name in deleted]
        new = [
            _seconds(
                bucket.upload, f"{ALICE}/{stack.fresh_name('of a new name')}", b"# New\n\nText."
            )
            for _ in range(3)
        ]
    assert max(map(min, (uploads, deletes, new))) <= 0.3, (uploads, deletes, new)
    until(lambda: not any(map(stack.installation.document, deleted)), "the documents gone", 10)
    for name in overwritten:
        until(lambda name=name: _is_newest(stack, name), "the newest version", 30)  # type: ignore[misc]
        assert len(stack.chunks(name)) == 2
    stack.note("uploads and deletes during a long publish", *names)


def _seconds(action: Any, *arguments: Any) -> float:
    started = monotonic()
    action(*arguments)
    return monotonic() - started


def _overwrite(connection: psycopg.Connection[Any], name: str, other: str) -> None:
    """Commit another object's content as a new version of this one."""
    connection.execute(
        """update storage.objects as object set version = other.version, metadata = other.metadata
             from storage.objects as other where object.name = %s and other.name = %s""",
        [name, other],
    )


@pytest.mark.parametrize("number", range(10 if FULL else 1))
def test_fifty_overwrites_in_a_row_embed_few_versions_and_the_last_one_wins(
    stack: Stack, number: int
) -> None:
    bucket = stack.installation.client(ALICE).storage.from_(BUCKET)
    own = stack.fresh_name("overwritten")
    full = f"{ALICE}/{own}"
    started = monotonic()
    for version in range(50):
        text = f"# Title\n\n{own} is version {version}. {'It says nothing else. ' * 20}"
        bucket.upload(full, text.encode(), {"upsert": "true"})
    took = monotonic() - started
    until(lambda: any("version 49." in text for text in stack.chunks(full)), "the last one", 30)
    stack.succeed(full)
    assert len(stack.chunks(full)) == 1
    # At most three full embeddings per second: an overwritten version is hardly begun.
    assert sum(stack.asked(own).values()) <= 3 * max(1.0, took)
    jobs = stack.installation.rows(
        "select state from ingest.jobs where object_name = %s and finished_at is null", full
    )
    assert jobs == []
    stack.note("fifty overwrites in a row", full)


@pytest.mark.parametrize("number", range(25 if FULL else 2))
def test_a_new_file_of_a_deleted_name_is_found_with_its_own_content_only(
    stack: Stack, number: int
) -> None:
    own = stack.fresh_name("in two lives")
    full = stack.upload("the first life", 3, name=own)
    stack.succeed(full)
    before = stack.installation.document(full)
    stack.installation.client(ALICE).storage.from_(BUCKET).remove([full])
    stack.upload("the second life", 2, name=own)
    after = stack.installation.document(full)
    assert before is not None
    assert after is not None
    assert before["id"] != after["id"]
    stack.succeed(full)
    stack.is_whole(full, 2)
    assert all("the second life" in text for text in stack.chunks(full))
    hits = stack.installation.search(ALICE, "anything", 50)
    assert not [hit for hit in hits if hit["document_id"] == before["id"]]
    stack.note("delete and upload of one name", full)
