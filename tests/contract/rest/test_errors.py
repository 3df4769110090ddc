"""What clients are told when something is not there or not allowed."""

from typing import Any

import pytest

from tests.contract.rest.conftest import DataApi, token


def body(code: str, message: str, details: str | None = None, hint: str | None = None) -> Any:
    return {"code": code, "message": message, "details": details, "hint": hint}


@pytest.mark.parametrize(
    ("method", "path", "status", "expected"),
    [
        ("GET", "/", 404, body("PGRST126", "Root endpoint metadata is disabled")),
        ("GET", "", 404, body("PGRST126", "Root endpoint metadata is disabled")),
        ("GET", "/a/b", 404, body("PGRST125", "Invalid path specified in request URL")),
        ("GET", "/rpc/add/more", 404, body("PGRST125", "Invalid path specified in request URL")),
        ("GET", "/things/", 404, body("PGRST125", "Invalid path specified in request URL")),
        (
            "GET",
            "/elephants",
            404,
            body("PGRST205", "Could not find the table 'public.elephants' in the schema cache"),
        ),
        (
            "GET",
            "/thingss",
            404,
            body(
                "PGRST205",
                "Could not find the table 'public.thingss' in the schema cache",
                hint="Perhaps you meant the table 'public.things'",
            ),
        ),
        (
            "GET",
            "/rpc/elephants",
            404,
            body(
                "PGRST202",
                "Could not find the function public.elephants without parameters in the schema "
                "cache",
                "Searched for the function public.elephants without parameters, but no matches "
                "were found in the schema cache.",
            ),
        ),
        (
            "POST",
            "/rpc/addd",
            404,
            body(
                "PGRST202",
                "Could not find the function public.addd without parameters in the schema cache",
                "Searched for the function public.addd without parameters or with a single "
                "unnamed json/jsonb parameter, but no matches were found in the schema cache.",
                "Perhaps you meant to call the function public.add",
            ),
        ),
        (
            "GET",
            "/rpc/add?b=1&aa=2",
            404,
            body(
                "PGRST202",
                "Could not find the function public.add(aa, b) in the schema cache",
                "Searched for the function public.add with parameters aa, b, but no matches were "
                "found in the schema cache.",
                "Perhaps you meant to call the function public.add(a, b)",
            ),
        ),
        (
            "GET",
            "/rpc/both?a=1",
            300,
            body(
                "PGRST203",
                "Could not choose the best candidate function between: "
                "public.both(a => integer), public.both(a => text)",
                hint="Try renaming the parameters or the function itself in the database so "
                "function overloading can be resolved",
            ),
        ),
        ("PUT", "/rpc/add", 405, body("PGRST101", "Cannot use the PUT method on RPC")),
        (
            "GET",
            "/things?select=id,notes(content)",
            400,
            body(
                "PGRST200",
                "Could not find a relationship between 'things' and 'notes' in the schema cache",
                "Searched for a foreign key relationship between 'things' and 'notes' in the "
                "schema 'public', but no matches were found.",
                "The embedded mode's Data API does not embed tables: ask for each by itself.",
            ),
        ),
        (
            "GET",
            "/things?notes.id=eq.1",
            400,
            body(
                "PGRST108",
                "'notes' is not an embedded resource in this request",
                hint="Verify that 'notes' is included in the 'select' query parameter.",
            ),
        ),
        (
            "GET",
            "/things?select=id,count()",
            400,
            body("PGRST123", "Use of aggregate functions is not allowed"),
        ),
        (
            "GET",
            "/things?size=under.5",
            400,
            body(
                "PGRST100",
                '"failed to parse filter (under.5)" (line 1, column 1)',
                'unexpected "u" expecting "not" or operator (eq, gt, ...)',
            ),
        ),
        (
            "GET",
            "/things?size=eq.lots",
            400,
            body("22P02", 'invalid input syntax for type numeric: "lots"'),
        ),
        (
            "GET",
            "/things?select=id::elephant",
            400,
            body("42704", 'type "elephant" does not exist'),
        ),
        (
            "GET",
            "/things?select=heights",
            400,
            body("42703", "column things.heights does not exist"),
        ),
    ],
)
def test_errors_have_postgrests_codes_and_words(
    api: DataApi, method: str, path: str, status: int, expected: Any
) -> None:
    response = api.request(method, path)
    assert (response.status_code, response.json()) == (status, expected)
    assert response.headers["proxy-status"] == f"PostgREST; error={expected['code']}"
    assert response.headers["content-type"] == "application/json; charset=utf-8"


@pytest.mark.parametrize("select", ["notes(*)", "n:notes(id)", "notes!fk(id)", "...notes(id)"])
def test_every_form_of_embedding_is_refused_the_same_way(api: DataApi, select: str) -> None:
    response = api.get(f"/things?select=id,{select}&notes.id=eq.1&notes.limit=1")
    assert (response.status_code, response.json()["code"]) == (400, "PGRST200")


@pytest.mark.parametrize(
    "query",
    [
        "order=notes(id)",
        "notes.order=id",
        "notes.limit=1",
        "notes.offset=1",
        "notes.or=(id.eq.1)",
        "notes.id=is.null",
    ],
)
def test_what_concerns_a_table_that_is_not_embedded_is_refused(api: DataApi, query: str) -> None:
    response = api.get(f"/things?{query}")
    assert (response.status_code, response.json()["code"]) == (400, "PGRST108")


@pytest.mark.parametrize("select", ["size.sum()", "size.avg()::int", "x:count()", "id.max()"])
def test_every_aggregate_is_refused(api: DataApi, select: str) -> None:
    response = api.get(f"/things?select={select}")
    assert (response.status_code, response.json()["code"]) == (400, "PGRST123")


@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT", "DELETE"])
def test_writing_to_a_table_is_not_offered(api: DataApi, method: str) -> None:
    response = api.request(method, "/notes", token(), json={"id": 9})
    assert response.status_code == 405
    assert response.headers["allow"] == "GET, HEAD"
    assert response.json()["code"] == "PGRST117"
    assert response.json()["message"] == f"Unsupported HTTP method: {method}"


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_only_exposed_schemas_can_be_named(api: DataApi, method: str) -> None:
    header = "Content_Profile" if method == "POST" else "Accept_Profile"
    for name in ("storage", "auth", "pg_catalog", 'public"; select 1; --', ""):
        response = api.request(method, "/rpc/add?a=1", **{header: name})
        assert response.status_code == 406
        assert response.json() == body(
            "PGRST106",
            f"Invalid schema: {name}",
            hint="Only the following schemas are exposed: public, ingest",
        )


@pytest.mark.parametrize(
    "accept",
    [
        "text/csv",
        "application/vnd.pgrst.plan+json",
        "application/geo+json, text/html;q=0.9",
        "application/xml",
    ],
)
def test_other_forms_are_not_available(api: DataApi, accept: str) -> None:
    response = api.get("/things", Accept=accept)
    assert response.status_code == 406
    assert response.json()["code"] == "PGRST107"
    kinds = ", ".join(part.partition(";")[0].strip() for part in accept.split(","))
    assert response.json()["message"] == f"None of these media types are available: {kinds}"


def test_unknown_preferences_are_an_error_only_when_strict(api: DataApi) -> None:
    assert api.get("/things?limit=1", Prefer="count=all, foo").status_code == 200
    for path in ("/things", "/rpc/add?a=1"):
        response = api.get(path, Prefer="handling=strict, count=all, tx=commit, foo=1")
        assert response.status_code == 400
        assert response.json() == body(
            "PGRST122",
            "Invalid preferences given with handling=strict",
            "Invalid preferences: count=all, foo=1",
        )


@pytest.mark.parametrize(
    ("content", "content_type", "message"),
    [
        (b"{", "application/json", "Empty or invalid json"),
        (b'{"a": NaN}', "application/json", "Empty or invalid json"),
        (b'{"a": "\xff"}', "application/json", "Empty or invalid json"),
        (b"[" * 100_000, "application/json", "Empty or invalid json"),
        (b"a=1", "text/csv; charset=utf-8", "Content-Type not acceptable: text/csv"),
    ],
)
def test_a_body_that_is_no_json_is_refused(
    api: DataApi, content: bytes, content_type: str, message: str
) -> None:
    response = api.request("POST", "/rpc/add", content=content, Content_Type=content_type)
    assert (response.status_code, response.json()) == (400, body("PGRST102", message))


def test_a_body_that_is_no_object_is_a_call_without_arguments(api: DataApi) -> None:
    for content in (b"5", b'"text"', b"[]", b"null"):
        response = api.request("POST", "/rpc/context", content=content)
        assert (response.status_code, response.json()["path"]) == (200, "/rpc/context")


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("PT402", 402),
        ("PT599", 599),
        ("PT9XX", 500),
        ("PTABC", 500),
        ("P0001", 400),
        ("P0002", 500),
        ("22023", 400),
        ("22000", 400),
        ("23502", 400),
        ("23503", 409),
        ("23505", 409),
        ("25006", 405),
        ("25001", 500),
        ("21000", 500),
        ("28000", 403),
        ("0P000", 403),
        ("40001", 500),
        ("42501", 401),
        ("42883", 404),
        ("42P01", 404),
        ("42P17", 500),
        ("42703", 400),
        ("53100", 503),
        ("53400", 500),
        ("54001", 500),
        ("55P03", 500),
        ("57014", 500),
        ("57P01", 503),
        ("08006", 503),
        ("09000", 500),
        ("F0000", 500),
        ("HV000", 500),
        ("XX000", 500),
        ("ZZ999", 400),
    ],
)
def test_the_sqlstate_decides_the_status(api: DataApi, state: str, status: int) -> None:
    response = api.request("POST", "/rpc/raise", json={"state": state})
    assert response.status_code == status
    assert response.json() == body(state, "said so", "a detail", "a hint")
    if state == "42501":
        assert api.request("POST", "/rpc/raise", token(), json={"state": state}).status_code == 403
