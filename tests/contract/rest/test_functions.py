"""Calling functions: arguments by name, results in their natural form."""

from typing import Any

import pytest
from postgrest import APIError

from tests.contract.rest.conftest import ALICE, DataApi
from tests.schema.actors import MODEL, vector_of


def call(api: DataApi, name: str, **arguments: Any) -> Any:
    """What supabase-py returns of a function."""
    return api.anon.rpc(name, arguments).execute().data


def test_each_kind_of_result_has_its_form(api: DataApi) -> None:
    assert call(api, "add", a=1, b=2) == 3
    assert call(api, "numbers", up_to=3) == [1, 2, 3]
    assert call(api, "numbers", up_to=0) == []
    assert call(api, "pairs", up_to=2) == [
        {"number": 1, "text": "n1"},
        {"number": 2, "text": "n2"},
    ]
    assert call(api, "thing", which=3)["name"] == "thing 3"
    assert [row["id"] for row in call(api, "things_from", first=13)] == [13, 14]
    assert call(api, "echo", value={"a": [1, None]}) == {"a": [1, None]}
    assert call(api, "echo", value=None) is None


def test_a_function_that_returns_nothing_answers_204(api: DataApi) -> None:
    response = api.request("POST", "/rpc/nothing")
    assert (response.status_code, response.content) == (204, b"")
    assert "content-type" not in response.headers
    assert api.request("POST", "/rpc/nothing", json={}).status_code == 204


def test_defaults_apply_to_what_is_not_given(api: DataApi) -> None:
    assert call(api, "add", a=1) == 11
    assert api.request("POST", "/rpc/add", json={"a": None, "b": 1}).json() is None


def test_arguments_take_the_type_of_their_parameter(api: DataApi) -> None:
    assert call(api, "add", a="5", b=1) == 6
    assert call(api, "joined", words=["a", "b,c", 'd"']) == 'a+b,c+d"'
    response = api.request("POST", "/rpc/add", json={"a": "five"})
    assert (response.status_code, response.json()["code"]) == (400, "22P02")


def test_get_passes_arguments_in_the_query_string(api: DataApi) -> None:
    assert api.get("/rpc/add?a=1&b=2").json() == 3
    assert api.get("/rpc/add?a=1&a=4").json() == 14, "the last counts"
    assert api.get("/rpc/joined?words=a&words=b%22,c").json() == 'a+b",c'
    assert api.get('/rpc/echo?value={"a":1}').json() == {"a": 1}
    assert api.request("HEAD", "/rpc/add?a=1").status_code == 200
    read = api.anon.rpc("add", {"a": 1, "b": 5}, get=True).execute()
    assert read.data == 6


def test_filters_order_and_limit_apply_to_a_result(api: DataApi) -> None:
    rows = api.anon.rpc("pairs", {"up_to": 9}).gt("number", 3).order("number", desc=True).limit(2)
    assert [row["number"] for row in rows.execute().data] == [9, 8]
    response = api.request(
        "POST",
        "/rpc/things_from?select=id,deep:data->deep->list->0&id=lt.5&limit=1",
        json={"first": 3},
        Prefer="count=exact",
    )
    assert response.json() == [{"id": 3, "deep": 3}]
    assert (response.status_code, response.headers["content-range"]) == (206, "0-0/2")
    get = api.get("/rpc/pairs?up_to=9&number=in.(2,4)&order=number.desc&select=text")
    assert get.json() == [{"text": "n4"}, {"text": "n2"}]


@pytest.mark.parametrize(
    ("count", "content_range"), [("exact", "0-1/4"), ("estimated", "0-1/4"), ("planned", "0-1/*")]
)
def test_counts_of_a_result(api: DataApi, count: str, content_range: str) -> None:
    response = api.get("/rpc/numbers?up_to=4&limit=2", Prefer=f"count={count}")
    assert response.headers["content-range"] == content_range


def test_one_object_of_a_result(api: DataApi) -> None:
    one = api.anon.rpc("pairs", {"up_to": 1}).single().execute()
    assert one.data == {"number": 1, "text": "n1"}
    with pytest.raises(APIError, match="PGRST116"):
        api.anon.rpc("pairs", {"up_to": 2}).single().execute()
    accept = "application/vnd.pgrst.object+json"
    single = api.request("POST", "/rpc/add", json={"a": 1}, Accept=accept)
    assert single.json() == 11
    assert single.headers["content-type"] == f"{accept}; charset=utf-8"


def test_the_whole_body_goes_to_an_unnamed_json_parameter(api: DataApi) -> None:
    body = {"anything": [1, {"x": None}]}
    assert api.request("POST", "/rpc/whole", json=body).json() == body


def test_of_several_objects_the_first_is_passed(api: DataApi) -> None:
    first = [{"a": 1, "b": 2}, {"a": 3, "b": 4}]
    assert api.request("POST", "/rpc/add", json=first).json() == 3
    unlike = api.request("POST", "/rpc/add", json=[{"a": 1}, {"b": 2}])
    assert (unlike.status_code, unlike.json()) == (
        400,
        {
            "code": "PGRST102",
            "message": "All object keys must match",
            "details": None,
            "hint": None,
        },
    )


def test_an_affected_limit_is_kept_only_when_strict(api: DataApi) -> None:
    def prefer(wishes: str, name: str = "numbers") -> Any:
        arguments = {"up_to": 3} if name == "numbers" else {"a": 1}
        return api.request("POST", f"/rpc/{name}", json=arguments, Prefer=wishes)

    assert prefer("max-affected=2").status_code == 200
    assert prefer("handling=strict, max-affected=3").headers["preference-applied"] == (
        "handling=strict, max-affected=3"
    )
    exceeded = prefer("handling=strict, max-affected=2")
    assert (exceeded.status_code, exceeded.json()) == (
        400,
        {
            "code": "PGRST124",
            "message": "Query result exceeds max-affected preference constraint",
            "details": "The query affects 3 rows",
            "hint": None,
        },
    )
    single = prefer("handling=strict, max-affected=2", "add")
    assert (single.status_code, single.json()["code"]) == (400, "PGRST128")


def test_docmills_search_answers_its_owner(api: DataApi) -> None:
    embedding = [float(number) for number in vector_of(f"text of {ALICE}")]
    arguments = {"query_embedding": embedding, "model": MODEL, "match_count": 5}
    found = api.alice.schema("ingest").rpc("match_chunks", arguments).execute().data
    assert [hit["content"] for hit in found] == [f"text of {ALICE}"]
    assert found[0]["score"] > 0.99
    as_text = {**arguments, "query_embedding": str(embedding)}
    picked = api.alice.schema("ingest").rpc("match_chunks", as_text).select("object_name")
    assert picked.execute().data == [{"object_name": f"{ALICE}/report.pdf"}]
    strangers = api.bob.schema("ingest").rpc("match_chunks", arguments).execute().data
    assert [hit["content"] for hit in strangers if ALICE in hit["content"]] == []
    wrong_width = {**arguments, "query_embedding": [1, 2, 3]}
    with pytest.raises(APIError, match="the query embedding has 3 dimensions"):
        api.alice.schema("ingest").rpc("match_chunks", wrong_width).execute()


def test_docmills_requests_obey_the_owner(api: DataApi) -> None:
    (job,) = api.alice.schema("ingest").table("jobs").select("id,state").execute().data
    explained = api.alice.schema("ingest").rpc("explain_job", {"job_id": job["id"]}).execute()
    assert explained.data[0]["state"] == job["state"] == "succeeded"
    for name in ("explain_job", "cancel_job", "retry_job"):
        with pytest.raises(APIError) as refused:
            api.bob.schema("ingest").rpc(name, {"job_id": job["id"]}).execute()
        assert refused.value.code == "PT404"
    path = "/rpc/explain_job"
    response = api.request(
        "POST",
        path,
        api.bob.options.headers["Authorization"].removeprefix("Bearer "),
        json={"job_id": job["id"]},
        Content_Profile="ingest",
    )
    assert response.status_code == 404
