"""Publishing: a diff in one transaction; late runs are refused; nobody is blocked."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import pytest
from psycopg import errors as pg

from docmill.embedded.postgres import PostgresServer
from tests.schema.actors import (
    LIVE_CHUNKS,
    PIPELINE,
    Background,
    Connection,
    Run,
    chunks_of,
    claimed,
    document_of,
    drain_withdrawn,
    hash_of,
    heartbeat,
    job_of,
    publish,
    rows,
    search,
    stage,
    stage_missing,
    text_of,
    upload,
    value,
    vector_of,
    wait_until_blocked,
)
from tests.schema.test_state_machine import state
from tests.support.database import (
    Database,
    as_client,
    delete_objects,
    make_database,
    put_object,
)


@pytest.fixture(scope="module", params=(18, 16), ids=lambda major: f"pg{major}")
def shared_database(request: pytest.FixtureRequest) -> Iterator[Database]:
    name = "postgres" if request.param == 18 else "postgres16"
    server: PostgresServer = request.getfixturevalue(name)
    with make_database(server) as made:
        yield made


@pytest.fixture
def database(wiped: Database) -> Database:
    return wiped


@pytest.fixture
def object_id(database: Database) -> UUID:
    """An object of alice that is searchable as `one`, `two`, `three`."""
    return upload(database, "a.txt", ["one", "two", "three"])


def overwritten(admin: Connection, worker: Connection) -> Run:
    """A run for a new version of `a.txt`."""
    return claimed(worker, job_of(admin, put_object(admin, "a.txt", owner="alice")))


def publish_unchanged(worker: Connection, run: Run, content: str, pipeline: str = PIPELINE) -> str:
    result: str = value(
        worker,
        "select ingest_private.publish_unchanged(%s, %s, %s, %s)",
        *(run.job_id, run.token, hash_of(content), pipeline),
    )
    return result


class TestDiff:
    def test_keeps_the_rows_of_unchanged_chunks_deletes_gone_ones_and_adds_new_ones(
        self, admin: Connection, worker: Connection, object_id: UUID
    ):
        document_id = document_of(admin, object_id)["id"]
        before = chunks_of(admin, document_id)
        places = {
            row["id"]: row["ctid"] for row in rows(admin, "select id, ctid from ingest.chunks")
        }
        run = overwritten(admin, worker)
        assert stage_missing(worker, run, ["zero", "three", "one"]) == ["zero"]
        assert publish(worker, run, ["zero", "three", "one"]) == "published"
        after = chunks_of(admin, document_id)
        assert set(after) == {"zero", "three", "one"}
        assert all(after[kept] == before[kept] for kept in ("one", "three"))
        # Not even a new row version, because an update would add it to the HNSW graph again.
        for row in rows(admin, "select id, ctid from ingest.chunks"):
            assert places.get(row["id"]) in {row["ctid"], None}
        assert text_of(admin, document_id) == ["zero", "three", "one"]

    def test_embeds_an_unchanged_text_never_again(
        self, admin: Connection, worker: Connection, object_id: UUID
    ):
        run = overwritten(admin, worker)
        assert stage_missing(worker, run, ["three", "two", "one"]) == []
        assert publish(worker, run, ["three", "two", "one"]) == "published"
        assert text_of(admin, run.document_id) == ["three", "two", "one"]

    def test_of_a_text_that_stands_twice_keeps_one_chunk_and_two_positions(
        self, database: Database, admin: Connection, worker: Connection, object_id: UUID
    ):
        run = overwritten(admin, worker)
        texts = ["same", "one", "same", "same"]
        stage_missing(worker, run, texts)
        assert publish(worker, run, texts, pages=[1, 1, 2, 3]) == "published"
        assert len(chunks_of(admin, run.document_id)) == 2
        assert text_of(admin, run.document_id) == texts
        assert document_of(admin, object_id)["chunk_count"] == 4
        with as_client(database, {"sub": "alice"}, read_only=True) as client:
            hits = search(client, "same")
        assert [(hit["content"], hit["page_start"]) for hit in hits] == [("same", 1), ("one", 1)]

    def test_ignores_what_lies_staged_from_another_attempt(
        self, admin: Connection, worker: Connection, object_id: UUID
    ):
        run = overwritten(admin, worker)
        stage(worker, run, ["of an older chunking", "new"])
        assert publish(worker, run, ["new"]) == "published"
        assert text_of(admin, run.document_id) == ["new"]
        assert state(admin)["staged"] == []

    def test_of_no_chunks_at_all_is_an_empty_document(
        self, admin: Connection, worker: Connection, object_id: UUID
    ):
        run = overwritten(admin, worker)
        assert publish(worker, run, []) == "published"
        assert text_of(admin, run.document_id) == []
        document = document_of(admin, object_id)
        assert (document["status"], document["chunk_count"]) == ("ready", 0)

    def test_says_on_the_document_what_it_found(
        self, admin: Connection, worker: Connection, object_id: UUID
    ):
        run = overwritten(admin, worker)
        stage_missing(worker, run, ["a few words", "one"])
        hashes = [hash_of("a few words"), hash_of("one")]
        worker.execute(
            """select ingest_private.publish_document(
                   %s, %s, %s, '2', 'The title', 'application/pdf', 9, 2, %s, %s, %s, %s)""",
            [
                *(run.job_id, run.token, hash_of("bytes"), hashes),
                *([1, 9], [8, 9], ['{"sheet": 1}', None]),
            ],
        )
        document = document_of(admin, object_id)
        assert {
            key: document[key]
            for key in ("title", "mime_type", "page_count", "unread_pages", "chunk_count")
        } == {
            "title": "The title",
            "mime_type": "application/pdf",
            "page_count": 9,
            "unread_pages": 2,
            "chunk_count": 2,
        }
        assert (document["token_count"], document["quarantined_chunks"]) == (4, 0)
        assert (document["status"], document["searchable"]) == ("ready", True)
        assert document["content_sha256"] == hash_of("bytes")
        assert document["ready_at"] is not None
        found = rows(
            admin,
            "select page_start, page_end, locator from ingest.chunk_positions order by ordinal",
        )
        assert found == [
            {"page_start": 1, "page_end": 8, "locator": {"sheet": 1}},
            {"page_start": 9, "page_end": 9, "locator": {}},
        ]
        [job] = rows(admin, "select * from ingest.jobs where id = %s", run.job_id)
        assert (job["state"], job["stage"]) == ("succeeded", "finished")
        assert [
            row["outcome"]
            for row in rows(
                admin, "select outcome from ingest_private.attempts where job_id = %s", run.job_id
            )
        ] == ["succeeded"]

    def test_into_an_index_version_that_is_being_built_leaves_the_document_as_it_is(
        self, admin: Connection, worker: Connection, object_id: UUID
    ):
        admin.execute("select ingest_private.create_index_version('m2', 256, '{}')")
        try:
            document = document_of(admin, object_id)
            job_id = value(
                admin,
                "select ingest_private.enqueue_job(%s, 2, 'reindex', 9::smallint, 1)",
                document["id"],
            )
            admin.execute(
                "update ingest.documents set latest_job_id = %s", [document["latest_job_id"]]
            )
            before = document_of(admin, object_id)
            run = claimed(worker, job_id)
            assert stage_missing(worker, run, ["one", "deux"]) == ["one", "deux"]
            assert publish(worker, run, ["one", "deux"]) == "published"
            assert document_of(admin, object_id) == before
            kept = rows(admin, "select content from ingest.chunks where index_version = 1")
            assert {row["content"] for row in kept} == {"one", "two", "three"}
        finally:
            admin.execute(
                """delete from ingest.jobs where index_version = 2;
                   delete from ingest_private.published_versions where index_version = 2;
                   drop table ingest_private.chunks_2, ingest_private.chunk_positions_2;
                   delete from ingest.index_versions where id = 2;
                   alter sequence ingest.index_versions_id_seq restart 2"""
            )


class TestRefusal:
    @pytest.mark.parametrize("texts", [["missing"], ["one", "missing"], ["one", "new", "missing"]])
    def test_of_a_chunk_that_is_neither_staged_nor_live_changes_nothing(
        self, admin: Connection, worker: Connection, object_id: UUID, texts: list[str]
    ):
        run = overwritten(admin, worker)
        stage(worker, run, ["new"])
        before = state(admin)
        with pytest.raises(pg.IntegrityConstraintViolation, match="positions but"):
            publish(worker, run, texts)
        assert state(admin) == before
        stage(worker, run, ["missing"])
        assert publish(worker, run, texts) == "published"

    def test_of_null_instead_of_hashes_changes_nothing(
        self, admin: Connection, worker: Connection, object_id: UUID
    ):
        run = overwritten(admin, worker)
        before = state(admin)
        with pytest.raises(pg.IntegrityConstraintViolation):
            worker.execute(
                """select ingest_private.publish_document(
                       %s, %s, %s, '1', 't', 'm', 1, 0, null, null, null, null)""",
                [run.job_id, run.token, hash_of("x")],
            )
        assert state(admin) == before

    def test_after_an_overwrite_is_lost_and_leaves_the_old_version_searchable(
        self, database: Database, admin: Connection, worker: Connection, object_id: UUID
    ):
        run = overwritten(admin, worker)
        stage(worker, run, ["new"])
        newer = overwritten(admin, worker)
        assert publish(worker, run, ["new"]) == "lost"
        assert text_of(admin, run.document_id) == ["one", "two", "three"]
        # The embeddings that the first run paid for are not lost.
        assert stage_missing(worker, newer, ["new", "newer"]) == ["newer"]

    def test_where_the_document_has_moved_on_while_the_job_still_runs_is_superseded(
        self, admin: Connection, worker: Connection, object_id: UUID
    ):
        """The trigger could not lock the document: it has a new version, and the job still runs."""
        run = overwritten(admin, worker)
        stage(worker, run, ["new"])
        admin.execute("update ingest.documents set storage_version = 'next'")
        before = state(admin)
        assert publish(worker, run, ["new"]) == "superseded"
        assert publish_unchanged(worker, run, "x") == "superseded"
        assert state(admin) == before

    def test_of_an_expired_lease_that_nobody_took_still_counts(
        self, admin: Connection, worker: Connection, object_id: UUID
    ):
        run = overwritten(admin, worker)
        stage(worker, run, ["new"])
        admin.execute("update ingest_private.leases set expires_at = now() - interval '1 hour'")
        assert publish(worker, run, ["new"]) == "published"


class TestUnchanged:
    def test_the_same_bytes_touch_no_chunk(
        self, admin: Connection, worker: Connection, object_id: UUID
    ):
        before = rows(admin, "select *, ctid from ingest.chunks order by id")
        places = rows(admin, "select *, ctid from ingest.chunk_positions order by ordinal")
        run = overwritten(admin, worker)
        assert publish_unchanged(worker, run, "one\ntwo\nthree") == "published"
        assert rows(admin, "select *, ctid from ingest.chunks order by id") == before
        after = rows(admin, "select *, ctid from ingest.chunk_positions order by ordinal")
        assert after == places
        document = document_of(admin, object_id)
        assert (document["status"], document["chunk_count"]) == ("ready", 3)
        [job] = rows(admin, "select * from ingest.jobs where id = %s", run.job_id)
        assert (job["chunks_total"], job["chunks_reused"], job["chunks_embedded"]) == (3, 3, 0)

    @pytest.mark.parametrize(
        ("content", "pipeline"), [("other bytes", PIPELINE), ("one\ntwo\nthree", "newer rules")]
    )
    def test_other_bytes_or_other_rules_are_told_apart(
        self, admin: Connection, worker: Connection, object_id: UUID, *, content: str, pipeline: str
    ):
        run = overwritten(admin, worker)
        before = state(admin)
        assert publish_unchanged(worker, run, content, pipeline) == "changed"
        assert state(admin) == before

    def test_the_claim_says_what_is_live(
        self, admin: Connection, worker: Connection, object_id: UUID
    ):
        job_id = job_of(admin, put_object(admin, "a.txt"))
        [row] = rows(
            worker, "select * from ingest_private.claim_job(%s, 'w', false, '1 min')", job_id
        )
        assert row["published_sha256"] == hash_of("one\ntwo\nthree")
        assert row["published_pipeline"] == PIPELINE

    def test_after_a_change_of_owner_the_same_bytes_are_published_anew(
        self, admin: Connection, worker: Connection, object_id: UUID
    ):
        job_id = job_of(admin, put_object(admin, "a.txt", owner="bob"))
        run = claimed(worker, job_id)
        assert publish_unchanged(worker, run, "one\ntwo\nthree") == "changed"
        assert stage_missing(worker, run, ["one", "two", "three"]) == []
        assert publish(worker, run, ["one", "two", "three"]) == "published"
        drain_withdrawn(admin)
        owners = rows(admin, "select distinct owner_id from ingest.chunks")
        assert owners == [{"owner_id": "bob"}]


class TestReaders:
    def test_never_see_half_a_version(
        self, database: Database, admin: Connection, worker: Connection, object_id: UUID
    ):
        """A reader searches while versions are published; each answer is one whole version."""
        versions = [[f"v{number} {part}" for part in range(4)] for number in range(12)]
        allowed = {("one", "three", "two"), *(tuple(sorted(texts)) for texts in versions)}
        seen: set[tuple[str, ...]] = set()

        def publish_all() -> None:
            with database.connect() as storage, database.connect("docmill_worker") as other:
                for texts in versions:
                    run = claimed(
                        other, job_of(storage, put_object(storage, "a.txt", owner="alice"))
                    )
                    stage_missing(other, run, texts)
                    assert publish(other, run, texts) == "published"

        publishing = Background(publish_all)
        looks = 0
        with database.connect("authenticator") as reader:
            while not publishing.ended:
                with reader.transaction():
                    reader.execute(
                        """select set_config('role', 'authenticated', true),
                                  set_config('request.jwt.claims',
                                             '{"sub": "alice", "role": "authenticated"}', true)"""
                    )
                    hits = search(reader, "v3 2", match_count=50)
                    seen.add(tuple(sorted(hit["content"] for hit in hits)))
                looks += 1
        publishing()
        assert seen <= allowed
        assert looks > 5


@contextmanager
def open_publish(
    database: Database,
    admin: Connection,
    run: Run,
    texts: list[str],
    *,
    before: str = "lock_for_publish",
) -> Iterator[Background]:
    """A publish that has inserted its chunks, but has not taken its locks yet.

    The function `before` waits for an advisory lock that is released at the end.
    """
    definition = value(admin, f"select pg_get_functiondef('ingest_private.{before}'::regproc)")
    admin.execute(
        definition.replace(
            "begin\n", "begin\n    perform pg_advisory_xact_lock(4712);\n", 1
        ).encode()
    )
    try:
        with database.connect() as holder, database.connect("docmill_worker") as publisher:
            with holder.transaction():
                holder.execute("select pg_advisory_xact_lock(4712)")
                publishing = Background(lambda: publish(publisher, run, texts))
                wait_until_blocked(holder, publisher.info.backend_pid)
                yield publishing
            publishing()
    finally:
        admin.execute(definition.encode())


class TestLongPublish:
    """HNSW makes the inserts slow: nobody waits for them."""

    @pytest.fixture
    def run(self, admin: Connection, worker: Connection, object_id: UUID) -> Run:
        run = overwritten(admin, worker)
        stage(worker, run, ["new", "newer"])
        return run

    @staticmethod
    def timed(action: Any) -> float:
        started = time.monotonic()
        action()
        return time.monotonic() - started

    def test_does_not_delay_an_overwrite(
        self, database: Database, admin: Connection, run: Run, object_id: UUID
    ):
        with open_publish(database, admin, run, ["new", "newer"]) as publishing:
            assert self.timed(lambda: put_object(admin, "a.txt", owner="alice")) < 0.3
            assert state(admin)["leases"] == []
        assert publishing() == "lost"
        assert text_of(admin, run.document_id) == ["one", "two", "three"]

    def test_does_not_delay_a_delete(
        self, database: Database, admin: Connection, run: Run, object_id: UUID
    ):
        with open_publish(database, admin, run, ["new", "newer"]) as publishing:
            assert self.timed(lambda: delete_objects(admin, ["a.txt"])) < 0.3
            assert value(admin, LIVE_CHUNKS) == 0
            assert value(admin, "select count(*) from ingest_private.pending_events") == 0
        assert publishing() == "lost"
        drain_withdrawn(admin)
        assert value(admin, "select count(*) from ingest.chunks") == 0

    def test_is_not_for_the_old_owner_when_the_owner_changed_meanwhile(
        self, database: Database, admin: Connection, run: Run, object_id: UUID
    ):
        with open_publish(database, admin, run, ["new", "newer"]) as publishing:
            put_object(admin, "a.txt", owner="bob")
            assert value(admin, LIVE_CHUNKS) == 0
        assert publishing() == "lost"
        for sub in ("alice", "bob"):
            with as_client(database, {"sub": sub}, read_only=True) as client:
                assert search(client, "new") == []

    def test_is_not_for_an_owner_that_only_the_document_has_changed(
        self, database: Database, admin: Connection, run: Run
    ):
        """For example by hand: the document's jobs do not know it."""
        with open_publish(database, admin, run, ["new", "newer"]) as publishing:
            admin.execute("update ingest.documents set owner_id = 'bob'")
        assert publishing() == "superseded"
        assert text_of(admin, run.document_id) == ["one", "two", "three"]

    def test_and_a_sync_of_its_document_do_not_wait_in_a_circle(
        self, database: Database, admin: Connection, run: Run, object_id: UUID
    ):
        with database.connect("docmill_worker") as syncing:
            with open_publish(
                database, admin, run, ["new", "newer"], before="finish_publish"
            ) as publishing:
                admin.execute(
                    """set session_replication_role = replica;
                       update storage.objects set version = 'next';
                       reset session_replication_role"""
                )
                statement = "select ingest_private.sync_object(%s, null, null)"
                sync = Background(lambda: value(syncing, statement, object_id))
                wait_until_blocked(admin, syncing.info.backend_pid)
            assert publishing() == "published"
            assert sync() == job_of(admin, object_id) != run.job_id

    def test_does_not_delay_the_heartbeat_of_its_worker(
        self, database: Database, admin: Connection, worker: Connection, run: Run
    ):
        with open_publish(database, admin, run, ["new", "newer"]):
            took = self.timed(lambda: heartbeat(worker, lease="1 hour", runs=[run]))
            assert took < 0.3
            assert value(
                admin, "select bool_and(expires_at > now() + '30 min') from ingest_private.leases"
            )

    def test_beside_a_second_one_of_the_same_chunks_ends_with_one(
        self, database: Database, admin: Connection, worker: Connection, run: Run
    ):
        """The first was rescued during its inserts; the second inserts the same chunks."""
        with database.connect("docmill_worker") as second:
            with open_publish(database, admin, run, ["new", "newer"]) as publishing:
                admin.execute("update ingest_private.leases set expires_at = clock_timestamp()")
                worker.execute("select ingest_private.rescue_jobs()")
                again = claimed(worker, run.job_id, isolated=True)
                taking_over = Background(lambda: publish(second, again, ["newer", "new"]))
                wait_until_blocked(admin, second.info.backend_pid)
            assert publishing() == "lost"
            assert taking_over() == "published"
        assert text_of(admin, run.document_id) == ["newer", "new"]


def test_the_embedding_that_is_found_is_the_one_that_was_staged(admin: Connection, object_id: UUID):
    stored = value(admin, "select embedding::text from ingest.chunks where content = 'two'")
    numbers = [float(number) for number in stored.strip("[]").split(",")]
    assert max(abs(numbers - vector_of("two"))) < 0.001
