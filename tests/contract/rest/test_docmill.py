"""docmill's own tables and functions, in the requests of its clients."""

from typing import Any
from uuid import uuid4

import pytest
from postgrest import APIError

from tests.contract.target import Target, User
from tests.schema.actors import MODEL, vector_of

TABLES = ["documents", "jobs", "chunks", "chunk_positions", "index_versions"]


def ingest(target: Target) -> Any:
    return target.service.schema("ingest")


@pytest.mark.parametrize("table", TABLES)
def test_the_secret_key_reads_every_table(target: Target, table: str) -> None:
    page = ingest(target).table(table).select("*", count="exact").limit(1).execute()
    assert page.count >= len(page.data)
    head = ingest(target).table(table).select("*", count="exact", head=True).execute()
    assert head.count == page.count


def test_what_the_examples_ask_is_answered(target: Target) -> None:
    uploaded = {"bucket_id": "none", "object_name": "none", "storage_version": str(uuid4())}
    jobs = ingest(target).table("jobs").select("*").match(uploaded)
    assert jobs.order("created_at", desc=True).limit(1).execute().data == []
    columns = "id, object_name, title, status, searchable, page_count, chunk_count, error_code"
    documents = ingest(target).table("documents").select(columns)
    for row in documents.order("created_at", desc=True).limit(2).execute().data:
        assert set(row) == set(columns.split(", "))
    assert ingest(target).table("jobs").select("*").in_("id", [str(uuid4())]).execute().data == []


@pytest.mark.parametrize("name", ["explain_job", "cancel_job", "retry_job"])
def test_there_is_no_job_of_a_strangers_id(target: Target, name: str) -> None:
    with pytest.raises(APIError) as refused:
        ingest(target).rpc(name, {"job_id": str(uuid4())}).execute()
    assert refused.value.code == "PT404"


def test_a_search_wants_the_dimensions_of_the_index(target: Target) -> None:
    (index, *_) = (
        ingest(target)
        .table("index_versions")
        .select("model,dimensions")
        .eq("state", "active")
        .execute()
        .data
    )
    arguments = {"query_embedding": "[1, 2]", "model": index["model"]}
    with pytest.raises(APIError, match="the query embedding has 2 dimensions"):
        ingest(target).rpc("match_chunks", arguments).execute()
    embedding = str([0.1] * index["dimensions"])
    found = ingest(target).rpc("match_chunks", {**arguments, "query_embedding": embedding})
    assert isinstance(found.limit(1).execute().data, list)


@pytest.mark.parametrize("table", TABLES[:-1])
def test_the_publishable_key_reads_nothing(target: Target, table: str) -> None:
    with pytest.raises(APIError, match="permission denied for schema ingest"):
        target.anonymous().schema("ingest").table(table).select("*").execute()


@pytest.mark.embedded_only("makes documents by SQL")
@pytest.mark.usefixtures("own_documents")
def test_users_read_and_find_their_own(target: Target, alice: User, bob: User) -> None:
    def count(client: Any, table: str) -> int:
        query = client.schema("ingest").table(table).select("*", count="exact", head=True)
        found: int = query.execute().count
        return found

    for table in TABLES[:-1]:
        assert [count(who, table) for who in (alice.client, bob.client, target.service)] == [
            *(1, 1, 2)
        ]
    embedding = [float(number) for number in vector_of(f"text of {alice.id}")]
    arguments: Any = {"query_embedding": embedding, "model": MODEL, "match_count": 5}
    found: Any = alice.client.schema("ingest").rpc("match_chunks", arguments).execute().data
    assert [hit["content"] for hit in found] == [f"text of {alice.id}"]
    assert found[0]["score"] > 0.99
    as_text: Any = {**arguments, "query_embedding": str(embedding)}
    picked = alice.client.schema("ingest").rpc("match_chunks", as_text).select("object_name")
    assert picked.execute().data == [{"object_name": f"{alice.id}/report.pdf"}]
    strangers: Any = bob.client.schema("ingest").rpc("match_chunks", arguments).execute().data
    assert not [hit for hit in strangers if alice.id in hit["content"]]


@pytest.mark.embedded_only("makes documents by SQL")
@pytest.mark.usefixtures("own_documents")
def test_requests_obey_the_owner(alice: User, bob: User) -> None:
    jobs: Any = alice.client.schema("ingest").table("jobs").select("id,state").execute().data
    (job,) = jobs
    explained: Any = alice.client.schema("ingest").rpc("explain_job", {"job_id": job["id"]})
    assert explained.execute().data[0]["state"] == job["state"] == "succeeded"
    for name in ("explain_job", "cancel_job", "retry_job"):
        with pytest.raises(APIError) as refused:
            bob.client.schema("ingest").rpc(name, {"job_id": job["id"]}).execute()
        assert refused.value.code == "PT404"
