"""Several index versions: dual writes, filling, activation, what each worker serves, dropping."""

import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from docmill.worker.admin import reindex
from docmill.worker.errors import RefusedError
from tests.schema.actors import (
    MODEL,
    Connection,
    claim,
    claimed,
    document_of,
    drain_withdrawn,
    heartbeat,
    ingest,
    job_of,
    jobs_for,
    new_version,
    publish,
    rows,
    stage,
    stage_missing,
    take,
    upload,
    value,
    vector_of,
    wait_until_blocked,
)
from tests.schema.test_holds import explain
from tests.schema.test_state_machine import fail
from tests.schema.test_titles import wrong_words
from tests.support.database import Database, as_client, delete_objects, put_object, watch_bucket

FILL = "select ingest_private.fill_index_versions(%s)"
OTHER = "m2"


@pytest.fixture
def admin(database: Database) -> Iterator[Connection]:
    watch_bucket(database)
    with database.connect() as connection:
        yield connection


def queued_for(admin: Connection, version: int) -> list[Any]:
    return [job["id"] for job in jobs_for(admin, version) if job["state"] == "queued"]


def fill(admin: Connection, version: int) -> int:
    """Run a version's jobs until nothing is missing; each copies the active version's chunks."""
    done = 0
    while True:
        value(admin, FILL, 100)
        waiting = queued_for(admin, version)
        if not waiting:
            return done
        for job_id in waiting:
            run = claimed(admin, job_id)
            texts = texts_of(admin, run.document_id)
            stage_missing(admin, run, texts)
            assert publish(admin, run, texts) == "published"
            done += 1


def texts_of(admin: Connection, document_id: Any, version: int | None = None) -> list[str]:
    """The chunks of a document in a version, by default the active one, in reading order."""
    found = rows(
        admin,
        """select content from ingest_private.reindex_chunks(
               %s, coalesce(%s, (select id from ingest.index_versions where state = 'active')),
               0, 1000)""",
        *(document_id, version),
    )
    return [row["content"] for row in found]


def found_by(database: Database, text: str, model: str | None = None) -> list[str]:
    """What alice finds, searching like an app."""
    with as_client(database, {"sub": "alice"}) as client:
        hits = rows(
            client,
            "select content from ingest.match_chunks(%s::extensions.vector, %s)",
            *(str(list(map(float, vector_of(text)))), model or MODEL),
        )
    return [hit["content"] for hit in hits]


class TestDualWrites:
    def test_what_is_published_goes_to_every_version_that_is_filled(
        self, admin: Connection, database: Database
    ):
        building = new_version(admin)
        object_id = put_object(admin, "a.txt", owner="alice")
        assert queued_for(admin, building) == []  # the active version comes first
        ingest(admin, object_id, ["one", "two"])
        (job,) = jobs_for(admin, building)
        assert (job["kind"], job["state"], job["priority"]) == ("reindex", "queued", 9)
        document = document_of(admin, object_id)
        assert document["status"] == "ready"
        assert document["latest_job_id"] != job["id"]

    def test_of_a_paused_version_wait_until_it_is_resumed(
        self, admin: Connection, database: Database
    ):
        building = new_version(admin)
        reindex.pause(admin, building, is_paused=True)
        upload(database, "a.txt", ["one"])
        assert value(admin, FILL, 9) == 0
        reindex.pause(admin, building, is_paused=False)
        assert value(admin, FILL, 9) == 1

    def test_an_overwrite_replaces_what_waits_and_deletes_reach_every_version(
        self, admin: Connection, database: Database
    ):
        building = new_version(admin)
        upload(database, "a.txt", ["one"])
        (first,) = queued_for(admin, building)
        upload(database, "a.txt", ["two"])
        (second,) = queued_for(admin, building)
        assert first != second
        fill(admin, building)
        assert rows(admin, "select content from ingest.chunks order by index_version") == [
            {"content": "two"},
            {"content": "two"},
        ]
        delete_objects(admin, ["a.txt"])
        drain_withdrawn(admin)
        for table in ("chunks", "chunk_positions", "chunk_lexemes"):
            assert rows(admin, f"select * from ingest.{table}") == []
        assert rows(admin, "select * from ingest_private.published_versions") == []


class TestFilling:
    def test_makes_so_many_jobs_at_a_time_and_none_twice(
        self, admin: Connection, database: Database
    ):
        for number in range(5):
            upload(database, f"{number}.txt", [f"text {number}"])
        building = new_version(admin)
        assert value(admin, FILL, 3) == 3
        assert value(admin, FILL, 3) == 0
        for job_id in queued_for(admin, building):
            run = claimed(admin, job_id)
            stage(admin, run, ["x"])
            publish(admin, run, ["x"])
        assert value(admin, FILL, 3) == 2
        assert fill(admin, building) == 2
        assert value(admin, FILL, 9) == 0
        assert reindex.missing(admin, building, 9) == []

    def test_two_at_once_make_each_job_once(self, admin: Connection, database: Database):
        for number in range(8):
            upload(database, f"{number}.txt", [f"text {number}"])
        building = new_version(admin)

        def call() -> None:
            with database.connect() as own:
                value(own, FILL, 100)

        callers = [threading.Thread(target=call) for _ in range(4)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        assert len(jobs_for(admin, building)) == 8

    def test_a_failure_changes_nothing_of_the_document_and_is_not_tried_again(
        self, admin: Connection, database: Database
    ):
        object_id = upload(database, "a.txt", ["one"])
        before = document_of(admin, object_id)
        building = new_version(admin)
        value(admin, FILL, 9)
        (job_id,) = queued_for(admin, building)
        assert fail(admin, claimed(admin, job_id), "corrupt", None)
        assert document_of(admin, object_id) == before
        assert value(admin, FILL, 9) == 0
        assert reindex.failures(admin, building) == [{"error_code": "corrupt", "documents": 1}]
        upload(database, "a.txt", ["another"])
        assert len(queued_for(admin, building)) == 1

    def test_a_run_changes_nothing_of_the_document_while_it_lasts(
        self, admin: Connection, database: Database
    ):
        object_id = upload(database, "a.txt", ["one"])
        before = document_of(admin, object_id)
        building = new_version(admin)
        value(admin, FILL, 9)
        run = claimed(admin, queued_for(admin, building)[0])
        assert document_of(admin, object_id) == before
        stage(admin, run, ["one"])
        publish(admin, run, ["one"])
        assert document_of(admin, object_id) == before

    def test_an_upload_meanwhile_is_not_published_in_its_former_form(
        self, admin: Connection, database: Database
    ):
        upload(database, "a.txt", ["one"])
        building = new_version(admin)
        value(admin, FILL, 9)
        run = claimed(admin, queued_for(admin, building)[0])
        stage(admin, run, ["one"])
        put_object(admin, "a.txt", owner="alice")
        assert publish(admin, run, ["one"]) != "published"
        assert rows(admin, "select 1 from ingest.chunks where index_version = %s", building) == []


class TestBeginningWithTheActiveVersion:
    @pytest.mark.parametrize(
        ("chunking", "is_alike"),
        [
            ('{"max_tokens": 400, "counter": "local"}', True),
            ('{"max_tokens": 400}', False),  # counted like OpenAI, unlike the active version
            ('{"max_tokens": 200, "counter": "local"}', False),
        ],
    )
    def test_chunks_are_taken_where_they_are_cut_alike(
        self, admin: Connection, database: Database, chunking: str, is_alike: bool
    ):
        upload(database, "a.txt", ["one", "two", "one"])
        admin.execute("update ingest.index_versions set chunking = '{\"max_tokens\": 400}'")
        building = new_version(admin, p_chunking=chunking)
        value(admin, FILL, 9)
        (job_id,) = queued_for(admin, building)
        source = rows(admin, "select * from ingest_private.reindex_source(%s)", job_id)
        assert len(source) == is_alike
        document = claimed(admin, job_id).document_id
        assert texts_of(admin, document) == ["one", "two", "one"]

    def test_embeddings_are_taken_where_only_the_chunking_differs(
        self, admin: Connection, database: Database
    ):
        upload(database, "a.txt", ["one", "two"])
        active = rows(admin, "select * from ingest.index_versions")[0]
        building = new_version(
            admin, p_model=active["model"], p_provider=active["provider"], p_chunking='{"x": 1}'
        )
        value(admin, FILL, 9)
        run = claimed(admin, queued_for(admin, building)[0])
        assert stage_missing(admin, run, ["one", "three"]) == ["three"]
        assert publish(admin, run, ["one", "three"]) == "published"
        assert texts_of(admin, run.document_id, building) == ["one", "three"]

    @pytest.mark.parametrize("owner", ["alice", None])
    def test_words_are_those_that_would_be_made(
        self, admin: Connection, database: Database, owner: str | None
    ):
        upload(database, "a.txt", ["The rooms are cheap", "AB-12/3 und die Häuser"], owner=owner)
        building = new_version(admin, p_chunking='{"x": 1}')
        # What is first in the active version has the file's name among its words, and here it is
        # second.
        texts = ["Another text", "The rooms are cheap", "AB-12/3 und die Häuser"]
        value(admin, FILL, 9)
        run = claimed(admin, queued_for(admin, building)[0])
        stage_missing(admin, run, texts)
        assert publish(admin, run, texts) == "published"
        of_version = "select count(*)::int from ingest.chunk_lexemes where index_version = %s"
        assert value(admin, of_version, building) == 3
        assert wrong_words(admin, building) == []

    def test_words_of_equal_texts_are_taken_and_not_made(
        self, admin: Connection, database: Database
    ):
        upload(database, "a.txt", ["one", "two"])
        upload(database, "b.txt", ["three"])
        admin.execute("update ingest.chunk_lexemes set lexemes = 'marked' where true")
        building = new_version(admin)
        fill(admin, building)
        upload(database, "c.txt", ["one"])
        marked = """select count(*) filter (where lexemes @@ 'marked') as marked, count(*) as all
                      from ingest.chunk_lexemes where index_version = %s"""
        # The first passage of each has the file's name among its words: they are made again.
        assert rows(admin, marked, building) == [{"marked": 1, "all": 3}]
        assert rows(admin, marked, 1) == [{"marked": 3, "all": 4}]


class TestActivation:
    def test_is_refused_while_documents_are_missing(self, admin: Connection, database: Database):
        upload(database, "a.txt", ["one"])
        building = new_version(admin)
        assert not reindex.activate(admin, building, anyway=False)
        assert [row["object_name"] for row in reindex.missing(admin, building, 9)] == ["a.txt"]
        fill(admin, building)
        assert reindex.activate(admin, building, anyway=False)
        with pytest.raises(RefusedError, match="is active"):
            reindex.activate(admin, building, anyway=True)

    @pytest.mark.parametrize("is_filled", [False, True])
    def test_looks_again_at_what_was_published_since_it_looked(
        self, admin: Connection, database: Database, is_filled: bool
    ):
        building = new_version(admin)
        checked_at = value(admin, "select clock_timestamp()")
        upload(database, "a.txt", ["one"])
        if is_filled:
            fill(admin, building)
        flip = "select ingest_private.activate_index_version(%s, false, 1, %s)"
        assert value(admin, flip, building, checked_at) == is_filled

    def test_answers_from_the_other_version_at_once_and_back(
        self, admin: Connection, database: Database
    ):
        upload(database, "a.txt", ["one"])
        building = new_version(admin)
        fill(admin, building)
        with pytest.raises(psycopg.errors.InvalidParameterValue):
            found_by(database, "one", OTHER)  # a version that is being filled answers nobody
        for _ in range(2):
            assert reindex.activate(admin, building, anyway=False)
            assert found_by(database, "one", OTHER) == found_by(database, "one") == ["one"]
            assert reindex.activate(admin, 1, anyway=False)

    def test_each_model_is_answered_from_its_own_version(
        self, admin: Connection, database: Database
    ):
        upload(database, "a.txt", ["one"])
        building = new_version(admin)
        fill(admin, building)
        assert reindex.activate(admin, building, anyway=False)
        query = str(list(map(float, vector_of("one"))))
        for model, version in ((MODEL, 1), (OTHER, building)):
            with as_client(database, {"sub": "alice"}) as client:
                found = rows(
                    client,
                    """select chunk.index_version from ingest.match_chunks(%s, %s) as hit
                         join ingest.chunks as chunk on chunk.id = hit.chunk_id""",
                    *(query, model),
                )
            assert found == [{"index_version": version}]

    def test_keeps_the_former_version_filled(self, admin: Connection, database: Database):
        building = new_version(admin)
        assert reindex.activate(admin, building, anyway=False)
        upload(database, "a.txt", ["one"])
        fill(admin, 1)
        assert found_by(database, "one", OTHER) == found_by(database, "one") == ["one"]

    def test_ingests_in_the_new_version_what_waits(self, admin: Connection, database: Database):
        building = new_version(admin)
        waits = put_object(admin, "waits.txt", owner="alice")
        runs = put_object(admin, "runs.txt", owner="alice")
        former = claimed(admin, job_of(admin, runs))
        assert reindex.activate(admin, building, anyway=False)
        stage(admin, former, ["one"])
        assert publish(admin, former, ["one"]) != "published"
        for object_id in (waits, runs):
            ingest(admin, object_id, ["one"])
            assert document_of(admin, object_id)["status"] == "ready"
        assert {row["index_version"] for row in rows(admin, "select * from ingest.chunks")} == {
            building
        }

    def test_anyway_fills_afterwards_what_was_missing(self, admin: Connection, database: Database):
        object_id = upload(database, "a.txt", ["one"])
        building = new_version(admin)
        before = document_of(admin, object_id)
        assert reindex.activate(admin, building, anyway=True)
        assert value(admin, FILL, 9) == 1
        (job_id,) = queued_for(admin, building)
        assert document_of(admin, object_id)["latest_job_id"] == before["latest_job_id"]
        run = claimed(admin, job_id)
        stage(admin, run, ["one"])
        assert publish(admin, run, ["one"]) == "published"
        assert found_by(database, "one", OTHER) == ["one"]

    def test_counts_what_documents_have_in_the_version_that_answers(
        self, admin: Connection, database: Database
    ):
        object_id = upload(database, "a.txt", ["one", "two"])
        building = new_version(admin)
        value(admin, FILL, 9)
        run = claimed(admin, queued_for(admin, building)[0])
        stage(admin, run, ["one", "two", "three"])
        publish(admin, run, ["one", "two", "three"])
        assert document_of(admin, object_id)["chunk_count"] == 2
        assert reindex.activate(admin, building, anyway=False)
        assert document_of(admin, object_id)["chunk_count"] == 3

    def test_waits_for_a_publish_that_has_begun(self, admin: Connection, database: Database):
        building = new_version(admin)
        run = claimed(admin, job_of(admin, put_object(admin, "a.txt", owner="alice")))
        stage(admin, run, ["one"])
        done = threading.Event()

        def flip() -> None:
            with database.connect() as own:
                reindex.activate(own, building, anyway=True)
            done.set()

        with database.connect() as publisher, publisher.transaction():
            assert publish(publisher, run, ["one"]) == "published"
            flipping = threading.Thread(target=flip)
            flipping.start()
            wait_for_lock(admin, unless=done)
            assert not done.is_set()
        flipping.join(180)
        assert done.is_set()
        assert queued_for(admin, building)


def wait_for_lock(admin: Connection, *, unless: threading.Event) -> None:
    """Wait until a backend waits for an advisory lock in this database, or the action has ended."""
    with admin.transaction():
        while not unless.is_set() and not value(
            admin,
            """select count(*) from pg_locks
                where locktype = 'advisory' and not granted and database = (
                      select oid from pg_database where datname = current_database())""",
        ):
            pass


class TestProviders:
    def test_a_worker_runs_jobs_of_the_providers_whose_keys_it_has(
        self, admin: Connection, database: Database
    ):
        upload(database, "a.txt", ["one"])
        building = new_version(admin, p_provider="voyage")
        value(admin, FILL, 9)
        (job_id,) = queued_for(admin, building)
        heartbeat(admin, "w1")
        assert take(admin) == []
        assert claim(admin, job_id, worker="w1") is None
        assert explain(admin, job_id)["hold_reason"] == "no_worker"
        assert "voyage" in explain(admin, job_id)["explanation"]
        heartbeat(admin, "w2", providers=["voyage"])
        [hint] = rows(admin, "select * from ingest_private.take_ready_jobs('1 min')")
        assert hint["queue"] == "ingest.voyage"
        assert claim(admin, job_id, worker="w1") is None
        assert claim(admin, job_id, worker="w2") is not None

    def test_a_worker_of_the_former_release_runs_none_of_a_version_it_does_not_know(
        self, admin: Connection, database: Database
    ):
        admin.execute("update ingest.index_versions set is_former = true")
        upload(database, "a.txt", ["one"])
        building = new_version(admin)
        value(admin, FILL, 9)
        heartbeat(admin, "former", providers=None)
        (other,) = queued_for(admin, building)
        assert claim(admin, other, worker="former") is None
        known = job_of(admin, put_object(admin, "b.txt"))
        assert take(admin) == [known]
        assert claim(admin, known, worker="former") is not None

    def test_a_key_that_is_refused_stops_its_own_provider(
        self, admin: Connection, database: Database
    ):
        upload(database, "a.txt", ["one"])
        building = new_version(admin, p_provider="voyage")
        value(admin, FILL, 9)
        heartbeat(admin, providers=["local", "openai", "voyage"])
        (job_id,) = queued_for(admin, building)
        token = claimed(admin, job_id).token
        assert value(
            admin,
            """select ingest_private.release_job(%s, %s, 'provider_auth', 'breaker_open',
                                                 '1 hour')""",
            *(job_id, token),
        )
        uploaded = job_of(admin, put_object(admin, "b.txt", owner="alice"))
        assert take(admin) == [uploaded]
        assert explain(admin, uploaded)["situation"] != "held"
        assert explain(admin, job_id)["hold_reason"] == "breaker_open"


class TestLanes:
    SLOTS = 20

    def taken(self, admin: Connection, *, uploads: int, documents: int) -> tuple[int, int]:
        """How many uploads, and how many jobs of reindexing, get a slot."""
        for number in range(documents):
            run = claimed(admin, job_of(admin, put_object(admin, f"old {number}.txt")))
            publish(admin, run, [])
        building = new_version(admin)
        value(admin, FILL, 100)
        for number in range(uploads):
            put_object(admin, f"new {number}.txt", owner="bob")
        heartbeat(admin, slots=self.SLOTS)
        chosen, reindexing = take(admin), {job["id"] for job in jobs_for(admin, building)}
        return len(set(chosen) - reindexing), len(set(chosen) & reindexing)

    def test_reindexing_has_a_twentieth_beside_uploads(self, admin: Connection):
        assert self.taken(admin, uploads=40, documents=40) == (19, 1)

    def test_reindexing_has_a_sixteenth_alone(self, admin: Connection):
        assert self.taken(admin, uploads=0, documents=40) == (0, 2)


class TestDropping:
    def test_leaves_a_row_and_nothing_else(self, admin: Connection, database: Database):
        building = new_version(admin)
        upload(database, "a.txt", ["one"])
        fill(admin, building)
        upload(database, "b.txt", ["two"])  # its job waits
        reindex.drop(admin, building)
        reindex.drop(admin, building)  # again, as after a crash
        assert [row["state"] for row in reindex.versions(admin)] == ["active", "dropped"]
        assert queued_for(admin, building) == []
        tables = rows(
            admin,
            """select attrelid::regclass::text as name from pg_attribute
                 join pg_class on pg_class.oid = attrelid and relkind in ('r', 'p')
                where attname = 'index_version' and relnamespace::regnamespace::text like 'ingest%%'
                  and not relispartition and relname not in ('jobs')""",
        )
        assert len(tables) > 4
        for table in tables:
            found = rows(admin, f"select 1 from {table['name']} where index_version = %s", building)
            assert found == [], table["name"]
        assert value(admin, FILL, 9) == 0
        assert found_by(database, "one")

    def test_waits_for_a_publish_that_makes_a_job_for_it(
        self, admin: Connection, database: Database
    ):
        building = new_version(admin)
        run = claimed(admin, job_of(admin, put_object(admin, "a.txt", owner="alice")))
        stage(admin, run, ["one"])
        with database.connect() as own, database.connect() as publisher:
            dropping = threading.Thread(target=reindex.drop, args=(own, building))
            with publisher.transaction():
                assert publish(publisher, run, ["one"]) == "published"
                dropping.start()
                assert wait_until_blocked(admin, own.info.backend_pid)
            dropping.join(180)
        assert queued_for(admin, building) == []

    def test_refuses_the_active_version(self, admin: Connection):
        with pytest.raises(RefusedError, match="active"):
            reindex.drop(admin, 1)


class TestTryingAgain:
    def test_what_failed_before_goes_to_the_version_that_answers_now(
        self, admin: Connection, database: Database
    ):
        upload(database, "a.txt", ["one"])
        object_id = put_object(admin, "bad.txt", owner="alice")
        run = claimed(admin, job_of(admin, object_id))
        fail(admin, run, "corrupt", None)
        building = new_version(admin)
        fill(admin, building)
        assert reindex.activate(admin, building, anyway=False)

        again = value(admin, "select ingest_private.retry_job(%s)", run.job_id)
        (job,) = rows(admin, "select * from ingest.jobs where id = %s", again)
        assert (job["kind"], job["index_version"]) == ("ingest", building)
        document = document_of(admin, object_id)
        assert (document["status"], document["latest_job_id"]) == ("pending", again)

    def test_of_a_version_that_was_dropped_is_refused(self, admin: Connection, database: Database):
        building = new_version(admin)
        upload(database, "a.txt", ["one"])
        (job_id,) = queued_for(admin, building)
        fail(admin, claimed(admin, job_id), "corrupt", None)
        reindex.drop(admin, building)
        with as_client(database, {"sub": "alice"}) as client, pytest.raises(psycopg.Error) as error:
            client.execute("select ingest.retry_job(%s)", [job_id])
        assert error.value.sqlstate == "PT409"
        assert queued_for(admin, building) == []


def a_failure(admin: Connection, database: Database, code: str = "corrupt") -> int:
    """A version that lacks a document, whose job failed in a worker that is alive."""
    building = new_version(admin)
    upload(database, "a.txt", ["one"])
    heartbeat(admin, "w1")
    reads(admin, "w1", 5)
    (job_id,) = queued_for(admin, building)
    fail(admin, claimed(admin, job_id), code, None)
    return building


def reads(admin: Connection, worker: str, rules: int, extras: str = "{}") -> None:
    """A worker reads by these rules, with these extras."""
    admin.execute(
        """update ingest_private.workers set reader_rules = %s, chunk_rules = 2, extras = %s
            where id = %s""",
        [rules, extras, worker],
    )


class TestWhatFailed:
    def test_is_not_tried_again_even_after_its_job_was_pruned(
        self, admin: Connection, database: Database
    ):
        building = a_failure(admin, database)
        assert value(admin, FILL, 9) == 0
        admin.execute(
            "update ingest.jobs set finished_at = now() - interval '1 year' where kind = 'reindex'"
        )
        assert value(admin, "select ingest_private.prune('1 day', '1 day')") > 0
        assert jobs_for(admin, building) == []
        assert value(admin, FILL, 9) == 0
        assert reindex.failures(admin, building) == [{"error_code": "corrupt", "documents": 1}]

    @pytest.mark.parametrize(
        ("rules", "extras", "jobs"), [(4, "{}", 0), (5, "{}", 0), (6, "{}", 1), (5, "{ocr}", 1)]
    )
    def test_is_tried_again_by_who_reads_better(
        self, admin: Connection, database: Database, rules: int, extras: str, jobs: int
    ):
        building = a_failure(admin, database)
        heartbeat(admin, "another")
        reads(admin, "another", rules, extras)
        assert value(admin, FILL, 9) == jobs
        assert len(queued_for(admin, building)) == jobs
        documents = rows(admin, "select status from ingest.documents")
        assert [row["status"] for row in documents] == ["ready"]

    def test_is_tried_again_once_the_file_changes_and_then_forgotten(
        self, admin: Connection, database: Database
    ):
        building = a_failure(admin, database)
        upload(database, "a.txt", ["two"])
        fill(admin, building)
        assert reindex.failures(admin, building) == []
        assert rows(admin, "select * from ingest_private.version_failures") == []

    def test_goes_with_its_document(self, admin: Connection, database: Database):
        a_failure(admin, database)
        delete_objects(admin, ["a.txt"])
        drain_withdrawn(admin)
        assert rows(admin, "select * from ingest_private.version_failures") == []


class TestStatus:
    def test_says_of_all_that_is_missing_for_good_why(self, admin: Connection, database: Database):
        building = new_version(admin)
        for name in ("done.txt", "failed.txt", "cancelled.txt"):
            upload(database, name, [name])
        jobs = {job["object_name"]: job["id"] for job in jobs_for(admin, building)}
        fail(admin, claimed(admin, jobs["failed.txt"]), "corrupt", None)
        with as_client(database, {"sub": "alice"}) as client:
            assert value(client, "select ingest.cancel_job(%s)", jobs["cancelled.txt"])
        fill(admin, building)
        (status,) = [row for row in reindex.versions(admin) if row["id"] == building]
        assert (status["missing"], status["jobs"]) == (2, 0)
        assert reindex.failures(admin, building) == [
            {"error_code": "cancelled", "documents": 1},
            {"error_code": "corrupt", "documents": 1},
        ]
        # One owner tries again; then the document is neither missing nor counted.
        value(admin, "select ingest_private.retry_job(%s)", jobs["failed.txt"])
        fill(admin, building)
        assert reindex.failures(admin, building) == [{"error_code": "cancelled", "documents": 1}]


def later(admin: Connection, version: int) -> None:
    """A retired version's time is over."""
    admin.execute(
        "update ingest.index_versions set drop_at = clock_timestamp() where id = %s", [version]
    )


def state_of(admin: Connection, version: int) -> str:
    return str(value(admin, "select state from ingest.index_versions where id = %s", version))


END = "select ingest_private.end_due_versions(1000)"


class TestEnding:
    def test_cancelling_leaves_nothing_and_touches_no_document(
        self, admin: Connection, database: Database
    ):
        building = new_version(admin)
        upload(database, "done.txt", ["one"])
        fill(admin, building)
        upload(database, "running.txt", ["two"])
        run = claimed(admin, queued_for(admin, building)[0])
        stage(admin, run, ["two"])
        upload(database, "waiting.txt", ["three"])
        before = rows(admin, "select * from ingest.documents order by id")

        reindex.cancel(admin, building)
        reindex.cancel(admin, building)  # again, as after a crash

        assert rows(admin, "select * from ingest.documents order by id") == before
        assert {job["state"] for job in jobs_for(admin, building)} == {"succeeded", "superseded"}
        assert publish(admin, run, ["two"]) == "lost"
        for table in ("ingest.chunks", "ingest_private.staged_chunks", "ingest.chunk_lexemes"):
            assert rows(admin, f"select 1 from {table} where index_version = %s", building) == []
        assert value(admin, FILL, 9) == 0

    def test_only_a_version_that_never_was_active_is_cancelled(
        self, admin: Connection, database: Database
    ):
        building = new_version(admin)
        upload(database, "a.txt", ["one"])
        fill(admin, building)
        with pytest.raises(RefusedError, match="is active"):
            reindex.cancel(admin, 1)
        assert reindex.activate(admin, building, anyway=False)
        with pytest.raises(RefusedError, match="is retired"):
            reindex.cancel(admin, 1)
        assert reindex.activate(admin, 1, anyway=False)

    def test_the_schedule_ends_a_version_whose_time_is_over_and_names_what_is_left(
        self, admin: Connection, database: Database
    ):
        building = new_version(admin)
        upload(database, "a.txt", ["one"])
        fill(admin, building)
        assert reindex.activate(admin, building, anyway=False, drop_after="7d")
        upload(database, "b.txt", ["two"])  # a job for the retired one waits
        assert value(admin, END) == 0
        assert state_of(admin, 1) == "retired"

        later(admin, 1)
        with database.connect("docmill_worker") as worker:
            assert value(worker, END) > 0
            while value(worker, END):
                pass
        assert state_of(admin, 1) == "dropped"
        assert queued_for(admin, 1) == []
        assert value(admin, FILL, 9) == 0
        left = "select remedy from ingest_private.troubles() where trouble = 'tables_left'"
        assert value(admin, left) == "docmill reindex drop 1"
        with pytest.raises(psycopg.errors.InvalidParameterValue, match="no searchable"):
            found_by(database, "one")  # of its model
        assert sorted(found_by(database, "one", OTHER)) == ["one", "two"]

        reindex.drop(admin, 1)
        assert rows(admin, left) == []

    def test_one_that_is_active_again_has_no_end(self, admin: Connection, database: Database):
        building = new_version(admin)
        upload(database, "a.txt", ["one"])
        fill(admin, building)
        assert reindex.activate(admin, building, anyway=False, drop_after="1h")
        later(admin, 1)
        assert reindex.activate(admin, 1, anyway=False)
        assert value(admin, END) == 0
        assert [state_of(admin, version) for version in (1, building)] == ["active", "retired"]


class TestHurrying:
    def lanes_of(self, admin: Connection, version: int) -> list[tuple[bool, int, int]]:
        found = rows(
            admin,
            """select entry.is_reindex, entry.priority, job.priority as said
                 from ingest_private.job_queue as entry join ingest.jobs as job on job.id = job_id
                where job.index_version = %s and job.state = 'queued'""",
            version,
        )
        return [(row["is_reindex"], row["priority"], row["said"]) for row in found]

    def test_what_is_left_goes_like_uploads_once_somebody_wants_it(
        self, admin: Connection, database: Database
    ):
        building = new_version(admin)
        upload(database, "a.txt", ["one"])
        assert self.lanes_of(admin, building) == [(True, 9, 9)]
        assert not reindex.activate(admin, building, anyway=False)
        assert self.lanes_of(admin, building) == [(False, 5, 5)]
        upload(database, "b.txt", ["two"])
        assert self.lanes_of(admin, building) == [(False, 5, 5)] * 2
        documents = rows(admin, "select status, latest_job_id from ingest.documents")
        assert {row["status"] for row in documents} == {"ready"}
        fill(admin, building)
        assert reindex.activate(admin, building, anyway=False)
        # For the version that is only kept filled, nobody waits.
        upload(database, "c.txt", ["three"])
        assert self.lanes_of(admin, 1) == [(True, 9, 9)]

    def test_what_was_missing_when_it_became_active_goes_like_uploads(
        self, admin: Connection, database: Database
    ):
        for name in ("a.txt", "b.txt"):
            upload(database, name, [name])
        building = new_version(admin)
        assert value(admin, FILL, 1) == 1
        assert reindex.activate(admin, building, anyway=True)
        assert value(admin, FILL, 9) == 1
        assert self.lanes_of(admin, building) == [(False, 5, 5)] * 2

    def test_reindexing_never_ages_not_even_after_a_pause(
        self, admin: Connection, database: Database
    ):
        building = new_version(admin)
        upload(database, "a.txt", ["one"])
        admin.execute("insert into ingest_private.pauses (scope, key) values ('owner', 'alice')")
        sweep = "select changed from ingest_private.apply_pauses(null)"
        assert value(admin, sweep) == 1
        admin.execute("delete from ingest_private.pauses")
        assert value(admin, sweep) == 1
        assert self.lanes_of(admin, building) == [(True, 9, 9)]
        assert value(admin, "select aged_at = 'infinity' from ingest_private.job_queue")
