"""No owner pays twice for the embedding of a text, and nobody learns what others have."""

import hashlib
from typing import Any
from uuid import UUID

import numpy as np
import pytest

from tests.schema.actors import (
    Connection,
    Run,
    claimed,
    hash_of,
    heartbeat,
    ingest,
    job_of,
    new_version,
    publish,
    rows,
    stage,
    vector_of,
)
from tests.support.database import Database, put_object

TEXTS = ["alpha", "beta", "gamma"]


def run_of(admin: Connection, worker: Connection, name: str, owner: str | None = "alice") -> Run:
    heartbeat(worker)
    return claimed(worker, job_of(admin, put_object(admin, name, owner=owner)))


def reusable(connection: Connection, run: Run, texts: list[str], token: int = 0) -> dict[str, Any]:
    found = rows(
        connection,
        "select * from ingest_private.reusable_embeddings(%s, %s, %s::bytea[])",
        *(run.job_id, token or run.token, [hash_of(text) for text in texts]),
    )
    names = {hash_of(text): text for text in texts}
    return {
        names[bytes(row["content_hash"])]: np.frombuffer(
            row["embedding"], dtype=">f2", offset=4
        ).astype(np.float32)
        for row in found
    }


@pytest.fixture
def first(admin: Connection, worker: Connection) -> UUID:
    return ingest(worker, put_object(admin, "first.txt", owner="alice"), TEXTS)


def test_what_another_document_of_the_owner_has_is_found(
    admin: Connection, worker: Connection, first: UUID
):
    run = run_of(admin, worker, "second.txt")
    found = reusable(worker, run, ["beta", "gamma", "new"])
    assert set(found) == {"beta", "gamma"}
    for text, vector in found.items():
        assert np.allclose(vector, vector_of(text), atol=1e-3)


@pytest.mark.parametrize("owner", ["bob", None])
def test_another_owner_finds_nothing(
    admin: Connection, worker: Connection, first: UUID, owner: str | None
):
    assert reusable(worker, run_of(admin, worker, "second.txt", owner), TEXTS) == {}


def test_what_nobody_owns_is_not_found(admin: Connection, worker: Connection):
    ingest(worker, put_object(admin, "first.txt", owner=None), TEXTS)
    assert reusable(worker, run_of(admin, worker, "second.txt", None), TEXTS) == {}


def test_a_lost_lease_finds_nothing(admin: Connection, worker: Connection, first: UUID):
    run = run_of(admin, worker, "second.txt")
    assert reusable(worker, run, TEXTS, run.token + 1) == {}


def test_another_model_is_another_text(admin: Connection, worker: Connection, first: UUID):
    """The hash names the model; the search for reusable embeddings also compares index versions."""
    with admin.transaction(force_rollback=True):
        new_version(admin)
        admin.execute("select ingest_private.fill_index_versions()")
        [building] = rows(admin, "select id from ingest.jobs where index_version <> 1")
        heartbeat(admin)
        run = claimed(admin, building["id"])
        assert reusable(admin, run, TEXTS) == {}


def test_owners_whose_names_run_together_are_told_apart(admin: Connection, worker: Connection):
    """The index hashes name and text together; the row itself names the owner."""
    text_of_alice = "x"
    digest = hashlib.sha256(text_of_alice.encode()).hexdigest()
    ingest(worker, put_object(admin, "a.txt", owner="alice"), [text_of_alice])
    run = run_of(admin, worker, "b.txt", "alice" + digest[:2])
    assert reusable(worker, run, [text_of_alice]) == {}


def test_reused_embeddings_are_published(admin: Connection, worker: Connection, first: UUID):
    run = run_of(admin, worker, "second.txt")
    found = reusable(worker, run, TEXTS)
    stage(worker, run, list(found), tokens=0, vector=lambda text: found[text])
    assert publish(worker, run, TEXTS) == "published"


def test_what_another_run_of_the_owner_has_staged_is_found(admin: Connection, worker: Connection):
    first = run_of(admin, worker, "first.txt")
    copy = run_of(admin, worker, "copy.txt")
    bobs = run_of(admin, worker, "bobs.txt", "bob")
    nobodys = [run_of(admin, worker, f"{n}.txt", None) for n in range(2)]
    stage(worker, first, ["alpha", "beta"])
    stage(worker, nobodys[0], ["alpha"])
    found = reusable(worker, copy, TEXTS)
    assert set(found) == {"alpha", "beta"}
    assert np.allclose(found["alpha"], vector_of("alpha"), atol=1e-3)
    assert reusable(worker, bobs, TEXTS) == reusable(worker, nobodys[1], TEXTS) == {}
    # What a run has itself it finds elsewhere.
    assert reusable(worker, first, TEXTS) == {}


def test_the_plan_reads_the_owners_text_alone(database: Database):
    """With 3,000 owners of the same text it reads one index row; the table is never analysed."""
    with database.connect() as admin:
        admin.execute(
            """insert into storage.buckets (id, name) values ('docs', 'docs');
               insert into ingest_private.sources (bucket_id) values ('docs')"""
        )
        run = claimed(admin, job_of(admin, put_object(admin, "mine.txt", owner="owner 7")))
        admin.execute(
            """insert into ingest.chunks (index_version, document_id, object_id, owner_id, access,
                                          content, token_count, content_hash, embedding, fts)
               select 1, gen_random_uuid(), gen_random_uuid(), 'owner ' || n, 'owner', 'alpha', 1,
                      sha256('alpha'), array_fill(0.1, array[256])::extensions.halfvec, ''
                 from generate_series(1, 3000) as n"""
        )
        admin.execute(
            """insert into ingest_private.staged_chunks (document_id, index_version, content_hash,
                           content, headings, token_count, metadata, embedding)
               select gen_random_uuid(), 1, sha256('beta'), 'beta', '{}', 1, '{}',
                      array_fill(0.1, array[256])::extensions.halfvec
                 from generate_series(1, 3000)"""
        )
        claimed(admin, job_of(admin, put_object(admin, "other.txt", owner="owner 7")))
        assert set(reusable(admin, run, TEXTS)) == {"alpha"}
        before = blocks(admin)
        reusable(admin, run, TEXTS)
        assert blocks(admin) - before < 100


def blocks(connection: Connection) -> int:
    """Blocks of chunks, staged ones too, and their indexes that this session has read so far."""
    [row] = rows(
        connection,
        """select sum(pg_stat_get_xact_blocks_fetched(class.oid))::integer as fetched
             from pg_class as class
             where class.oid in (
                   select relid from pg_partition_tree('ingest.chunks')
                   union select 'ingest_private.staged_chunks'::regclass
                   union select indexrelid from pg_index
                    where indrelid in (select relid from pg_partition_tree('ingest.chunks')
                                       union select 'ingest_private.staged_chunks'::regclass))""",
    )
    return int(row["fetched"] or 0)
