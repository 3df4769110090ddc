"""Sources: existing files, later files, their owners, and what a removal leaves."""

from typing import Any
from uuid import UUID

import pytest

from docmill.worker.admin.sources import (
    add_source,
    backfill,
    count_source,
    find_source,
    remove_source,
)
from tests.schema.actors import (
    LIVE_CHUNKS,
    Connection,
    Row,
    claim,
    claimed,
    document_of,
    drain_withdrawn,
    ingest,
    job_of,
    publish,
    rows,
    search,
    stage,
    upload,
    value,
)
from tests.support.database import Database, as_client, delete_objects, put_object


def add(admin: Connection, bucket: str = "other", **columns: Any) -> int:
    row = add_source(
        admin,
        {
            "bucket_id": bucket,
            "prefix": "",
            "owner_from": "uploader",
            "access": "owner",
            "priority": 5,
            "weight": 1,
            "max_bytes": None,
        }
        | columns,
    )
    return int(row["id"])


def remove(admin: Connection, source_id: int, *, forget: bool = False) -> dict[str, int]:
    return remove_source(admin, source_id, forget=forget)


def documents(admin: Connection) -> dict[str, Row]:
    found = rows(admin, "select * from ingest.documents")
    return {f"{row['bucket_id']}/{row['object_name']}": row for row in found}


def s3_put(admin: Connection, name: str, *, bucket: str = "other") -> UUID:
    """A row as the S3 protocol writes it: no owner, its own metadata."""
    return put_object(admin, name, bucket=bucket, owner=None, user_metadata={"via": "s3"})


class TestBackfill:
    def test_finds_what_is_there_and_nothing_else(self, wiped: Database, admin: Connection):
        for name in ("a.txt", "folder/b.txt", "folder/.emptyFolderPlaceholder"):
            put_object(admin, name, bucket="other", owner="alice", size=1000)
        put_object(admin, "marker/", bucket="other", owner="alice", size=0)
        put_object(admin, "watched.txt", owner="alice")
        source_id = add(admin)
        assert count_source(admin, source_id) == {
            "objects": 2,
            "bytes": 2000,
            "fresh": 2,
            "fresh_bytes": 2000,
            "unowned": 0,
        }
        assert sum(backfill(admin, source_id)) == 2
        assert set(documents(admin)) == {"docs/watched.txt", "other/a.txt", "other/folder/b.txt"}
        assert count_source(admin, source_id)["fresh"] == 0

    def test_goes_page_by_page_and_by_prefix(self, admin: Connection):
        admin.execute(
            """insert into storage.objects (bucket_id, name, version, owner_id)
               select 'other', folder || '/' || n, n, 'alice'
                 from generate_series(1, 700) as n, unnest(array['in', 'out']) as folder"""
        )
        source_id = add(admin, prefix="in/")
        pages = list(backfill(admin, source_id))
        assert pages == [500, 200]
        assert {name.split("/")[1] for name in documents(admin)} == {"in"}

    def test_again_changes_nothing(self, admin: Connection, worker: Connection):
        object_id = put_object(admin, "a.txt", bucket="other", owner="alice")
        source_id = add(admin)
        list(backfill(admin, source_id))
        ingest(worker, object_id, ["one"])
        assert sum(backfill(admin, add(admin))) == 0
        assert document_of(admin, object_id)["status"] == "ready"

    def test_of_names_in_any_script_and_order_leaves_none_out(self, admin: Connection):
        names = ["Z", "a", "a/b", "a b", "_", "~", "É", "é", "日本", "zz"]
        for name in names:
            put_object(admin, name, bucket="other", owner="alice")
        source_id = add(admin)
        after: str | None = None
        while True:
            [page] = rows(
                admin, "select * from ingest_private.backfill_source(%s, %s, 3)", source_id, after
            )
            after = page["next_after"]
            if after is None:
                break
        assert set(documents(admin)) == {f"other/{name}" for name in names}


class TestOwnerRules:
    @pytest.mark.parametrize(
        ("rule", "name", "owner"),
        [
            ("uploader", "alice/a.txt", None),
            ("folder:1", "alice/a.txt", "alice"),
            ("folder:2", "team/alice/a.txt", "alice"),
            ("folder:1", "a.txt", None),
            ("folder:2", "alice/a.txt", None),
            ("fixed:robot", "alice/a.txt", "robot"),
        ],
    )
    def test_of_uploads_that_note_no_owner(
        self, admin: Connection, rule: str, name: str, owner: str | None
    ):
        """Storage notes no owner for the secret key and the S3 protocol."""
        add(admin, owner_from=rule)
        by_key = put_object(admin, name, bucket="other", owner=None)
        assert document_of(admin, by_key)["owner_id"] == owner
        by_s3 = s3_put(admin, f"{name}.s3")
        assert document_of(admin, by_s3)["owner_id"] == owner
        assert document_of(admin, by_s3)["metadata"] == {"via": "s3"}

    def test_the_uploader_counts_where_the_rule_says_so(self, admin: Connection):
        add(admin, owner_from="uploader")
        assert (
            document_of(admin, put_object(admin, "bob/a.txt", bucket="other", owner="alice"))[
                "owner_id"
            ]
            == "alice"
        )

    def test_what_nobody_owns_is_counted_before_it_is_ingested(self, admin: Connection):
        s3_put(admin, "a.txt")
        s3_put(admin, "alice/b.txt")
        assert count_source(admin, add(admin))["unowned"] == 2
        assert count_source(admin, add(admin, owner_from="folder:1"))["unowned"] == 1

    def test_another_rule_takes_effect_on_what_is_there(
        self, wiped: Database, admin: Connection, worker: Connection
    ):
        source_id = add(admin)
        object_id = upload(wiped, "bob/a.txt", ["one"], owner="alice", bucket="other")
        with as_client(wiped, {"sub": "alice"}) as client:
            assert len(search(client, "one")) == 1
        assert add(admin, owner_from="folder:1") == source_id
        assert sum(backfill(admin, source_id)) == 1
        with as_client(wiped, {"sub": "alice"}) as client:
            assert search(client, "one") == []
        ingest(worker, object_id, ["one"])
        with as_client(wiped, {"sub": "bob"}) as client:
            assert len(search(client, "one")) == 1

    def test_the_longest_prefix_decides(self, admin: Connection):
        add(admin, owner_from="fixed:everybody")
        add(admin, prefix="private/", owner_from="folder:2", priority=1, max_bytes=7)
        document = document_of(admin, put_object(admin, "private/ann/a.txt", bucket="other"))
        assert document["owner_id"] == "ann"
        job = rows(admin, "select * from ingest.jobs")[0]
        assert job["priority"] == 1
        assert document_of(admin, put_object(admin, "b.txt", bucket="other"))["owner_id"] == (
            "everybody"
        )

    def test_the_limit_of_a_source_reaches_the_worker(self, admin: Connection, worker: Connection):
        add(admin, max_bytes=7)
        object_id = put_object(admin, "a.txt", bucket="other")
        [row] = rows(
            worker,
            "select max_bytes from ingest_private.claim_job(%s, 'w', false, '1 minute')",
            job_of(admin, object_id),
        )
        assert row["max_bytes"] == 7


class TestRemove:
    @pytest.fixture
    def source_id(self, admin: Connection) -> int:
        return add(admin)

    @pytest.fixture
    def ready(self, wiped: Database, source_id: int) -> UUID:
        """A searchable document of the source."""
        return upload(wiped, "a.txt", ["one"], bucket="other")

    def test_what_is_searchable_stays_and_nothing_new_comes_in(
        self, wiped: Database, admin: Connection, worker: Connection, source_id: int, ready: UUID
    ):
        assert remove(admin, source_id) == {"kept": 1, "forgotten": 0}
        put_object(admin, "new.txt", bucket="other", owner="alice")
        assert set(documents(admin)) == {"other/a.txt"}
        worker.execute("select ingest_private.reconcile(null, null)")
        worker.execute("select ingest_private.sync_object(%s, null, null)", [ready])
        with as_client(wiped, {"sub": "alice"}) as client:
            assert len(search(client, "one")) == 1

    @pytest.mark.parametrize("change", ["overwritten", "moved", "deleted"])
    def test_what_changes_afterwards_goes(
        self, admin: Connection, source_id: int, ready: UUID, change: str
    ):
        remove(admin, source_id)
        if change == "overwritten":
            put_object(admin, "a.txt", bucket="other", owner="alice")
        elif change == "moved":
            admin.execute(
                "update storage.objects set name = 'b.txt', version = 'v2' where id = %s", [ready]
            )
        else:
            delete_objects(admin, ["a.txt"], bucket="other")
        assert documents(admin) == {}
        assert value(admin, LIVE_CHUNKS) == 0
        drain_withdrawn(admin)
        assert value(admin, "select count(*) from ingest.chunks") == 0

    def test_with_forget_everything_goes(self, admin: Connection, source_id: int, ready: UUID):
        assert remove(admin, source_id, forget=True) == {"kept": 0, "forgotten": 1}
        assert documents(admin) == {}
        assert value(admin, LIVE_CHUNKS) == 0
        drain_withdrawn(admin)
        assert value(admin, "select count(*) from ingest.chunks") == 0
        assert find_source(admin, "other", "") is None

    def test_with_forget_after_without_the_rest_goes(
        self, admin: Connection, source_id: int, ready: UUID
    ):
        remove(admin, source_id)
        assert remove(admin, source_id, forget=True) == {"kept": 0, "forgotten": 1}
        assert documents(admin) == {}

    def test_what_was_not_ready_goes_and_its_run_is_lost(
        self, admin: Connection, worker: Connection, source_id: int, ready: UUID
    ):
        put_object(admin, "a.txt", bucket="other", owner="alice")
        run = claimed(worker, job_of(admin, ready))
        stage(worker, run, ["two"])
        waiting = job_of(admin, put_object(admin, "b.txt", bucket="other", owner="alice"))
        assert remove(admin, source_id) == {"kept": 0, "forgotten": 2}
        assert publish(worker, run, ["two"]) == "lost"
        assert claim(worker, waiting) is None
        states = rows(admin, "select distinct state from ingest.jobs where state <> 'succeeded'")
        assert states == [{"state": "superseded"}]

    def test_what_another_source_covers_goes_over_to_it(
        self, wiped: Database, admin: Connection, worker: Connection, source_id: int
    ):
        inner = add(admin, prefix="in/", owner_from="folder:2")
        object_id = upload(wiped, "in/bob/a.txt", ["one"], bucket="other", owner="alice")
        assert document_of(admin, object_id)["owner_id"] == "bob"
        assert remove(admin, inner) == {"kept": 0, "forgotten": 0}
        document = document_of(admin, object_id)
        assert (document["source_id"], document["owner_id"]) == (source_id, "alice")
        ingest(worker, object_id, ["one"])
        assert remove(admin, inner, forget=True) == {"kept": 0, "forgotten": 0}
        assert document_of(admin, object_id)["status"] == "ready"

    def test_added_again_it_goes_on_where_it_was(
        self, admin: Connection, source_id: int, ready: UUID
    ):
        remove(admin, source_id)
        put_object(admin, "meanwhile.txt", bucket="other", owner="alice")
        assert add(admin) == source_id
        assert sum(backfill(admin, source_id)) == 1
        assert set(documents(admin)) == {"other/a.txt", "other/meanwhile.txt"}
        assert document_of(admin, ready)["status"] == "ready"

    def test_of_many_documents_goes_page_by_page(self, admin: Connection, source_id: int):
        admin.execute(
            """insert into storage.objects (bucket_id, name, version, owner_id)
               select 'other', n, 'v' || n, 'alice' from generate_series(1, 1100) as n"""
        )
        assert remove(admin, source_id, forget=True) == {"kept": 0, "forgotten": 1100}
        assert documents(admin) == {}
        assert value(admin, "select count(*) from ingest_private.job_queue") == 0
