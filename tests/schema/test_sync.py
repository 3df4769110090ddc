"""Documents follow storage.objects, in any order of events."""

import random
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from psycopg.types.json import Jsonb

from docmill.embedded.postgres import PostgresServer
from tests.schema.actors import (
    LIVE_CHUNKS,
    PIPELINE,
    Connection,
    chunks_of,
    claim,
    claimed,
    document_of,
    drain_withdrawn,
    hash_of,
    ingest,
    job_of,
    publish,
    rows,
    search,
    stage_missing,
    text_of,
    upload,
    value,
)
from tests.support.database import (
    Database,
    as_client,
    delete_objects,
    make_database,
    put_object,
    watch_bucket,
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


def documents(connection: Connection) -> dict[UUID, tuple[str, str, str]]:
    """The documents: bucket, name and version of each object."""
    return {
        row["object_id"]: (row["bucket_id"], row["object_name"], row["storage_version"])
        for row in rows(connection, "select * from ingest.documents")
    }


def objects(connection: Connection, *buckets: str) -> dict[UUID, tuple[str, str, str]]:
    """The objects of these buckets in Storage."""
    return {
        row["id"]: (row["bucket_id"], row["name"], row["version"])
        for row in rows(
            connection, "select * from storage.objects where bucket_id = any(%s)", list(buckets)
        )
    }


def agree(connection: Connection, *buckets: str) -> None:
    """Documents match Storage, and each has exactly one unfinished job for its version."""
    assert documents(connection) == objects(connection, *(buckets or ("docs",)))
    assert (
        rows(
            connection,
            """select document.object_name, job.* from ingest.documents as document
                 left join ingest.jobs as job on job.id = document.latest_job_id
                where job.storage_version is distinct from document.storage_version""",
        )
        == []
    )
    assert (
        rows(
            connection,
            """select job.* from ingest.jobs as job
                 left join ingest.documents as document on document.id = job.document_id
                where job.finished_at is null
                  and job.storage_version is distinct from document.storage_version""",
        )
        == []
    )


def move(
    connection: Connection, old: str, new: str, *, bucket: str = "docs", to: str | None = None
) -> None:
    """Rename like Storage: the same row, a new version."""
    connection.execute(
        """update storage.objects set name = %s, bucket_id = %s, version = %s
            where bucket_id = %s and name = %s""",
        [new, to or bucket, str(uuid4()), bucket, old],
    )


def states(connection: Connection, object_id: UUID) -> list[str]:
    """States of all jobs of the object's document, oldest first."""
    return [
        row["state"]
        for row in rows(
            connection,
            """select job.state from ingest.jobs as job join ingest.documents as document
                      on document.id = job.document_id
                where document.object_id = %s order by job.created_at""",
            object_id,
        )
    ]


class TestUploads:
    def test_a_new_object_becomes_a_document_with_a_job(self, admin: Connection):
        object_id = put_object(
            admin, "a/b.txt", owner="alice", size=7, user_metadata={"team": "red"}
        )
        agree(admin)
        document = document_of(admin, object_id)
        assert (document["owner_id"], document["status"], document["searchable"]) == (
            *("alice", "pending"),
            False,
        )
        assert (document["size_bytes"], document["metadata"]) == (7, {"team": "red"})
        [job] = rows(admin, "select * from ingest.jobs")
        assert (job["state"], job["stage"], job["owner_id"]) == ("queued", "waiting", "alice")
        assert job["id"] == document["latest_job_id"]

    def test_an_object_of_another_bucket_is_left_alone(self, admin: Connection):
        put_object(admin, "a.txt", bucket="other")
        assert documents(admin) == {}
        assert rows(admin, "select * from ingest_private.pending_events") == []

    @pytest.mark.parametrize(
        "name", [".emptyFolderPlaceholder", "folder/.emptyFolderPlaceholder", "folder/", "a/b/"]
    )
    def test_a_folder_is_no_document(self, admin: Connection, name: str):
        put_object(admin, name, size=0)
        assert documents(admin) == {}
        move(admin, name, "now-a-file.txt")
        agree(admin)
        move(admin, "now-a-file.txt", name)
        assert documents(admin) == {}

    def test_a_file_whose_name_ends_as_a_folders_has_a_document(self, admin: Connection):
        object_id = put_object(admin, "folder/", size=1)
        assert document_of(admin, object_id)["object_name"] == "folder/"
        agree(admin)
        put_object(admin, "folder/", size=0)
        assert documents(admin) == {}

    def test_an_overwrite_supersedes_the_unfinished_job(
        self, admin: Connection, worker: Connection
    ):
        object_id = put_object(admin, "a.txt")
        first = job_of(admin, object_id)
        assert put_object(admin, "a.txt") == object_id
        agree(admin)
        assert states(admin, object_id) == ["superseded", "queued"]
        assert claim(worker, first) is None

    def test_an_overwrite_keeps_the_old_version_searchable_until_the_new_one_is_published(
        self, database: Database, admin: Connection, worker: Connection
    ):
        object_id = upload(database, "a.txt", ["old"])
        put_object(admin, "a.txt")
        document = document_of(admin, object_id)
        assert (document["status"], document["searchable"]) == ("pending", True)
        assert text_of(admin, document["id"]) == ["old"]
        ingest(worker, object_id, ["new"])
        assert text_of(admin, document["id"]) == ["new"]

    def test_the_same_version_again_does_nothing(self, admin: Connection, worker: Connection):
        object_id = put_object(admin, "a.txt")
        before = (
            rows(admin, "select * from ingest.jobs"),
            rows(admin, "select * from ingest.documents"),
        )
        for hint in (
            (object_id, "docs", "a.txt"),
            (object_id, None, None),
            (None, "docs", "a.txt"),
        ):
            assert value(worker, "select ingest_private.sync_object(%s, %s, %s)", *hint) == job_of(
                admin, object_id
            )
        admin.execute("update storage.objects set last_accessed_at = now()")
        after = (
            rows(admin, "select * from ingest.jobs"),
            rows(admin, "select * from ingest.documents"),
        )
        assert after == before

    def test_a_finished_version_gets_no_new_job(self, database: Database, worker: Connection):
        object_id = upload(database, "a.txt", ["one"])
        assert (
            value(worker, "select ingest_private.sync_object(%s, 'docs', 'a.txt')", object_id)
            is None
        )

    def test_of_metadata_alone_changes_the_document_and_makes_no_job(
        self, database: Database, admin: Connection, worker: Connection
    ):
        object_id = upload(database, "a.txt", ["one"])
        admin.execute('update storage.objects set user_metadata = \'{"team": "blue"}\'')
        worker.execute("select ingest_private.sync_object(%s, 'docs', 'a.txt')", [object_id])
        document = document_of(admin, object_id)
        assert (document["metadata"], document["status"]) == ({"team": "blue"}, "ready")
        assert states(admin, object_id) == ["succeeded"]

    def test_metadata_that_is_missing_is_an_empty_object(self, admin: Connection):
        """S3 uploads and old releases of Storage write none; filters must still work."""
        admin.execute(
            "insert into storage.objects (bucket_id, name, version) values ('docs', 'a', 'v')"
        )
        assert value(admin, "select metadata from ingest.documents") == {}

    @pytest.mark.parametrize(
        ("metadata", "size"),
        [
            ({}, None),
            ({"size": "12"}, 12),
            ({"size": "many"}, None),
            ({"size": -1}, None),
            ({"size": 1.5}, None),
            ({"size": 10**30}, None),
            ([1, 2], None),
            ("text", None),
            (None, None),
        ],
    )
    def test_an_odd_size_does_not_keep_a_document_out(
        self, admin: Connection, metadata: Any, size: int | None
    ):
        admin.execute(
            """insert into storage.objects (bucket_id, name, version, metadata)
               values ('docs', 'a', 'v', %s)""",
            [Jsonb(metadata)],
        )
        assert value(admin, "select size_bytes from ingest.documents") == size
        assert rows(admin, "select * from ingest_private.pending_events") == []

    def test_an_object_without_version_is_the_same_for_every_session(
        self, admin: Connection, worker: Connection
    ):
        """Rows from before Storage wrote versions use the time itself, not its printed form."""
        admin.execute("insert into storage.objects (bucket_id, name) values ('docs', 'a')")
        object_id = next(iter(objects(admin, "docs")))
        for zone in ("UTC", "Asia/Tokyo"):
            worker.execute(f"set time zone '{zone}'".encode())
            worker.execute("select ingest_private.sync_object(%s, null, null)", [object_id])
        assert states(admin, object_id) == ["queued"]


class TestMoves:
    def test_a_rename_keeps_the_document_and_its_chunks(
        self, database: Database, admin: Connection, worker: Connection
    ):
        object_id = upload(database, "a.txt", ["one", "two"])
        document = document_of(admin, object_id)
        chunks = chunks_of(admin, document["id"])
        move(admin, "a.txt", "folder/b.txt")
        agree(admin)
        renamed = document_of(admin, object_id)
        assert renamed["id"] == document["id"]
        assert (renamed["object_name"], renamed["searchable"]) == ("folder/b.txt", True)
        run = claimed(worker, job_of(admin, object_id))
        assert (
            value(
                worker,
                "select ingest_private.publish_unchanged(%s, %s, %s, %s)",
                *(run.job_id, run.token, hash_of("one\ntwo"), PIPELINE),
            )
            == "published"
        )
        assert chunks_of(admin, document["id"]) == chunks
        assert document_of(admin, object_id)["status"] == "ready"

    def test_a_move_into_the_bucket_is_an_upload(self, admin: Connection):
        put_object(admin, "a.txt", bucket="other")
        move(admin, "a.txt", "b.txt", bucket="other", to="docs")
        agree(admin)
        assert len(documents(admin)) == 1

    def test_a_move_out_of_the_bucket_is_a_delete(self, database: Database, admin: Connection):
        upload(database, "a.txt", ["one"])
        move(admin, "a.txt", "a.txt", to="other")
        assert documents(admin) == {}
        assert value(admin, LIVE_CHUNKS) == 0

    def test_a_move_between_watched_buckets_keeps_the_document(
        self, database: Database, admin: Connection
    ):
        watch_bucket(database, "second")
        object_id = upload(database, "a.txt", ["one"])
        before = document_of(admin, object_id)
        move(admin, "a.txt", "b.txt", to="second")
        agree(admin, "docs", "second")
        assert document_of(admin, object_id)["id"] == before["id"]

    def test_a_move_out_of_the_watched_prefix_is_a_delete(
        self, database: Database, admin: Connection
    ):
        watch_bucket(database, "second", prefix="in/")
        put_object(admin, "in/a.txt", bucket="second")
        assert len(documents(admin)) == 1
        move(admin, "in/a.txt", "out/a.txt", bucket="second")
        assert documents(admin) == {}

    def test_two_objects_swap_their_names(
        self, database: Database, admin: Connection, worker: Connection
    ):
        first, second = upload(database, "a.txt", ["a"]), upload(database, "b.txt", ["b"])
        kept = {one: document_of(admin, one)["id"] for one in (first, second)}
        for old, new in (("a.txt", "x"), ("b.txt", "a.txt"), ("x", "b.txt")):
            move(admin, old, new)
        agree(admin)
        assert {one: document_of(admin, one)["id"] for one in kept} == kept

    @pytest.mark.parametrize("hinted", [0, 1, 2, 3])
    def test_a_chain_of_renames_is_followed_from_any_of_its_objects(
        self, admin: Connection, worker: Connection, hinted: int
    ):
        """No trigger saw a -> b -> c -> d -> a, and one hint arrives."""
        ids = [put_object(admin, name) for name in "abcd"]
        rename_quietly(admin, {"a": "b", "b": "c", "c": "d", "d": "a"})
        assert documents(admin) != objects(admin, "docs")
        worker.execute("select ingest_private.sync_object(%s, null, null)", [ids[hinted]])
        agree(admin)
        assert set(documents(admin)) == set(ids)

    @pytest.mark.parametrize("seed", range(5))
    def test_any_shuffle_of_names_in_one_transaction_is_followed(
        self, admin: Connection, seed: int
    ):
        random_names = random.Random(seed)
        names = [f"{number}.txt" for number in range(8)]
        for name in names:
            put_object(admin, name)
        shuffled = list(names)
        random_names.shuffle(shuffled)
        with admin.transaction():
            for name in names:
                move(admin, name, "tmp/" + name)
            for name, new in zip(names, shuffled, strict=True):
                move(admin, "tmp/" + name, new)
        agree(admin)
        assert len(documents(admin)) == 8


def quietly(connection: Connection, statement: str) -> None:
    """Change Storage without triggers."""
    with connection.transaction():
        connection.execute("set local session_replication_role = replica")
        connection.execute(statement.encode())


def rename_quietly(connection: Connection, names: dict[str, str]) -> None:
    """Exchange the names of objects without triggers."""
    quietly(connection, "update storage.objects set name = 'tmp/' || name, version = 'moved'")
    for old, new in names.items():
        quietly(connection, f"update storage.objects set name = '{new}' where name = 'tmp/{old}'")


class TestDeletes:
    def test_a_deleted_object_takes_everything_with_it(
        self, database: Database, admin: Connection, worker: Connection
    ):
        object_id = upload(database, "a.txt", ["one", "two"])
        put_object(admin, "a.txt")
        run = claimed(worker, job_of(admin, object_id))
        stage_missing(worker, run, ["three"])
        delete_objects(admin, ["a.txt"])
        assert value(admin, LIVE_CHUNKS) == 0
        drain_withdrawn(worker)
        for table in (
            *("ingest.documents", "ingest.chunks", "ingest.chunk_positions"),
            *("ingest_private.staged_chunks", "ingest_private.leases", "ingest_private.job_queue"),
            *("ingest_private.published_versions", "ingest_private.pending_events"),
            *("ingest_private.withdrawn", "ingest_private.former_documents"),
        ):
            assert value(admin, f"select count(*) from {table}") == 0, table
        jobs = rows(admin, "select state, document_id from ingest.jobs order by created_at")
        assert [(job["state"], job["document_id"]) for job in jobs] == [
            ("succeeded", None),
            ("superseded", None),
        ]

    def test_of_many_in_one_statement_all_go(self, database: Database, admin: Connection):
        for number in range(10):
            upload(database, f"{number}.txt", ["one"])
        delete_objects(admin, [f"{number}.txt" for number in range(9)])
        agree(admin)
        assert len(documents(admin)) == 1
        assert value(admin, LIVE_CHUNKS) == 1
        drain_withdrawn(admin)
        assert value(admin, "select count(*) from ingest.chunks") == 1

    def test_and_an_upload_of_the_same_name_is_a_new_document(
        self, database: Database, admin: Connection, worker: Connection
    ):
        first = upload(database, "a.txt", ["old"])
        document = document_of(admin, first)
        with admin.transaction():
            delete_objects(admin, ["a.txt"])
            second = put_object(admin, "a.txt", owner="bob")
        agree(admin)
        renewed = document_of(admin, second)
        assert renewed["id"] != document["id"]
        assert not renewed["searchable"]
        ingest(worker, second, ["new"])
        assert text_of(admin, renewed["id"]) == ["new"]

    def test_of_an_object_that_nobody_heard_of_is_found_by_name(
        self, database: Database, admin: Connection, worker: Connection
    ):
        upload(database, "a.txt", ["old"])
        quietly(admin, "delete from storage.objects")
        worker.execute("select ingest_private.sync_object(null, 'docs', 'a.txt')")
        assert documents(admin) == {}

    def test_and_a_new_object_of_that_name_are_found_together(
        self, database: Database, admin: Connection, worker: Connection
    ):
        old = upload(database, "a.txt", ["old"])
        quietly(admin, "delete from storage.objects")
        quietly(
            admin,
            "insert into storage.objects (bucket_id, name, version) values ('docs', 'a.txt', 'v')",
        )
        worker.execute("select ingest_private.sync_object(%s, null, null)", [old])
        assert documents(admin) == {}
        worker.execute("select ingest_private.sync_object(%s, 'docs', 'a.txt')", [old])
        agree(admin)


class TestOwners:
    @pytest.mark.parametrize(
        ("rule", "name", "uploader", "owner"),
        [
            ("uploader", "x/a.txt", "alice", "alice"),
            ("uploader", "x/a.txt", None, None),
            ("uploader", "x/a.txt", "", None),
            ("folder:1", "bob/a.txt", "alice", "bob"),
            ("folder:1", "a.txt", "alice", None),
            ("folder:1", "/a.txt", "alice", None),
            ("folder:1", "bob//a.txt", "alice", "bob"),
            ("folder:2", "x/bob/a.txt", "alice", "bob"),
            ("folder:2", "x/bob", "alice", None),
            ("folder:2", "x//a.txt", "alice", None),
            ("folder:99", "x/a.txt", "alice", None),
            ("fixed:team-1", "x/a.txt", "alice", "team-1"),
            ("fixed:team: 1", "a.txt", None, "team: 1"),
        ],
    )
    def test_are_found_by_the_sources_rule(
        self,
        database: Database,
        admin: Connection,
        *,
        rule: str,
        name: str,
        uploader: str | None,
        owner: str | None,
    ):
        watch_bucket(database, "second", owner_from=rule)
        object_id = put_object(admin, name, bucket="second", owner=uploader)
        assert document_of(admin, object_id)["owner_id"] == owner

    def test_the_longest_prefix_decides(self, database: Database, admin: Connection):
        watch_bucket(database, "second", owner_from="fixed:all")
        watch_bucket(database, "second", prefix="a/", owner_from="fixed:a")
        watch_bucket(database, "second", prefix="a/b/", owner_from="fixed:ab")
        for name, owner in (("x", "all"), ("a/x", "a"), ("a/b/x", "ab"), ("a/bx", "a")):
            object_id = put_object(admin, name, bucket="second")
            assert document_of(admin, object_id)["owner_id"] == owner

    @pytest.mark.parametrize("prefix", ["100%/", "a_b/", "\\", "'; drop table x; --/", "a.b*["])
    def test_a_prefix_is_taken_literally(self, database: Database, admin: Connection, prefix: str):
        watch_bucket(database, "second", prefix=prefix)
        put_object(admin, prefix + "in", bucket="second")
        put_object(admin, "1000/axb/out", bucket="second")
        assert [name for _, name, _ in documents(admin).values()] == [prefix + "in"]

    def test_the_deprecated_column_counts_where_the_new_one_is_empty(self, admin: Connection):
        owner = uuid4()
        admin.execute(
            """insert into storage.objects (bucket_id, name, version, owner)
               values ('docs', 'a', 'v', %s)""",
            [owner],
        )
        assert value(admin, "select owner_id from ingest.documents") == str(owner)

    @pytest.mark.parametrize(
        "change", ["overwrite by another", "a new rule", "a move to another's folder", "access"]
    )
    @pytest.mark.parametrize("is_drained", [False, True])
    def test_a_change_withdraws_at_once_what_was_searchable_and_keeps_the_embeddings(
        self,
        database: Database,
        admin: Connection,
        worker: Connection,
        *,
        change: str,
        is_drained: bool,
    ):
        watch_bucket(database, "second", owner_from="folder:1")
        object_id = upload(database, "alice/a.txt", ["one", "two"], owner="alice", bucket="second")
        if change == "overwrite by another":
            admin.execute("update ingest_private.sources set owner_from = 'uploader'")
            put_object(admin, "alice/a.txt", owner="bob", bucket="second")
        elif change == "a new rule":
            admin.execute("update ingest_private.sources set owner_from = 'fixed:bob'")
            worker.execute("select ingest_private.reconcile(null, null)")
        elif change == "access":
            admin.execute("update ingest_private.sources set access = 'inherit'")
            worker.execute("select ingest_private.reconcile(null, null)")
        else:
            move(admin, "alice/a.txt", "bob/a.txt", bucket="second")
        document = document_of(admin, object_id)
        assert (document["searchable"], document["status"]) == (False, "pending")
        assert value(admin, LIVE_CHUNKS) == 0
        for sub in ("alice", "bob"):
            with as_client(database, {"sub": sub}, read_only=True) as client:
                assert search(client, "one") == []
        if is_drained:
            drain_withdrawn(worker)
            assert value(admin, "select count(*) from ingest.chunks") == 0
            assert value(admin, "select count(*) from ingest_private.staged_chunks") == 2
        run = claimed(worker, job_of(admin, object_id))
        assert stage_missing(worker, run, ["two", "one"]) == []
        assert publish(worker, run, ["two", "one"]) == "published"
        owner = "alice" if change == "access" else "bob"
        with as_client(database, {"sub": owner}, read_only=True) as client:
            assert [hit["content"] for hit in search(client, "one")] == ["one", "two"]
        drain_withdrawn(worker)
        assert value(admin, "select count(*) from ingest.chunks") == 2
        assert value(admin, "select count(*) from ingest_private.staged_chunks") == 0

    def test_a_change_ends_the_run_that_works_for_the_old_owner(
        self, database: Database, admin: Connection, worker: Connection
    ):
        object_id = put_object(admin, "a.txt", owner="alice")
        run = claimed(worker, job_of(admin, object_id))
        stage_missing(worker, run, ["one"])
        admin.execute("update ingest_private.sources set owner_from = 'fixed:bob'")
        worker.execute("select ingest_private.sync_object(%s, null, null)", [object_id])
        assert publish(worker, run, ["one"]) == "lost"
        former = rows(admin, "select state from ingest.jobs where id = %s", run.job_id)
        assert former == [{"state": "superseded"}]
        assert states(admin, object_id) == ["queued"]


class TestVersioning:
    """Columns of Storage's future versioning, and releases without them."""

    def test_a_delete_marker_is_a_delete(self, database: Database, admin: Connection):
        upload(database, "a.txt", ["one"])
        admin.execute("update storage.objects set is_delete_marker = true, version = 'marker'")
        assert documents(admin) == {}

    def test_an_archived_row_is_a_delete(self, database: Database, admin: Connection):
        upload(database, "a.txt", ["one"])
        admin.execute("update storage.objects set archived_at = now(), version = 'archived'")
        assert documents(admin) == {}

    def test_of_several_rows_of_one_name_the_current_one_counts(
        self, admin: Connection, worker: Connection
    ):
        with admin.transaction(force_rollback=True):
            admin.execute("drop index storage.bucketid_objname")
            old = put_object_row(admin, "a.txt", "v1")
            admin.execute("update storage.objects set archived_at = now()")
            new = put_object_row(admin, "a.txt", "v2")
            for hint in ((old, "docs", "a.txt"), (None, "docs", "a.txt"), (new, None, None)):
                job_id = value(admin, "select ingest_private.sync_object(%s, %s, %s)", *hint)
                assert job_id == job_of(admin, new)
            assert documents(admin) == {new: ("docs", "a.txt", "v2")}

    def test_a_storage_without_these_columns_works_too(
        self, database: Database, admin: Connection, worker: Connection
    ):
        with admin.transaction(force_rollback=True):
            for column in ("is_delete_marker", "archived_at", "is_versioned", "user_metadata"):
                admin.execute(f"alter table storage.objects drop column {column}".encode())
            put_object_row(admin, "a.txt", "v1")
            admin.execute("update storage.objects set version = 'v2', name = 'b.txt'")
            agree(admin)
            admin.execute("set local storage.allow_delete_query = 'true'")
            admin.execute("delete from storage.objects")
            assert documents(admin) == {}


def put_object_row(connection: Connection, name: str, version: str) -> UUID:
    """An object with only the columns that every release of Storage has."""
    object_id: UUID = value(
        connection,
        """insert into storage.objects (bucket_id, name, version) values ('docs', %s, %s)
           returning id""",
        *(name, version),
    )
    return object_id


HOSTILE = (
    "'; drop table ingest.documents; --",
    "$$; select 1/0; $$",
    "%s %(name)s {0} \\x00",
    "../../etc/passwd",
    "a\tb\nc",
    "\u202egpj.exe",
    "x" * 900,
    '"quoted"',
    "{1,2}",
)


class TestHints:
    @pytest.mark.parametrize(
        "hint",
        [
            (None, None, None),
            (None, "docs", None),
            (None, None, "a.txt"),
            (None, "docs", "nope"),
            (None, "nope", "nope"),
            (uuid4(), None, None),
            (uuid4(), "docs", "nope"),
            (uuid4(), "", ""),
            *((uuid4(), text, text) for text in HOSTILE),
        ],
    )
    def test_of_nothing_do_nothing(
        self, admin: Connection, worker: Connection, hint: tuple[Any, ...]
    ):
        put_object(admin, "a.txt")
        before = rows(admin, "select * from ingest.jobs")
        worker.execute("set statement_timeout = '2s'")
        assert value(worker, "select ingest_private.sync_object(%s, %s, %s)", *hint) is None
        assert rows(admin, "select * from ingest.jobs") == before
        agree(admin)

    def test_that_mix_up_two_objects_bring_both_in_line(
        self, admin: Connection, worker: Connection
    ):
        first = put_object(admin, "a.txt")
        put_object(admin, "b.txt")
        quietly(admin, "update storage.objects set version = 'next'")
        job_id = value(worker, "select ingest_private.sync_object(%s, 'docs', 'b.txt')", first)
        agree(admin)
        # The caller asks for the object that has the name now.
        assert value(admin, "select object_name from ingest.jobs where id = %s", job_id) == "b.txt"

    @pytest.mark.parametrize("ids", ["{}", "{NULL}", None, "twice"])
    def test_odd_lists_of_objects_are_synced_as_sets(self, admin: Connection, ids: str | None):
        first = put_object(admin, "a.txt")
        second = put_object(admin, "b.txt")
        rename_quietly(admin, {"a.txt": "b.txt", "b.txt": "a.txt"})
        admin.execute("set statement_timeout = '2s'")
        given: Any = [first, first] if ids == "twice" else ids
        synced = rows(admin, "select * from ingest_private.sync_objects(%s)", given)
        if ids == "twice":
            agree(admin)
            assert {row["object_id"] for row in synced} == {first, second}
        else:
            assert synced == []

    @pytest.mark.parametrize("text", HOSTILE)
    def test_hostile_names_and_owners_are_only_text(
        self, database: Database, admin: Connection, worker: Connection, text: str
    ):
        watch_bucket(database, "second", owner_from="folder:1")
        object_id = put_object(admin, f"{text}/{text}", bucket="second", owner=text)
        worker.execute(
            "select ingest_private.sync_object(%s, 'second', %s)", [object_id, f"{text}/{text}"]
        )
        document = document_of(admin, object_id)
        assert document["object_name"] == f"{text}/{text}"
        assert document["owner_id"] == (text.split("/", maxsplit=1)[0] or None)
        ingest(worker, object_id_of_new_version(admin, object_id), [text])
        delete_objects(admin, [f"{text}/{text}"], bucket="second")
        assert documents(admin) == {}


def object_id_of_new_version(connection: Connection, object_id: UUID) -> UUID:
    """The same object after an overwrite, so that it has an unfinished job."""
    connection.execute(
        "update storage.objects set version = %s where id = %s", [str(uuid4()), object_id]
    )
    return object_id


class TestReconcile:
    @staticmethod
    def sweep(worker: Connection, since: str | None = None, limit: int = 500) -> int:
        """All pages; returns how many objects were out of line."""
        after: UUID | None = None
        repaired = 0
        while True:
            [page] = rows(
                worker,
                "select * from ingest_private.reconcile(%s, now() - %s::interval, %s)",
                *(after, since, limit),
            )
            repaired += len(page["differences"])
            after = page["next_after"]
            if after is None:
                break
        return repaired

    def test_finds_whatever_no_event_told(self, admin: Connection, worker: Connection):
        for name in ("gone", "changed", "renamed", "left", "same"):
            put_object(admin, name)
        quietly(admin, "delete from storage.objects where name = 'gone'")
        quietly(admin, "update storage.objects set version = 'v' where name = 'changed'")
        quietly(admin, "update storage.objects set name = 'new name' where name = 'renamed'")
        quietly(admin, "update storage.objects set bucket_id = 'other' where name = 'left'")
        quietly(
            admin,
            "insert into storage.objects (bucket_id, name, version) values ('docs', 'came', 'v')",
        )
        assert self.sweep(worker) == 5
        agree_names = {name for _, name, _ in documents(admin).values()}
        assert agree_names == {"changed", "new name", "came", "same"}
        assert self.sweep(worker) == 0

    def test_says_how_each_object_differs_and_only_repairs_when_told_to(
        self, admin: Connection, worker: Connection
    ):
        for name in ("gone", "overwritten", "renamed", "given away", "same"):
            put_object(admin, name, owner="alice")
        quietly(admin, "delete from storage.objects where name = 'gone'")
        quietly(admin, "update storage.objects set version = 'v' where name = 'overwritten'")
        quietly(admin, "update storage.objects set name = 'new name' where name = 'renamed'")
        quietly(admin, "update storage.objects set owner_id = 'bob' where name = 'given away'")
        quietly(
            admin,
            "insert into storage.objects (bucket_id, name, version, metadata)"
            " values ('docs', 'came', 'v', '{\"size\": 7}')",
        )
        expected = {
            "gone": "orphaned",
            "overwritten": "stale",
            "new name": "renamed",
            "given away": "changed",
            "came": "missing",
        }

        def found(*, repair: bool) -> dict[str, str]:
            [page] = rows(
                worker,
                "select * from ingest_private.reconcile(null, null, p_repair => %s)",
                repair,
            )
            assert page["next_after"] is None
            came = [one for one in page["differences"] if one["object_name"] == "came"]
            assert all(one["size_bytes"] == 7 for one in came)
            return {one["object_name"]: one["difference"] for one in page["differences"]}

        before = documents(admin)
        assert found(repair=False) == expected
        assert documents(admin) == before
        assert found(repair=True) == expected
        assert found(repair=True) == {}
        agree(admin)

    def test_gives_a_new_job_to_a_document_that_has_lost_its_own(
        self, admin: Connection, worker: Connection
    ):
        lost = put_object(admin, "lost")
        put_object(admin, "waits")
        failed = put_object(admin, "failed")
        run = claimed(worker, job_of(admin, failed))
        fail = "select ingest_private.fail_job(%s, %s, 'corrupt', null)"
        value(worker, fail, run.job_id, run.token)
        admin.execute("delete from ingest.jobs where id = %s", [job_of(admin, lost)])
        [page] = rows(worker, "select * from ingest_private.reconcile(null, null)")
        assert [(one["object_name"], one["difference"]) for one in page["differences"]] == [
            ("lost", "stuck")
        ]
        assert value(admin, "select state from ingest.jobs where id = %s", job_of(admin, lost)) == (
            "queued"
        )
        assert self.sweep(worker) == 0

    def test_removes_chunks_whose_document_was_deleted_by_hand(
        self, wiped: Database, admin: Connection, worker: Connection
    ):
        upload(wiped, "kept", ["one"])
        gone = document_of(admin, upload(wiped, "gone", ["two", "three"]))
        count = """
            select (select count(*) from ingest.chunks)
                   + (select count(*) from ingest.chunk_positions)
        """
        admin.execute("delete from ingest.documents where id = %s", [gone["id"]])
        orphans = "select ingest_private.forget_orphaned_chunks(%s)"
        assert value(worker, orphans, False) == 4
        assert value(admin, LIVE_CHUNKS) == 3
        assert value(worker, orphans, True) == 4
        assert value(admin, LIVE_CHUNKS) == 1
        assert value(worker, orphans, True) == 0
        drain_withdrawn(worker)
        assert value(admin, count) == 2

    def test_of_everything_is_due_once_a_day_however_often_the_schedule_is_started(
        self, worker: Connection, admin: Connection
    ):
        due = "select ingest_private.full_reconcile_due()"
        assert [value(worker, due) for _ in range(2)] == [True, True]
        worker.execute("select ingest_private.note_full_reconcile()")
        assert value(worker, due) is False
        admin.execute(
            "update ingest_private.settings set value = to_jsonb(now() - interval '25 hours')"
            " where name = 'reconciled_at'"
        )
        assert value(worker, due) is True

    @pytest.mark.parametrize("limit", [1, 2, 3, 7])
    def test_goes_through_all_pages(self, admin: Connection, worker: Connection, limit: int):
        quietly(
            admin,
            """insert into storage.objects (bucket_id, name, version)
               select 'docs', n::text, 'v' from generate_series(1, 7) as n""",
        )
        assert self.sweep(worker, limit=limit) == 7
        agree(admin)
        quietly(admin, "delete from storage.objects")
        assert self.sweep(worker, limit=limit) == 7
        assert documents(admin) == {}

    def test_of_the_newest_leaves_the_rest_alone(self, admin: Connection, worker: Connection):
        quietly(
            admin,
            """insert into storage.objects (bucket_id, name, version, updated_at)
               values ('docs', 'old', 'v', now() - interval '2 hours'),
                      ('docs', 'new', 'v', now())""",
        )
        assert self.sweep(worker, since="1 hour") == 1
        assert [name for _, name, _ in documents(admin).values()] == ["new"]

    def test_of_an_empty_project_ends(self, worker: Connection):
        assert self.sweep(worker) == 0

    def test_is_not_held_up_by_one_object_that_cannot_be_synced(
        self, database: Database, admin: Connection, worker: Connection
    ):
        """Such objects become pending events, which are tried one by one."""
        put_object(admin, "in use")
        put_object(admin, "other")
        quietly(admin, "update storage.objects set version = 'next'")
        with database.connect() as holder, holder.transaction():
            holder.execute(
                "select from ingest.documents where object_name = 'in use' for no key update"
            )
            shorten = "alter function ingest_private.reconcile set lock_timeout = '20ms'"
            admin.execute(shorten)
            assert self.sweep(worker) == 2
            admin.execute(shorten.replace("20ms", "2s"))
            assert value(admin, "select count(*) from ingest_private.pending_events") == 2
            [drained] = rows(worker, "select * from ingest_private.drain_pending_events()")
            assert drained == {"settled": 1, "failed": 1}
        [drained] = rows(worker, "select * from ingest_private.drain_pending_events()")
        assert drained == {"settled": 1, "failed": 0}
        agree(admin)
