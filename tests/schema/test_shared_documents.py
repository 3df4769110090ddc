"""What others share is found by the rights of this moment, whichever way Storage is asked."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

import pytest
from psycopg import errors as pg

from tests.schema.actors import MODEL, Connection, literal, rows, value, vector_of
from tests.support.database import Database, as_client, delete_objects

#: One chunk and one document each, so that Storage is asked first once it was analysed.
FOLDERS: Mapping[str, int] = {"red": 1000, "green": 30, "blue": 1}
READERS: Mapping[str, Sequence[str]] = {
    "everybody's": ("red", "green", "blue"),
    "green's": ("green",),
    "blue's": ("blue",),
    "nobody's": (),
    "green": ("green", "blue"),
    "red": ("green",),
}


@pytest.fixture
def database(wiped: Database) -> Database:
    return wiped


@pytest.fixture(params=["each document", "Storage first"])
def shared(
    request: pytest.FixtureRequest, database: Database, admin: Connection
) -> Iterator[Database]:
    """Documents of three owners, read by the members of their teams; Eve's are read by nobody."""
    admin.execute("create table public.members (sub text, team text)")
    admin.cursor().executemany(
        "insert into public.members values (%s, %s)",
        [(sub, team) for sub, teams in READERS.items() for team in teams],
    )
    admin.execute(
        """create policy readers on storage.objects for select to authenticated
               using (bucket_id = 'docs' and split_part(name, '/', 1) in (
                          select team from public.members
                           where sub = (select auth.jwt() ->> 'sub')));
           grant select on public.members to authenticated"""
    )
    for owner, count in {**FOLDERS, "eve": 1}.items():
        _write_one_each(admin, owner, count)
    if request.param == "Storage first":
        admin.execute("analyze storage.objects")
    else:
        admin.execute("update pg_class set reltuples = -1 where oid = 'storage.objects'::regclass")
    assert value(admin, "select ingest_private.is_widely_shared()") == (
        request.param == "Storage first"
    )
    yield database
    admin.execute("drop policy readers on storage.objects; drop table public.members")
    admin.execute("update pg_class set reltuples = -1 where oid = 'storage.objects'::regclass")


def _write_one_each(admin: Connection, owner: str, count: int) -> None:
    admin.execute("set session_replication_role = replica")  # no triggers: nothing to ingest
    admin.execute(
        """insert into storage.objects (bucket_id, name, owner_id)
           select 'docs', %(owner)s || '/' || number, %(owner)s
             from generate_series(1, %(count)s) as number""",
        {"owner": owner, "count": count},
    )
    admin.execute("reset session_replication_role")
    admin.execute(
        """insert into ingest.documents (object_id, bucket_id, object_name, owner_id, access,
                                         storage_version, status, searchable, chunk_count)
           select id, 'docs', name, owner_id, 'inherit', 'v', 'ready', true, 1
             from storage.objects where owner_id = %s""",
        [owner],
    )
    admin.execute(
        """insert into ingest.chunks (index_version, document_id, object_id, owner_id, access,
                                      content, token_count, content_hash, embedding)
           select 1, id, object_id, owner_id, access, 'zubo ' || owner_id, 2,
                  sha256(id::text::bytea), %s
             from ingest.documents where owner_id = %s""",
        [literal(vector_of(owner)), owner],
    )
    admin.execute(
        """insert into ingest.chunk_positions (index_version, document_id, ordinal, chunk_id)
           select 1, document_id, 0, id from ingest.chunks where owner_id = %s""",
        [owner],
    )


def expected(admin: Connection, reader: str) -> set[UUID]:
    """The documents of others that the teams of a reader say, without any policy."""
    return {
        row["id"]
        for row in rows(
            admin,
            """select id from ingest.documents
                where access = 'inherit' and owner_id <> %s
                  and owner_id in (select team from public.members where sub = %s)""",
            *(reader, reader),
        )
    }


def told(database: Database, reader: str, documents: Sequence[UUID] | None = None) -> Any:
    """What shared_documents says to a reader."""
    with as_client(database, {"sub": reader}, read_only=True) as client:
        (row,) = rows(client, "select * from ingest_search.shared_documents(%s)", documents)
        assert row["chunk_count"] == len(row["ids"]) == len(set(row["ids"]))
        return set(row["ids"])


def finds(database: Database, reader: str) -> tuple[set[UUID], ...]:
    """Documents that a reader finds by words, by an embedding and by both."""
    near = literal(vector_of("zubo"))
    with as_client(database, {"sub": reader}, read_only=True) as client:
        return tuple(
            {row["document_id"] for row in rows(client, query, *parameters)}
            for query, parameters in (
                ("select * from ingest.hybrid_search('zubo', match_count => 200)", ()),
                ("select * from ingest.match_chunks(%s, %s, 200)", (near, MODEL)),
                (
                    "select * from ingest.hybrid_search('zubo', %s, %s, match_count => 200)",
                    (near, MODEL),
                ),
            )
        )


class TestOfOthers:
    def test_are_those_that_storage_lets_the_reader_read(self, shared: Database, admin: Connection):
        for reader in READERS:
            right = expected(admin, reader)
            assert told(shared, reader) == right, reader
            own = set() if reader not in FOLDERS else documents_of(admin, reader)
            for found in finds(shared, reader):
                assert found <= right | own, reader
                assert len(found) >= min(len(right | own), 200), reader

    def test_are_asked_one_by_one_by_the_owner_of_most(self, shared: Database, admin: Connection):
        asked: dict[str | None, bool] = {}
        for reader in (*READERS, None):
            with admin.transaction(force_rollback=True):
                claims = json.dumps({} if reader is None else {"sub": reader})
                admin.execute("select set_config('request.jwt.claims', %s, true)", [claims])
                asked[reader] = value(admin, "select ingest_private.is_widely_shared()")
        wide = set(asked) - {"red"} if asked[None] else set()
        assert {reader for reader, is_wide in asked.items() if is_wide} == wide

    def test_are_those_of_this_moment(self, shared: Database, admin: Connection):
        assert len(told(shared, "green's")) == 30
        admin.execute("delete from public.members where sub = %s", ["green's"])
        assert told(shared, "green's") == set()
        assert finds(shared, "green's") == (set(), set(), set())
        admin.execute("insert into public.members values (%s, 'blue')", ["green's"])
        blue = documents_of(admin, "blue")
        assert told(shared, "green's") == blue
        assert finds(shared, "green's") == (blue, blue, blue)

    def test_are_only_those_that_are_asked_about(self, shared: Database, admin: Connection):
        some = [*documents_of(admin, "eve"), *list(documents_of(admin, "green"))[:3]]
        many = [*some, *documents_of(admin, "red")]
        assert told(shared, "green's", some) == set(some[1:])
        assert told(shared, "green's", many) == set(some[1:])
        assert told(shared, "green's", []) == set()

    def test_are_none_that_are_withdrawn_or_hidden(self, shared: Database, admin: Connection):
        assert len(told(shared, "blue's")) == 1
        admin.execute(
            """insert into ingest_private.pending_events (object_id, reason, hides)
               select object_id, 'busy', true from ingest.documents where owner_id = 'blue'"""
        )
        assert told(shared, "blue's") == set()
        assert finds(shared, "blue's") == (set(), set(), set())
        admin.execute("delete from ingest_private.pending_events")
        delete_objects(admin, ["blue/1"])
        assert told(shared, "blue's") == set()

    def test_are_told_to_nobody_else(self, shared: Database):
        with as_client(shared, None) as anon, pytest.raises(pg.InsufficientPrivilege):
            anon.execute("select ingest_search.shared_documents(null)")
        with (
            as_client(shared, {"sub": "mallory"}) as client,
            pytest.raises(pg.InsufficientPrivilege),
        ):
            client.execute("select ingest_private.documents_of_objects(null, null)")
        with as_client(shared, {"role": "service_role"}, read_only=True) as service:
            assert value(service, "select ids from ingest_search.shared_documents(null)") == []
            found = rows(service, "select * from ingest.hybrid_search('eve')")
            assert [row["content"] for row in found] == ["zubo eve"]


def documents_of(admin: Connection, owner: str) -> set[UUID]:
    """The documents of an owner."""
    return {
        row["id"]
        for row in rows(admin, "select id from ingest.documents where owner_id = %s", owner)
    }
