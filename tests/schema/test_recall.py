"""The hits of searches, compared with exact distances in numpy, for very different chunks."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID, uuid4

import numpy as np
import pytest

from docmill.embedded.postgres import PostgresServer
from docmill.worker.admin.graph import ENOUGH
from tests.schema.actors import Connection, literal, rows, value
from tests.schema.corpora import ChunkRow, copy_chunks, place_chunks
from tests.support.database import Database, as_client, make_database, watch_bucket

Vectors = "np.ndarray[Any, np.dtype[np.float32]]"

#: With sketches of the vectors themselves, and of their signs.
WIDTHS: Final = (32, 768)
CHUNKS: Final = 4000
PER_DOCUMENT: Final = 10
SHARED: Final = "shared"  #: a bucket whose objects the whole team reads
OWNERS: Final = ("alice", "bob", "carol")


@dataclass(frozen=True)
class Caller:
    """A caller; without a subject it is the service role."""

    sub: str | None
    is_of_team: bool = False

    @property
    def claims(self) -> dict[str, str]:
        """The claims that the Data API would set."""
        if self.sub is None:
            return {"role": "service_role"}
        return {"sub": self.sub, **({"team": "red"} if self.is_of_team else {})}


CALLERS: Final = (
    Caller("alice"),
    Caller("bob", is_of_team=True),
    Caller("carol"),
    Caller("mallory"),
    Caller("mallory", is_of_team=True),
    Caller(None),
)


@dataclass
class Collection:
    """Chunks as numpy arrays, one row each."""

    model: str
    version: int
    vectors: Any
    owners: list[str | None]
    documents: list[UUID]
    ids: list[UUID]
    access: list[str]
    objects: list[UUID]
    gone: set[UUID] = field(default_factory=set)  #: withdrawn or removed documents

    def readable(self, caller: "Caller", documents: set[UUID] | None = None) -> list[int]:
        """Rows that a caller may find."""
        return [
            row
            for row, (whose, document) in enumerate(zip(self.owners, self.documents, strict=True))
            if document not in self.gone
            and (
                caller.sub in {None, whose} or (caller.is_of_team and self.access[row] == "inherit")
            )
            and (documents is None or document in documents)
        ]

    def check(
        self,
        client: Connection,
        query: Any,
        caller: Caller,
        count: int = 10,
        documents: set[UUID] | None = None,
        **filters: Any,
    ) -> float:
        """The share of the nearest that was found; a row at an equal distance counts as found.

        Fails if there are too few rows, or a foreign one.
        """
        arguments = {
            "query_embedding": literal(query),
            "model": self.model,
            "match_count": count,
            **({"document_ids": list(documents)} if documents is not None and not filters else {}),
            **filters,
        }
        named = ", ".join(f"{name} => %s" for name in arguments)
        hits = rows(client, f"select * from ingest.match_chunks({named})", *arguments.values())
        mine = self.readable(caller, documents)
        places = {chunk: row for row, chunk in enumerate(self.ids)}
        found = [places[hit["chunk_id"]] for hit in hits]
        assert len(set(found)) == len(found) == min(count, len(mine))
        assert set(found) <= set(mine)
        scores = [hit["score"] for hit in hits]
        assert scores == sorted(scores, reverse=True)
        similarity = self.similarity(query)
        assert np.allclose(scores, similarity[found], atol=2e-3)
        if not found:
            return 1.0
        worst = np.sort(similarity[mine])[::-1][: len(found)][-1]
        return float(np.mean(similarity[found] >= worst - 5e-4))

    def similarity(self, query: Any) -> Any:
        """Cosine similarity of every chunk with the query, as the database stores both."""
        query = query.astype(np.float16).astype(np.float64)
        vectors = self.vectors.astype(np.float64)
        lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(query)
        return vectors @ query / lengths


def clusters(generator: np.random.Generator, width: int, count: int) -> Any:
    """Points around 40 centres, like topics."""
    centres = generator.standard_normal((40, width))
    return centres[generator.integers(40, size=count)] + generator.standard_normal((count, width))


def one_dense(generator: np.random.Generator, width: int, count: int) -> Any:
    """A large document of nearly equal chunks, and a few others."""
    others = generator.standard_normal((50, width))
    line = generator.standard_normal(width) + 0.02 * generator.standard_normal((count, width))
    line[:50] = others
    return line


def identical(generator: np.random.Generator, width: int, count: int) -> Any:
    """All chunks are equal, except 30."""
    vectors = np.tile(generator.standard_normal(width), (count, 1))
    vectors[:30] = generator.standard_normal((30, width))
    return vectors


def more_and_less_dense(generator: np.random.Generator, width: int, count: int) -> Any:
    """Around one point, from nearly equal to far apart: signs describe some better than others."""
    spread = generator.uniform(0.02, 1, (count, 1))
    return generator.standard_normal(width) + spread * generator.standard_normal((count, width))


KINDS: Final = {
    "clusters": clusters,
    "one dense": one_dense,
    "more and less dense": more_and_less_dense,
    "identical": identical,
}


def fill(database: Database, kind: str, width: int, per_document: int = PER_DOCUMENT) -> Collection:
    """A collection in its own index version; its tables are never analysed."""
    generator = np.random.default_rng(len(kind) * width)
    vectors = KINDS[kind](generator, width, CHUNKS).astype(np.float16)
    model = f"{kind} {width} {uuid4()}"
    owners: list[str | None] = []
    documents: list[UUID] = []
    access: list[str] = []
    objects: list[UUID] = []
    shares = generator.choice(
        [*OWNERS, "inherit"], CHUNKS // per_document, p=[0.6, 0.3, 0.02, 0.08]
    )
    with database.connect() as admin, admin.transaction():
        version = value(
            admin, "select ingest_private.create_index_version(%s, %s, '{}')", model, width
        )
        admin.execute("update ingest.index_versions set state = 'retired' where id = %s", [version])
        for number, share in enumerate(shares):
            is_shared = share == "inherit"
            document, owner = uuid4(), "dave" if is_shared else str(share)
            object_id = value(
                admin,
                """insert into storage.objects (bucket_id, name, version, owner_id)
                   values (%s, %s, 'v', %s) returning id""",
                *(SHARED if is_shared else "other", f"{model}/{number}", owner),
            )
            admin.execute(
                """insert into ingest.documents (id, object_id, bucket_id, object_name, owner_id,
                               access, storage_version, status, searchable, metadata)
                   values (%s, %s, %s, %s, %s, %s, 'v', 'ready', true, %s)""",
                [
                    *(document, object_id, SHARED if is_shared else "other", f"{model}/{number}"),
                    *(owner, "inherit" if is_shared else "owner"),
                    json.dumps({"odd": number % 2 == 1}),
                ],
            )
            owners += [owner] * per_document
            documents += [document] * per_document
            objects += [object_id] * per_document
            access += ["inherit" if is_shared else "owner"] * per_document
        ids = [uuid4() for _ in range(CHUNKS)]
        made = Collection(model, version, vectors, owners, documents, ids, access, objects)
        insert_chunks(admin, made)
    return made


def insert_chunks(admin: Connection, made: Collection) -> None:
    columns = (made.ids, made.documents, made.objects, made.owners, made.access, made.vectors)
    rows = (
        ChunkRow(chunk, document, item, owner, access, f"chunk {chunk}", vector)
        for chunk, document, item, owner, access, vector in zip(*columns, strict=True)
    )
    copy_chunks(admin, made.version, rows)
    place_chunks(admin, made.version)


@pytest.fixture(scope="module")
def project(postgres: PostgresServer) -> Iterator[Database]:
    """A project whose team reads the bucket `shared`. Autovacuum never analyses it."""
    with make_database(postgres) as database, database.connect() as admin:
        watch_bucket(database)
        for statement in (
            f"insert into storage.buckets (id, name) values ('{SHARED}', '{SHARED}')",
            "insert into storage.buckets (id, name) values ('other', 'other')",
            f"""create policy team on storage.objects for select to authenticated
                using (bucket_id = '{SHARED}' and auth.jwt() ->> 'team' = 'red')""",
            # As after an installation: statistics say that the tables are empty.
            "analyze ingest.documents, ingest.chunks, ingest.chunk_positions",
        ):
            admin.execute(statement.encode())
        yield database


@pytest.fixture(scope="module")
def made(project: Database) -> dict[tuple[str, int], Collection]:
    """A collection of each kind and width."""
    return {(kind, width): fill(project, kind, width) for kind in KINDS for width in WIDTHS}


def queries(made: Collection, number: int = 6) -> Iterator[Any]:
    """Some queries near a chunk, and some far from all."""
    generator = np.random.default_rng(made.version)
    for row in [*generator.integers(CHUNKS, size=number - 2), 3]:
        noise = generator.standard_normal(made.vectors.shape[1])
        yield made.vectors[row].astype(np.float32) + 0.3 * noise
    yield generator.standard_normal(made.vectors.shape[1])


class TestEveryCollection:
    @pytest.mark.parametrize("caller", CALLERS)
    @pytest.mark.parametrize("width", WIDTHS)
    @pytest.mark.parametrize("kind", KINDS)
    def test_yields_the_nearest_of_all_that_a_caller_may_read(
        self,
        project: Database,
        made: dict[tuple[str, int], Collection],
        kind: str,
        width: int,
        caller: Caller,
    ):
        collection = made[kind, width]
        with as_client(project, caller.claims, read_only=True) as client:
            recalls = [
                collection.check(client, query, caller, count)
                for query in queries(collection)
                for count in (1, 10)
            ]
        assert np.mean(recalls) >= (1 if width == 32 else 0.98), recalls

    @pytest.mark.parametrize("caller", CALLERS[:2])
    @pytest.mark.parametrize("width", WIDTHS)
    def test_yields_200_where_they_are_asked_for(
        self,
        project: Database,
        made: dict[tuple[str, int], Collection],
        width: int,
        caller: Caller,
    ):
        collection = made["clusters", width]
        with as_client(project, caller.claims, read_only=True) as client:
            recalls = [
                collection.check(client, query, caller, 200) for query in queries(collection)
            ]
        assert np.mean(recalls) >= 0.98

    @pytest.mark.parametrize("caller", CALLERS)
    @pytest.mark.parametrize("width", WIDTHS)
    def test_yields_the_nearest_of_what_a_filter_leaves(
        self,
        project: Database,
        made: dict[tuple[str, int], Collection],
        width: int,
        caller: Caller,
    ):
        collection = made["clusters", width]
        some = set(collection.documents[: CHUNKS // 8])
        shared = {
            document
            for document, access in zip(collection.documents, collection.access, strict=True)
            if access == "inherit"
        }
        odd = set(collection.documents[10::20])
        with as_client(project, caller.claims, read_only=True) as client:
            for query in queries(collection, 3):
                for documents, filters in (
                    (some, {}),
                    (shared, {"bucket": SHARED}),
                    (odd, {"metadata_filter": '{"odd": true}'}),
                    (set(collection.documents), {"path_prefix": collection.model}),
                ):
                    recall = collection.check(client, query, caller, 10, documents, **filters)
                    assert recall >= (1 if width == 32 else 0.9)


class TestSearch:
    @pytest.mark.parametrize("width", WIDTHS)
    def test_of_thousands_of_documents_finds_the_nearest(self, project: Database, width: int):
        made = fill(project, "clusters", width, per_document=1)
        some = set(made.documents[:3000])
        for caller in CALLERS:
            with as_client(project, caller.claims, read_only=True) as client:
                for query in queries(made, 3):
                    assert made.check(client, query, caller, 10, some) >= 0.9

    @pytest.mark.parametrize("width", WIDTHS)
    def test_passes_over_what_was_withdrawn_and_sees_what_replaced_it(
        self, project: Database, width: int
    ):
        """Half of all chunks, without VACUUM, half drained."""
        made = fill(project, "clusters", width)
        half = made.documents[: CHUNKS // 2]
        with project.connect() as admin:
            admin.execute("select ingest_private.withdraw_documents(%s)", [list(set(half))])
            made.gone.update(half)
            self._check(project, made)
            for _ in range(2):
                admin.execute("select ingest_private.drain_withdrawn(%s)", [CHUNKS // 8])
            self._check(project, made)
            left = value(
                admin,
                """select count(*) from ingest_private.sketches as sketch
                    where not exists (select from ingest.chunks as chunk
                                       where chunk.index_version = sketch.index_version
                                         and chunk.id = sketch.id)""",
            )
            assert left == 0
        more = fill(project, "one dense", width)
        self._check(project, more)

    @pytest.mark.parametrize("width", WIDTHS)
    def test_is_right_before_while_and_after_sketches_are_filled(
        self, project: Database, width: int
    ):
        made = fill(project, "clusters", width)
        with project.connect() as admin:
            admin.execute(
                "delete from ingest_private.sketches where index_version = %s", [made.version]
            )
            admin.execute(
                """update ingest_private.chunk_fills set completed_at = null
                    where copy = 'sketches' and index_version = %s""",
                [made.version],
            )
            self._check(project, made)
            assert value(admin, "select ingest_private.fill_chunks('sketches', 1500)") == 1500
            self._check(project, made)
            # Deleted meanwhile: filled or not, no sketch of it is left.
            admin.execute(
                "delete from ingest.chunks where document_id = any(%s)", [made.documents[:500]]
            )
            made.gone.update(made.documents[:500])
            filled = 1500
            while number := value(admin, "select ingest_private.fill_chunks('sketches', 1500)"):
                filled += number
            assert CHUNKS - 500 <= filled <= CHUNKS
            assert value(
                admin,
                """select array_agg(id order by id) from ingest_private.sketches
                    where index_version = %s""",
                made.version,
            ) == value(
                admin,
                "select array_agg(id order by id) from ingest.chunks where index_version = %s",
                made.version,
            )
        self._check(project, made)

    def test_unites_the_graph_with_what_is_shared(self, project: Database):
        """The graph serves owners with more chunks than a limit, and contains only theirs."""
        made = fill(project, "clusters", 32)
        with project.connect() as admin:
            admin.execute(
                f"""create index on ingest_private.chunks_{made.version}
                     using hnsw ((embedding::extensions.halfvec(32)) extensions.halfvec_cosine_ops)
                 """.encode()
            )
            index = value(
                admin,
                "select indexrelid::regclass::text from pg_index where indrelid = %s::regclass "
                "and pg_get_indexdef(indexrelid) like '%%hnsw%%'",
                f"ingest_private.chunks_{made.version}",
            )
            name = f"chunks_{made.version}_embedding"
            admin.execute(f"alter index {index} rename to {name}".encode())
            definition = value(
                admin,
                "select pg_get_functiondef('ingest_private.nearest_allowed'::regproc)",
            )
            assert str(ENOUGH) in definition
            admin.execute(definition.replace(str(ENOUGH), "1000").encode())
            try:
                self._check(project, made)
            finally:
                admin.execute(definition.encode())
            scans = "select idx_scan from pg_stat_all_indexes where indexrelname = %s"
            # Chunks of alice, bob and everybody, not of owners with fewer.
            assert value(admin, scans, name) == 3 * 3

    def test_takes_the_direction_of_a_vector_however_short_or_long_it_is(
        self, project: Database, made: dict[tuple[str, int], Collection]
    ):
        collection = made["clusters", 32]
        query = next(queries(collection))
        named = "select chunk_id, score from ingest.match_chunks(%s, %s)"
        with as_client(project, {"sub": "alice"}, read_only=True) as client:
            plain = rows(client, named, str(query.tolist()), collection.model)
            for factor in (1e-30, 1e-6, 1e6, 1e30):
                scaled = rows(client, named, str((query * factor).tolist()), collection.model)
                assert [hit["chunk_id"] for hit in scaled] == [hit["chunk_id"] for hit in plain]
                assert np.allclose(
                    [hit["score"] for hit in scaled], [hit["score"] for hit in plain], atol=1e-3
                )

    @staticmethod
    def _check(project: Database, made: Collection) -> None:
        for caller in CALLERS:
            with as_client(project, caller.claims, read_only=True) as client:
                for query in queries(made, 3):
                    assert made.check(client, query, caller) >= 0.9


class TestPlans:
    """The amount that a search reads does not depend on statistics."""

    @pytest.mark.parametrize("width", WIDTHS)
    def test_are_the_same_never_analysed_analysed_while_empty_and_analysed(
        self, project: Database, width: int
    ):
        made = fill(project, "clusters", width)
        tables = (
            f"ingest_private.chunks_{made.version}, ingest_private.sketches_{made.version},"
            f" ingest_private.chunk_positions_{made.version}, ingest.documents"
        )
        with project.connect() as admin:
            before = [self._pages(project, made, caller) for caller in CALLERS]
            admin.execute(f"vacuum analyze {tables}".encode())
            after = [self._pages(project, made, caller) for caller in CALLERS]
        assert np.all(np.array(before) <= 1.5 * np.array(after) + 100), (before, after)
        # For each of her chunks, carol's search reads some pages, and none of others' chunks.
        # Mallory has none, and like carol asks Storage about every shared document.
        most = 10 * (len(made.readable(CALLERS[2])) - len(made.readable(CALLERS[3])))
        assert before[2] - before[3] < most
        assert after[2] - after[3] < most

    @staticmethod
    def _pages(project: Database, made: Collection, caller: Caller) -> int:
        query = literal(next(queries(made)))
        with as_client(project, caller.claims, read_only=True) as client:
            for _ in range(7):  # from the sixth call on, the plan is cached
                [[plan]] = client.execute(
                    """explain (analyze, buffers, format json)
                       select * from ingest.match_chunks(%s, %s)""",
                    [query, made.model],
                ).fetchall()
        counts: dict[str, int] = plan[0]["Plan"]
        return counts["Shared Hit Blocks"] + counts["Shared Read Blocks"]
