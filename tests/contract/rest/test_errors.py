"""Answers if something does not exist or is not allowed."""

import pytest

from tests.contract.rest.conftest import DataApi


@pytest.mark.parametrize(
    ("method", "path", "status", "code", "message"),
    [
        ("GET", "/rpc/add/more", 404, "PGRST125", "Invalid path specified in request URL"),
        ("GET", "/things/", 404, "PGRST125", "Invalid path specified in request URL"),
        (
            *("GET", "/elephants", 404, "PGRST205"),
            "Could not find the table 'public.docmill_test_elephants' in the schema cache",
        ),
        (
            *("POST", "/rpc/elephants", 404, "PGRST202"),
            "Could not find the function public.docmill_test_elephants without parameters in the",
        ),
        ("GET", "/things?size=eq.lots", 400, "22P02", "invalid input syntax for type numeric"),
        ("GET", "/things?select=heights", 400, "42703", "column docmill_test_things.heights does"),
        ("GET", "/things?size=under.5", 400, "PGRST100", '"failed to parse filter (under.5)"'),
        ("GET", "/things?id=in.1,2", 400, "PGRST100", '"failed to parse filter (in.1,2)"'),
        ("GET", "/things?or=(id.eq.1", 400, "PGRST100", '"failed to parse logic tree ('),
        ("GET", "/things?order=id.up", 400, "PGRST100", '"failed to parse order (id.up)"'),
        ("GET", "/things?select=id,", 400, "PGRST100", '"failed to parse select parameter (id,)"'),
        (
            "GET",
            "/things?select=id,notes(content)",
            400,
            "PGRST200",
            "Could not find a relationship",
        ),
    ],
)
def test_errors_have_postgrests_codes_and_words(
    api: DataApi, method: str, path: str, status: int, code: str, message: str
) -> None:
    response = api.request(method, path)
    body = response.json()
    assert (response.status_code, body["code"]) == (status, code), body
    assert body["message"].startswith(message)
    assert set(body) == {"code", "message", "details", "hint"}


@pytest.mark.embedded_only("PostgREST understands these")
@pytest.mark.parametrize(
    "query",
    [
        *("select=id::text", "select=size.sum()", "select=count()", "notes.limit=1"),
        *("id=eq(any).{1}", "id=isdistinct.1", "name=match.x", "name=fts.x", "tags=ov.{a}"),
        *("tags=cd.{a}", "id=is.unknown", "notes.id=eq.1", "select=...notes(id)"),
    ],
)
def test_what_is_not_there_is_refused(api: DataApi, query: str) -> None:
    response = api.get(f"/things?{query}")
    assert (response.status_code, response.json()["code"]) in {(400, "PGRST100"), (400, "PGRST200")}


@pytest.mark.embedded_only("PostgREST writes to tables, and calls functions with GET")
def test_other_methods_are_refused(api: DataApi) -> None:
    for method, path in (
        *(("POST", "/notes"), ("PATCH", "/notes"), ("PUT", "/notes"), ("DELETE", "/notes")),
        *(("GET", "/rpc/add?a=1"), ("PUT", "/rpc/add")),
    ):
        response = api.request(method, path, api.alice.token)
        assert (response.status_code, response.json()["code"]) == (405, "PGRST117")
        assert response.headers["allow"] == ("POST" if "rpc" in path else "GET, HEAD")


@pytest.mark.parametrize("name", ["pg_catalog", 'public"; select 1; --', "ingest_private"])
def test_only_exposed_schemas_can_be_named(api: DataApi, name: str) -> None:
    for method, header in (("GET", "Accept_Profile"), ("POST", "Content_Profile")):
        path = "/things" if method == "GET" else "/rpc/add"
        response = api.request(method, path, api.alice.token, **{header: name})
        assert (response.status_code, response.json()["code"]) == (406, "PGRST106")
        assert response.json()["message"] == f"Invalid schema: {name}"


def test_another_form_is_not_available(api: DataApi) -> None:
    response = api.get("/things", Accept="application/xml")
    assert (response.status_code, response.json()["code"]) == (406, "PGRST107")
    assert response.json()["message"].startswith("None of these media types are available: ")


@pytest.mark.embedded_only("PostgREST has these forms")
@pytest.mark.parametrize(
    "accept",
    [
        *("text/csv", "application/geo+json", "application/vnd.pgrst.plan+json"),
        "application/vnd.pgrst.array+json;nulls=stripped",
    ],
)
def test_other_forms_of_supabase_js_are_refused(api: DataApi, accept: str) -> None:
    assert api.get("/things", Accept=accept).json()["code"] == "PGRST107"


def test_unknown_preferences_are_an_error_only_when_strict(api: DataApi) -> None:
    assert api.get("/things?limit=1", Prefer="count=all, foo").status_code == 200
    response = api.get("/things", Prefer="handling=strict, count=exact, foo=1")
    assert (response.status_code, response.json()["code"]) == (400, "PGRST122")
    assert response.json()["details"] == "Invalid preferences: foo=1"


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        *((b"{", "application/json"), (b'{"a": NaN}', "application/json")),
        *((b'{"a": "\xff"}', "application/json"), (b"a=1", "application/xml")),
    ],
)
def test_a_body_that_is_no_json_is_refused(api: DataApi, content: bytes, content_type: str) -> None:
    response = api.post("/rpc/add", content=content, Content_Type=content_type)
    assert (response.status_code, response.json()["code"]) == (400, "PGRST102")


@pytest.mark.embedded_only("PostgREST takes these for calls without arguments")
def test_a_body_that_is_no_object_is_refused(api: DataApi) -> None:
    for content in (b"5", b'"text"', b"[]", b"null", b"[" * 100_000):
        response = api.post("/rpc/context", content=content)
        assert (response.status_code, response.json()["code"]) == (400, "PGRST102")


@pytest.mark.parametrize(
    ("state", "status"),
    [
        *(("PT402", 402), ("PT404", 404), ("PT9XX", 500), ("P0001", 400), ("P0002", 500)),
        *(("22023", 400), ("22000", 400), ("23502", 400), ("23503", 409), ("23505", 409)),
        *(("25006", 405), ("21000", 500), ("28000", 403), ("40001", 500), ("42501", 401)),
        *(("42883", 404), ("42P01", 404), ("42P17", 500), ("42703", 400), ("53100", 503)),
        *(("55P03", 500), ("57014", 500), ("XX000", 500), ("ZZ999", 400)),
    ],
)
def test_the_sqlstate_decides_the_status(api: DataApi, state: str, status: int) -> None:
    response = api.post("/rpc/raise", json={"state": state})
    assert response.status_code == status
    assert response.json() == {
        "code": state,
        "message": "said so",
        "details": "a detail",
        "hint": "a hint",
    }
    if state == "42501":
        again = api.post("/rpc/raise", api.alice.token, json={"state": state})
        assert again.status_code == 403
