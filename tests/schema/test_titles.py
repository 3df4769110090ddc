"""A search by words finds a document by its title, with its first passage."""

import random
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar
from uuid import UUID, uuid4

import pytest

from tests.schema.actors import (
    MODEL,
    PIPELINE,
    Connection,
    Run,
    claimed,
    drain_withdrawn,
    hash_of,
    ingest,
    job_of_worker,
    jobs_for,
    literal,
    new_version,
    publish,
    rows,
    stage_missing,
    value,
    vector_of,
)
from tests.schema.test_hybrid_search import READERS, VOCABULARY, finds, found
from tests.support import words
from tests.support.database import Database, as_client, delete_objects, put_object

PASSAGES = ("first passage", "second passage")


@pytest.fixture
def database(wiped: Database) -> Database:
    return wiped


def put(
    worker: Connection,
    admin: Connection,
    name: str,
    passages: Sequence[str] = PASSAGES,
    *,
    title: str | None = None,
    owner: str = "alice",
) -> UUID:
    """Upload a file, or a new version of it, and ingest it; return the object's id."""
    object_id = put_object(admin, name, owner=owner)
    ingest(worker, object_id, passages, title=title)
    return object_id


def rename(worker: Connection, admin: Connection, object_id: UUID, name: str) -> None:
    """Give the file another name, like Storage, and publish it like a worker."""
    admin.execute(
        "update storage.objects set name = %s, version = %s where id = %s",
        [name, str(uuid4()), object_id],
    )
    for job in rows(
        admin,
        """select job.id, published.content_sha256 from ingest.jobs as job
                  join ingest.documents as document on document.id = job.document_id
                  join ingest_private.published_versions as published
                    on published.document_id = document.id
                   and published.index_version = job.index_version
            where document.object_id = %s and job.finished_at is null""",
        object_id,
    ):
        run = claimed(worker, job["id"])
        assert publish_unchanged(worker, run, job["content_sha256"]) == "published"


def publish_unchanged(worker: Connection, run: Run, content: bytes) -> Any:
    """Call publish_unchanged for these bytes."""
    return value(
        worker,
        "select ingest_private.publish_unchanged(%s, %s, %s, %s)",
        *(run.job_id, run.token, content, PIPELINE),
    )


def wrong_words(admin: Connection, version: int = 1) -> list[Any]:
    """Chunks whose stored words are not those of their text and, for first ones, of the name.

    Says what the name is without put_title: by the rows of documents and positions.
    """
    return rows(
        admin,
        """select chunk.content, held.lexemes, made.lexemes as right_lexemes
             from ingest.chunks as chunk
                  join ingest.documents as document on document.id = chunk.document_id
                  left join ingest.chunk_lexemes as held
                    on held.chunk_id = chunk.id and held.index_version = chunk.index_version
                  left join ingest.chunk_positions as first
                    on first.chunk_id = chunk.id and first.index_version = chunk.index_version
                   and first.ordinal = 0
                  cross join lateral (
                      select case when document.title is not null then document.title
                                  else reverse(split_part(reverse(object_name), '/', 1)) end
                  ) as called (name)
                  cross join lateral ingest_private.lexemes_of(
                      chunk.index_version, chunk.owner_id, chunk.content, chunk.headings,
                      case when first.chunk_id is not null then called.name end) as made
            where chunk.index_version = %s and held.lexemes is distinct from made.lexemes""",
        version,
    )


def written(admin: Connection, table: str) -> list[Any]:
    """Which transaction wrote each row of a table, and where the row is."""
    return rows(admin, f"select xmin::text, ctid::text from {table} order by ctid")


class TestOfADocument:
    @pytest.mark.parametrize("query", ["zubo", "report zubo", '"quarterly zubo"', "zub*"])
    def test_finds_its_first_passage_though_no_passage_has_the_words(
        self, database: Database, admin: Connection, worker: Connection, query: str
    ):
        put(worker, admin, "a.txt", title="Quarterly Zubo")
        put(worker, admin, "b.txt", title="Another")
        assert finds(database, "alice", query) == ["first passage"]

    def test_finds_it_beside_what_the_embedding_finds(
        self, database: Database, admin: Connection, worker: Connection
    ):
        put(worker, admin, "a.txt", title="Quarterly Zubo")
        put(worker, admin, "b.txt", [f"other passage {number}" for number in range(60)])
        near = literal(vector_of("other passage 7"))
        hits = finds(database, "alice", "zubo", query_embedding=near, model=MODEL)
        assert hits[:2] == ["first passage", "other passage 7"]

    def test_is_found_by_its_stem_in_the_language_of_the_passage(
        self, database: Database, admin: Connection, worker: Connection
    ):
        put(worker, admin, "a.txt", ["This is what they have written."], title="Travelling rules")
        assert len(finds(database, "alice", "travel rule")) == 1

    def test_is_the_name_of_the_file_if_it_has_none(
        self, database: Database, admin: Connection, worker: Connection
    ):
        put(worker, admin, "kalo/mirt report.txt")
        put(worker, admin, "glub.txt", title="Of its own")
        assert finds(database, "alice", "mirt") == ["first passage"]
        assert finds(database, "alice", "report.txt") == ["first passage"]
        assert finds(database, "alice", "kalo") == []
        assert finds(database, "alice", "glub") == []

    def test_that_is_a_heading_of_the_passage_counts_once_whoever_changes_the_passage(
        self, database: Database, admin: Connection, worker: Connection
    ):
        put(worker, admin, "a.txt", title="Zubo")
        for headings in (["Zubo"], ["Kalo", "Zubo"], ["Kalo"]):
            admin.execute(
                "update ingest.chunks set headings = %s where content = %s",
                [headings, PASSAGES[0]],
            )
            assert finds(database, "alice", "zubo") == ["first passage"]
            assert value(
                admin,
                """select array_agg(weights) from ingest.chunk_lexemes, unnest(lexemes) as word
                    where lexeme = 'zubo'""",
            ) == [["C"]]

    @pytest.mark.parametrize("seed", range(4))
    def test_finds_what_the_oracle_finds(
        self, database: Database, admin: Connection, worker: Connection, seed: int
    ):
        chance = random.Random(seed)
        texts: dict[str, list[str]] = {"alice": [], "bob": []}
        for number in range(24):
            owner = chance.choice([*texts])
            passages = [
                " ".join(chance.sample(VOCABULARY, 3)) + f" {owner}{number}x{place}"
                for place in range(chance.randint(1, 3))
            ]
            title = " ".join(chance.sample(VOCABULARY, 2))
            put(worker, admin, f"{number}", passages, title=title, owner=owner)
            texts[owner] += [f"{passages[0]}\n{title}", *passages[1:]]
        for _ in range(20):
            query = " ".join(chance.sample(VOCABULARY, chance.randint(1, 2)))
            for owner, held in texts.items():
                expected = {text.split("\n")[0] for text in words.scores(query, held)}
                assert set(finds(database, owner, query)) == expected, (owner, query)


class TestInWhatIsRequired:
    """A passage has what its own words or the title of its document say."""

    TITLES: ClassVar[dict[str, str]] = {
        "quarterly report": "first",
        "draft report": "second",
        "x": "third quarterly report",
    }

    @pytest.fixture(params=["own", "in documents", "shared", "service"])
    def asked(
        self,
        request: pytest.FixtureRequest,
        database: Database,
        admin: Connection,
        worker: Connection,
    ) -> Iterator[Callable[..., set[str]]]:
        """Searches in each way that finds passages."""
        if request.param == "shared":
            admin.execute("update ingest_private.sources set access = 'inherit'")
        admin.execute(READERS)
        for title, text in self.TITLES.items():
            put(worker, admin, f"{text}.txt", [f"{text} zubo", f"{text} kalo"], title=title)
        put(worker, admin, "plan-7.txt", ["fourth zubo", "fourth kalo"])
        documents = [row["id"] for row in rows(admin, "select id from ingest.documents")]
        claims = {"shared": {"sub": "reader"}, "service": {"role": "service_role"}}.get(
            request.param, {"sub": "alice"}
        )
        more = {"document_ids": documents} if request.param == "in documents" else {}

        def ask(query: str, **parameters: Any) -> set[str]:
            with as_client(database, claims, read_only=True) as client:
                return {hit["content"] for hit in found(client, query, **more, **parameters)}

        yield ask
        admin.execute("drop policy readers on storage.objects")

    @pytest.mark.parametrize("by_meaning", [False, True])
    @pytest.mark.parametrize(
        ("query", "documents"),
        [
            ("kalo -draft", "first third fourth"),
            ("kalo -dra*", "first third fourth"),
            ("kalo -txt", "first second third"),
            ('kalo -"quarterly report"', "second fourth"),
            ("kalo -quarterly -draft", "fourth"),
            ('kalo "quarterly report"', "first third"),
            ('kalo "quarterly report" -third', "first"),
            ('kalo "report" "first"', "first"),
            ('"plan 7" kalo', "fourth"),
            ('"plan fourth"', ""),
        ],
    )
    def test_the_title_counts_for_every_passage_of_its_document(
        self, asked: Callable[..., set[str]], query: str, documents: str, *, by_meaning: bool
    ):
        near = {"query_embedding": literal(vector_of("x"))} if by_meaning else {}
        places = ("zubo", "kalo") if by_meaning or '"' in query.partition('-"')[0] else ("kalo",)
        third = {"third": "third quarterly report"}
        assert asked(query, **near) == {
            f"{third.get(one, one)} {place}" for one in documents.split() for place in places
        }


class TestThatChanges:
    def test_by_another_version_of_the_file(
        self, database: Database, admin: Connection, worker: Connection
    ):
        put(worker, admin, "a.txt", title="Zubo")
        put(worker, admin, "a.txt", title="Kalo")
        assert finds(database, "alice", "zubo") == []
        assert finds(database, "alice", "kalo") == ["first passage"]
        assert wrong_words(admin) == []

    @pytest.mark.parametrize("passages", [("new", *PASSAGES), PASSAGES[::-1], PASSAGES[1:]])
    def test_the_passage_that_is_the_first_has_it_and_the_former_first_has_not(
        self, database: Database, admin: Connection, worker: Connection, passages: tuple[str, ...]
    ):
        put(worker, admin, "a.txt", title="Zubo")
        put(worker, admin, "a.txt", passages, title="Zubo")
        assert finds(database, "alice", "zubo") == [passages[0]]
        assert wrong_words(admin) == []

    def test_by_a_rename_writes_the_words_of_one_passage_and_no_chunk(
        self, database: Database, admin: Connection, worker: Connection
    ):
        object_id = put(worker, admin, "zubo.txt")
        others = ("ingest.chunks", "ingest_private.sketches", "ingest.chunk_positions")
        before = {table: written(admin, table) for table in others}
        lexemes = written(admin, "ingest.chunk_lexemes")
        rename(worker, admin, object_id, "kalo.txt")
        assert finds(database, "alice", "zubo") == []
        assert finds(database, "alice", "kalo") == ["first passage"]
        assert {table: written(admin, table) for table in others} == before
        assert len([row for row in written(admin, "ingest.chunk_lexemes") if row in lexemes]) == 1
        assert wrong_words(admin) == []

    def test_no_word_is_written_for_another_folder_nor_for_a_file_with_a_title(
        self, admin: Connection, worker: Connection
    ):
        plain = put(worker, admin, "zubo.txt")
        titled = put(worker, admin, "mirt.txt", title="Mirt")
        before = written(admin, "ingest.chunk_lexemes")
        rename(worker, admin, plain, "folder/zubo.txt")
        rename(worker, admin, titled, "kalo.txt")
        assert written(admin, "ingest.chunk_lexemes") == before
        put(worker, admin, "kalo.txt", title="Mirt")
        assert written(admin, "ingest.chunk_lexemes") == before

    def test_with_the_owner(self, database: Database, admin: Connection, worker: Connection):
        put(worker, admin, "a.txt", title="Zubo")
        put(worker, admin, "a.txt", title="Zubo", owner="bob")
        drain_withdrawn(admin)
        assert finds(database, "alice", "zubo") == []
        assert finds(database, "bob", "zubo") == ["first passage"]

    def test_in_an_index_version_that_is_being_filled(
        self, database: Database, admin: Connection, worker: Connection
    ):
        object_id = put(worker, admin, "a.txt", title="Zubo")
        plain = put(worker, admin, "mirt.txt")
        version = new_version(admin)
        value(admin, "select ingest_private.fill_index_versions()")
        for job in jobs_for(admin, version):
            run = claimed(worker, job["id"])
            stage_missing(worker, run, PASSAGES)
            title = "Zubo" if run.document_id == document_id(admin, object_id) else None
            assert publish(worker, run, PASSAGES, title=title) == "published"
        assert wrong_words(admin, version) == []
        rename(worker, admin, plain, "kalo.txt")
        value(admin, "select ingest_private.fill_index_versions()")
        for job in jobs_for(admin, version):
            if job["finished_at"] is None:
                run = claimed(worker, job["id"])
                assert publish_unchanged(worker, run, hash_of("\n".join(PASSAGES))) == "published"
        assert wrong_words(admin, version) == []
        query = (
            "select count(*) from ingest.chunk_lexemes where index_version = %s and lexemes @@ %s"
        )
        found = [value(admin, query, version, word) for word in ("zubo", "kalo", "mirt")]
        assert found == [1, 1, 0]

    @pytest.mark.parametrize("seed", range(3))
    def test_any_number_of_times(self, admin: Connection, worker: Connection, seed: int):
        chance = random.Random(seed)
        objects: dict[UUID, str] = {}
        for step in range(40):
            kind = chance.choice(["put", "put again", "rename", "rename", "delete"])
            passages = chance.sample(["one", "two", "three", "four"], chance.randint(1, 4))
            title = chance.choice([None, None, "zubo", "kalo mirt"])
            if kind == "put" or not objects:
                objects[put(worker, admin, f"{step}.txt", passages, title=title)] = f"{step}.txt"
                continue
            object_id = chance.choice([*objects])
            if kind == "put again":
                put(worker, admin, objects[object_id], passages, title=title)
            elif kind == "rename":
                objects[object_id] = chance.choice(["", "folder/"]) + f"{step}.txt"
                rename(worker, admin, object_id, objects[object_id])
            else:
                delete_objects(admin, [objects.pop(object_id)])
            assert wrong_words(admin) == [], (step, kind)


def document_id(admin: Connection, object_id: UUID) -> UUID:
    found: UUID = value(admin, "select id from ingest.documents where object_id = %s", object_id)
    return found


class TestOfSomebodyElse:
    def test_finds_nothing_and_changes_no_byte(
        self, database: Database, admin: Connection, worker: Connection
    ):
        def answer() -> list[Any]:
            with as_client(database, {"sub": "alice"}, read_only=True) as client:
                return [
                    (hit["chunk_id"], hit["score"].hex())
                    for query in ("zubo", "kalo zubo", "passage zubo")
                    for hit in found(client, query)
                ]

        put(worker, admin, "a.txt", title="Zubo")
        before = answer()
        for number in range(20):
            put(worker, admin, f"bob {number}.txt", title=f"Kalo zubo {number}", owner="bob")
        assert answer() == before != []
        assert finds(database, "alice", "kalo") == []

    def test_who_shares_it_is_found_by_readers_alone(
        self, database: Database, admin: Connection, worker: Connection
    ):
        admin.execute("update ingest_private.sources set access = 'inherit'")
        admin.execute(READERS)
        try:
            put(worker, admin, "a.txt", title="Zubo")
            assert finds(database, "reader", "zubo") == ["first passage"]
            assert finds(database, "bob", "zubo") == []
            delete_objects(admin, ["a.txt"])
            assert finds(database, "reader", "zubo") == []
            assert finds(database, "alice", "zubo") == []
        finally:
            admin.execute("drop policy readers on storage.objects")


class TestOfOlderDocuments:
    """An older installation: the words of chunks are there, without the titles."""

    @pytest.fixture
    def older(self, admin: Connection, worker: Connection) -> Iterator[None]:
        for number in range(7):
            title = f"zubo {number}" if number % 2 else None
            put(worker, admin, f"kalo {number}.txt", title=title)
        admin.execute(
            """update ingest.chunk_lexemes as held set lexemes = made.lexemes
                 from ingest.chunks as chunk
                      cross join lateral ingest_private.lexemes_of(
                          1, chunk.owner_id, chunk.content, chunk.headings) as made
                where held.chunk_id = chunk.id"""
        )
        fill = """update ingest_private.chunk_fills set filled_to = null, completed_at = %s
                   where copy = any(%s) and index_version = 1"""
        admin.execute(fill.encode(), [None, ["titles"]])
        yield
        admin.execute(fill.encode(), [datetime.now(UTC), ["titles", "lexemes"]])

    def test_are_filled_step_by_step_and_found_by_their_text_all_the_time(
        self, older: None, database: Database, admin: Connection, worker: Connection
    ):
        steps = [(0, 7)]
        while filled := value(worker, "select ingest_private.fill_chunks('titles', 3)"):
            assert len(finds(database, "alice", "first passage")) == 14
            steps.append((filled, len(wrong_words(admin))))
        assert steps == [(0, 7), (3, 4), (3, 1), (1, 0)]
        assert len(finds(database, "alice", "zubo")) == 3
        assert len(finds(database, "alice", "kalo")) == 4
        assert value(admin, "select ingest_search.is_filled('titles', 1)")
        before = written(admin, "ingest.chunk_lexemes")
        assert value(worker, "select ingest_private.fill_chunks('titles', 3)") == 0
        assert written(admin, "ingest.chunk_lexemes") == before

    def test_wait_for_the_words_of_their_chunks(
        self, older: None, admin: Connection, worker: Connection
    ):
        admin.execute("delete from ingest.chunk_lexemes")
        admin.execute(
            """update ingest_private.chunk_fills set filled_to = null, completed_at = null
                where copy = 'lexemes' and index_version = 1"""
        )
        assert value(worker, "select ingest_private.fill_chunks('titles', 500)") == 0
        assert value(worker, "select ingest_private.fill_chunks('lexemes', 500)") == 14
        assert value(worker, "select ingest_private.fill_chunks('titles', 500)") == 0
        assert value(worker, "select ingest_private.fill_chunks('lexemes', 500)") == 0
        assert value(worker, "select ingest_private.fill_chunks('titles', 500)") == 7
        assert wrong_words(admin) == []

    def test_that_are_being_published_are_not_waited_for(
        self, older: None, database: Database, admin: Connection, worker: Connection
    ):
        object_id = put_object(admin, "kalo 1.txt", owner="alice")
        with database.connect() as publisher, publisher.transaction():
            run = claimed(worker, job_of_worker(worker, object_id))
            others = [*reversed(PASSAGES)]
            assert publish(publisher, run, others, title="zubo") == "published"
            assert value(worker, "select ingest_private.fill_chunks('titles', 500)") == 0
        assert value(worker, "select ingest_private.fill_chunks('titles', 500)") == 7
        assert wrong_words(admin) == []
