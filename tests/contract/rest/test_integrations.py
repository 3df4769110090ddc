"""Requests of LangChain and LlamaIndex to the Data API: their own code, and the examples."""

import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from langchain_community.vectorstores import SupabaseVectorStore
from langchain_core.embeddings import Embeddings
from postgrest import APIError

from tests.contract.target import Target, User
from tests.schema.actors import MODEL, drain_withdrawn, upload, vector_of
from tests.support.database import delete_objects, watch_bucket

pytestmark = pytest.mark.embedded_only("makes documents by SQL")
EXAMPLES = Path(__file__).parents[3] / "examples" / "python"
TEXTS = ("the roof is new", "the boat is old", "slates on the roof", "a harbour for boats")


class Known(Embeddings):
    """The embeddings of the documents."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return [float(number) for number in vector_of(text)]


@pytest.fixture(scope="module")
def notes(target: Target, alice: User, bob: User) -> Iterator[None]:
    """Two documents of alice and a similar one of bob."""
    assert target.inside is not None
    database = target.inside.database
    watch_bucket(database, "notes")
    paths = []
    for owner, name, texts, team in (
        (alice.id, "one.txt", TEXTS[:2], "red"),
        (alice.id, "two.txt", TEXTS[2:], "blue"),
        (bob.id, "three.txt", [f"{text}, says bob" for text in TEXTS], "red"),
    ):
        paths.append(f"{owner}/{name}")
        upload(
            database, paths[-1], texts, owner=owner, bucket="notes", user_metadata={"team": team}
        )
    yield
    with database.connect() as admin:
        delete_objects(admin, paths, bucket="notes")
        drain_withdrawn(admin)


@pytest.fixture
def store(notes: None, alice: User) -> SupabaseVectorStore:
    client: Any = alice.client.schema("ingest")
    return SupabaseVectorStore(
        client=client,
        embedding=Known(),
        table_name="documents",
        query_name="match_documents",
    )


class TestLangChainsStore:
    """langchain-community's SupabaseVectorStore, with a client of the schema `ingest`."""

    def test_finds_the_nearest_of_its_users(self, store: SupabaseVectorStore) -> None:
        for text in TEXTS:
            [found] = store.similarity_search(text, k=1)
            assert found.page_content == text
        everything = store.similarity_search("x", k=100)
        assert not [one for one in everything if "bob" in one.page_content]

    def test_cites_the_file(self, store: SupabaseVectorStore) -> None:
        [found] = store.similarity_search(TEXTS[2], k=1)
        assert found.metadata["file_name"] == "two.txt"
        assert found.metadata["url"].endswith("/two.txt")
        assert found.metadata["team"] == "blue"

    def test_filters_by_metadata(self, store: SupabaseVectorStore) -> None:
        found = store.similarity_search(TEXTS[0], k=10, filter={"team": "blue"})
        assert {one.page_content for one in found} == set(TEXTS[2:])
        [one] = store.similarity_search(TEXTS[0], k=1, filter={"file_name": "two.txt"})
        assert one.page_content in TEXTS[2:]

    def test_scores_are_cosine_similarities(self, store: SupabaseVectorStore) -> None:
        [(_, score), (_, less)] = store.similarity_search_with_relevance_scores(TEXTS[0], k=2)
        assert score == pytest.approx(1, abs=1e-2)
        assert less < score

    def test_marginal_relevance_reads_the_embeddings(self, store: SupabaseVectorStore) -> None:
        found = store.max_marginal_relevance_search(TEXTS[0], k=3, fetch_k=4)
        assert found[0].page_content == TEXTS[0]
        assert len({one.page_content for one in found}) == 3

    def test_can_write_nothing(self, store: SupabaseVectorStore) -> None:
        with pytest.raises(APIError):
            store.add_texts(["mine"])


class TestLangChainsStoreInJavaScript:
    """The requests of @langchain/community's SupabaseVectorStore, word for word."""

    def test_with_a_filter_of_metadata_it_says_how_many(self, notes: None, alice: User) -> None:
        arguments: Any = {
            "query_embedding": Known().embed_query(TEXTS[0]),
            "filter": {"team": "red"},
            "match_count": 1,
        }
        found: Any = alice.client.schema("ingest").rpc("match_documents", arguments).execute().data
        assert [row["content"] for row in found] == [TEXTS[0]]
        assert {*found[0]} == {"id", "content", "metadata", "similarity", "embedding"}

    def test_without_one_it_sends_an_empty_one(self, notes: None, alice: User) -> None:
        arguments: Any = {
            "query_embedding": Known().embed_query(TEXTS[3]),
            "filter": {},
            "match_count": 2,
        }
        found: Any = alice.client.schema("ingest").rpc("match_documents", arguments).execute().data
        assert len(found) == 2
        assert found[0]["content"] == TEXTS[3]

    def test_with_a_function_it_filters_and_limits_what_comes_back(
        self, notes: None, alice: User
    ) -> None:
        arguments: Any = {"query_embedding": Known().embed_query(TEXTS[0])}
        call = alice.client.schema("ingest").rpc("match_documents", arguments)
        found: Any = call.filter("metadata->>team", "eq", "blue").limit(1).execute().data
        assert [row["metadata"]["file_name"] for row in found] == ["two.txt"]


def example(name: str) -> Any:
    """A module in examples/python, which is not a package."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def known(text: str) -> tuple[Sequence[float], str]:
    """The embedding of a text, and its model."""
    return Known().embed_query(text), MODEL


class TestRetrievers:
    """The examples for LangChain and LlamaIndex."""

    def test_langchain(self, notes: None, alice: User) -> None:
        retriever = example("langchain_retriever").DocmillRetriever(
            client=alice.client, embed=known, options={"match_count": 2, "bucket": "notes"}
        )
        found = retriever.invoke("slates")
        assert found[0].page_content == TEXTS[2]
        assert UUID(found[0].id)
        assert found[0].metadata["object_name"] == f"{alice.id}/two.txt"
        assert len(found) == 2

    def test_langchain_with_what_stands_around_a_passage(self, notes: None, alice: User) -> None:
        retriever = example("langchain_retriever").DocmillRetriever(
            client=alice.client, embed=known, options={"match_count": 1, "with_context": 1}
        )
        [found] = retriever.invoke("slates")
        assert found.page_content == f"{TEXTS[2]}\n\n{TEXTS[3]}"

    def test_llama_index(self, notes: None, alice: User) -> None:
        retriever = example("llama_index_retriever").DocmillRetriever(
            alice.client, known, match_count=2, bucket="notes"
        )
        found = retriever.retrieve("slates")
        assert found[0].text == TEXTS[2]
        assert found[0].metadata["object_name"] == f"{alice.id}/two.txt"
        assert found[0].score > found[1].score

    @pytest.mark.parametrize("name", ["langchain_retriever", "llama_index_retriever"])
    def test_ask_the_function_embed(self, notes: None, alice: User, name: str) -> None:
        module = example(name)
        if name == "langchain_retriever":
            found = module.DocmillRetriever(client=alice.client).invoke("harbour")
            texts = [one.page_content for one in found]
        else:
            found = module.DocmillRetriever(alice.client).retrieve("harbour")
            texts = [one.text for one in found]
        assert texts[0] == TEXTS[3]
        assert not [text for text in texts if "bob" in text]
