"""After `erase`, no row in any table names the person or contains their text."""

import json
from pathlib import Path
from uuid import UUID

import pytest
from psycopg import sql

from docmill.cli.export import export
from docmill.worker.admin.dump import passages
from docmill.worker.admin.erasing import erase_owner, owned, owned_files
from docmill.worker.errors import RefusedError
from tests.schema.actors import (
    Connection,
    claimed,
    document_of,
    drain_withdrawn,
    hash_of,
    ingest,
    job_of,
    publish,
    refused,
    rows,
    stage,
    stage_missing,
    value,
)
from tests.support.database import Database, as_client, put_object

SECRET = "marigold"
EVE = "e0e00000-0000-4000-8000-00000000000e"


def mentions(admin: Connection, *needles: str) -> dict[str, int]:
    """Rows of docmill's tables and partitions that contain one of these texts in any column."""
    tables = rows(
        admin,
        """select nspname as schema, relname as name
             from pg_class join pg_namespace as space on space.oid = relnamespace
            where nspname in ('ingest', 'ingest_private', 'ingest_search') and relkind = 'r'""",
    )
    found = {}
    for table in tables:
        query = sql.SQL("select count(*) from {} as t where t::text ~* %s").format(
            sql.Identifier(table["schema"], table["name"])
        )
        row = admin.execute(query, ["|".join(needles)]).fetchone()
        if row is not None and row[0]:
            found[table["name"]] = row[0]
    return found


def a_life(database: Database, admin: Connection, worker: Connection, owner: str) -> list[UUID]:
    """Documents of every kind, and all other data of an owner; returns the documents' ids."""
    said = [f"{SECRET} of {owner}", f"{SECRET} of {owner} again"]
    published = put_object(admin, f"{owner}/published.txt", owner=owner)
    run = claimed(worker, job_of(admin, published))
    stage_missing(worker, run, said)
    assert publish(worker, run, said, quarantine=[refused(f"{SECRET} bad", 2)]) == "published"
    running = put_object(admin, f"{owner}/running.txt", owner=owner)
    run = claimed(worker, job_of(admin, running))
    assert stage(worker, run, [f"{SECRET} of {owner}, staged"])
    admin.execute(
        "insert into ingest_private.document_windows values (%s, %s, '1', 1, %s)",
        [run.document_id, hash_of(owner), f"{SECRET} of {owner}".encode()],
    )
    failed = put_object(admin, f"{owner}/failed.txt", owner=owner)
    run = claimed(worker, job_of(admin, failed))
    worker.execute(
        "select ingest_private.fail_job(%s, %s, 'corrupt', null)", [run.job_id, run.token]
    )
    queued = put_object(admin, f"{owner}/queued.txt", owner=owner)
    with as_client(database, {"sub": owner}) as client:
        client.execute("select ingest.ask_question(%s)", [f"Where is the {SECRET} of {owner}?"])
    admin.execute("insert into ingest_private.pauses (scope, key) values ('owner', %s)", [owner])
    admin.execute(
        "insert into ingest_private.pending_events (object_id, reason) values (%s, '55P03')",
        [queued],
    )
    return [document_of(admin, made)["id"] for made in (published, running, failed, queued)]


def test_nothing_of_a_person_is_left_in_any_column_of_any_table(
    wiped: Database, admin: Connection, worker: Connection
) -> None:
    documents = a_life(wiped, admin, worker, EVE)
    others = a_life(wiped, admin, worker, "mallory")
    needles = (EVE, *map(str, documents))
    before = mentions(admin, *needles)
    assert {"documents", "jobs", "chunks_1", "staged_chunks", "messages", "pauses"} <= set(before)
    others_before = mentions(admin, "mallory", *map(str, others))

    erased = erase_owner(admin, EVE)

    assert mentions(admin, *needles) == {}
    assert mentions(admin, "mallory", *map(str, others)) == others_before
    assert erased.documents == 4
    assert len(owned_files(admin, EVE, at_most=10)) == 4
    assert erased.drained >= 5
    assert {"ingest.jobs", "ingest.usage", "ingest.conversations"} <= set(erased.rows)
    assert not erase_owner(admin, EVE).documents


def test_a_run_that_goes_on_writes_nothing_more(
    wiped: Database, admin: Connection, worker: Connection
) -> None:
    run = claimed(worker, job_of(admin, put_object(admin, "a.txt", owner=EVE)))
    erase_owner(admin, EVE)
    assert not stage(worker, run, [SECRET])
    assert publish(worker, run, []) == "lost"
    assert mentions(admin, SECRET, EVE) == {}


def test_what_was_erased_comes_back_with_another_upload_and_not_before(
    wiped: Database, admin: Connection, worker: Connection
) -> None:
    object_id = put_object(admin, "a.txt", owner=EVE)
    ingest(worker, object_id, [SECRET])
    erase_owner(admin, EVE)
    assert value(worker, "select ingest_private.sync_object(%s, null, null)", object_id) is None
    worker.execute("select * from ingest_private.reconcile(null, null, p_repair => true)")
    [source] = rows(admin, "select id from ingest_private.sources where retired_at is null")
    admin.execute("select * from ingest_private.backfill_source(%s, null)", [source["id"]])
    assert rows(admin, "select from ingest.documents") == []
    # The owner may change a file without a new version: it still stays erased.
    admin.execute("update storage.objects set user_metadata = '{\"a\": 1}'")
    assert rows(admin, "select from ingest.documents") == []

    put_object(admin, "a.txt", owner=EVE)
    ingest(worker, object_id, ["anew"])
    assert owned(admin, EVE)["documents"] == 1


def test_a_note_of_a_file_that_is_gone_is_pruned(
    wiped: Database, admin: Connection, worker: Connection
) -> None:
    put_object(admin, "a.txt", owner=EVE)
    erase_owner(admin, EVE)
    prune = "select ingest_private.prune('1 day', '1 day')"
    worker.execute(prune)
    assert len(rows(admin, "select from ingest_private.erased_objects")) == 1
    with admin.transaction():
        admin.execute("set local storage.allow_delete_query = 'true'")
        admin.execute("delete from storage.objects")
    worker.execute(prune)
    assert rows(admin, "select from ingest_private.erased_objects") == []


def test_a_document_that_became_another_persons_is_theirs(
    wiped: Database, admin: Connection, worker: Connection
) -> None:
    """Its embeddings were stored for the first owner, and are taken over."""
    object_id = put_object(admin, "a.txt", owner=EVE)
    ingest(worker, object_id, ["shared words"])
    admin.execute("update storage.objects set owner_id = 'bob' where id = %s", [object_id])
    erase_owner(admin, EVE)
    assert mentions(admin, EVE) == {}
    run = claimed(worker, job_of(admin, object_id))
    assert stage_missing(worker, run, ["shared words"]) == []
    assert publish(worker, run, ["shared words"]) == "published"
    drain_withdrawn(worker)
    assert owned(admin, "bob")["chunks"] == 1


@pytest.mark.parametrize("rule", ["fixed", "prefix"])
def test_a_source_that_names_the_person_has_to_go_first(
    wiped: Database, admin: Connection, rule: str
) -> None:
    columns = (
        ("docs", "mine/", f"fixed:{EVE}") if rule == "fixed" else ("docs", f"{EVE}/", "uploader")
    )
    admin.execute(
        "insert into ingest_private.sources (bucket_id, prefix, owner_from) values (%s, %s, %s)",
        columns,
    )
    with pytest.raises(RefusedError, match="docmill sources remove docs"):
        erase_owner(admin, EVE)


class TestExport:
    @pytest.fixture
    def project(
        self,
        wiped: Database,
        admin: Connection,
        worker: Connection,
        monkeypatch: pytest.MonkeyPatch,
    ) -> Database:
        """One document each for two people, one repeated chunk, one unsearchable document."""
        ingest(worker, put_object(admin, "eve.txt", owner=EVE), ["one", "two", "one"])
        ingest(worker, put_object(admin, "bob.txt", owner="bob"), ["three"])
        put_object(admin, "late.txt", owner="bob")
        monkeypatch.setenv("DOCMILL_ADMIN_DATABASE_URL", wiped.url("postgres"))
        return wiped

    def test_every_passage_is_a_line_with_its_vector(
        self, project: Database, tmp_path: Path
    ) -> None:
        export(tmp_path / "all.jsonl", form="jsonl", owner=None, bucket=None, as_json=True)
        lines = [json.loads(line) for line in (tmp_path / "all.jsonl").read_text().splitlines()]
        eves = [line for line in lines if line["owner_id"] == EVE]
        assert [(line["ordinal"], line["content"]) for line in eves] == [
            (0, "one"),
            (1, "two"),
            (2, "one"),
        ]
        assert all(len(line["embedding"]) == line["dimensions"] == 256 for line in lines)
        assert {line["object_name"] for line in lines} == {"eve.txt", "bob.txt"}
        export(tmp_path / "bobs.jsonl", form="jsonl", owner="bob", bucket=None, as_json=True)
        assert len((tmp_path / "bobs.jsonl").read_text().splitlines()) == 1
        assert [path.name for path in tmp_path.glob("*.part")] == []

    def test_parquet_holds_the_same(self, project: Database, tmp_path: Path) -> None:
        parquet = pytest.importorskip("pyarrow.parquet")
        for form in ("jsonl", "parquet"):
            export(tmp_path / form, form=form, owner=None, bucket="docs", as_json=True)
        lines = [json.loads(line) for line in (tmp_path / "jsonl").read_text().splitlines()]
        table = parquet.read_table(tmp_path / "parquet").to_pylist()
        assert [row["content"] for row in table] == [line["content"] for line in lines]
        assert table[0]["embedding"] == pytest.approx(lines[0]["embedding"], abs=1e-6)
        assert table[0]["chunk_id"] == lines[0]["chunk_id"]

    def test_rows_come_as_they_are_asked_for(self, project: Database) -> None:
        """A cursor on the server: rows that are not requested are not sent."""
        with project.connect("postgres") as connection:
            with passages(connection, owner=None, bucket=None) as found:
                next(found)
                cursors = rows(connection, "select name from pg_cursors")
            assert "docmill_export" in {row["name"] for row in cursors}
