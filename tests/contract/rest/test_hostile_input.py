"""Names and values that try to become SQL, and requests that try to break the server."""

from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.contract.rest.conftest import ALICE, DataApi, signed, token

INJECTIONS = [
    "id; drop table public.notes; --",
    'id"; drop table public.notes; --',
    '"id""; drop table public.notes; --"',
    "id) union select content from public.notes --",
    "id' or '1'='1",
    "1=1",
    "pg_sleep(5)",
    "(select content from public.notes limit 1)",
    "id/**/or/**/true",
    "id\\",
    "$1",
    "%s",
    "%(x)s",
    "{}",
    "id\nfrom public.notes",
    "id::text::regclass",
    "current_user",
    "notes.content",
]


@pytest.fixture(autouse=True)
def _nothing_is_harmed(api: DataApi) -> Any:
    yield
    with api.database.connect() as connection:
        assert connection.execute("select count(*) from public.notes").fetchone() == (2,)


def refuses(response: httpx.Response) -> bool:
    """A refusal, not a failure of the server."""
    is_refusal = response.status_code in {400, 404, 406}
    return is_refusal and set(response.json()) == {"code", "message", "details", "hint"}


@pytest.mark.parametrize("text", INJECTIONS)
def test_a_column_is_a_name_whatever_it_holds(api: DataApi, text: str) -> None:
    name = quote('"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"')
    for query in (
        f"select={name}",
        f"select=x:{name}",
        f"select={name}::text",
        f"select=data->{name}->{name}&{name}=eq.1",
        f"{name}=eq.1",
        f"order={name}.desc",
        f"or=({name}.eq.1,id.eq.1)",
    ):
        response = api.get(f"/things?{query}")
        assert refuses(response), f"{query}: {response.text}"
        assert response.json()["code"] == "42703", f"{query}: {response.text}"
    alias = api.get(f"/things?select={name}:id&id=eq.1")
    assert list(alias.json()[0]) == [text.encode()[:63].decode(errors="ignore")]


@pytest.mark.parametrize("text", INJECTIONS)
def test_unquoted_it_is_refused_or_a_name(api: DataApi, text: str) -> None:
    for query in (
        f"select={quote(text)}",
        f"{quote(text)}=eq.1",
        f"order={quote(text)}",
        f"or=({quote(text)}.eq.1)",
        f"select=id::{quote(text)}",
    ):
        assert refuses(api.get(f"/things?{query}")), query


@pytest.mark.parametrize("text", INJECTIONS)
def test_a_value_is_a_value_whatever_it_holds(api: DataApi, text: str) -> None:
    value = quote(text)
    inside = quote('"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"')
    for query in (
        f"name=eq.{value}",
        f"name=in.({inside})",
        f"or=(name.eq.{inside})",
        f"name=eq(any).{{{inside}}}",
        f"data->>{inside}=eq.1",
        f"data->{inside}=not.is.null",
    ):
        response = api.get(f"/things?{query}")
        assert (response.status_code, response.json()) == (200, []), query
    bad_number = api.get(f"/things?id=eq.{value}")
    assert bad_number.json()["code"] == "22P02"
    bad_language = api.get(f"/things?name=fts({value}).x")
    assert refuses(bad_language)
    echoed = api.request("POST", "/rpc/echo", json={"value": text})
    assert echoed.json() == text
    assert api.get(f"/rpc/joined?words={value}").json() == text


@pytest.mark.parametrize("text", INJECTIONS)
def test_a_table_or_function_is_a_name_whatever_it_holds(api: DataApi, text: str) -> None:
    assert api.get(f"/{quote(text, '')}").json()["code"] in {"PGRST205", "PGRST125"}
    called = api.request("POST", f"/rpc/{quote(text, '')}", json={text: 1})
    assert called.json()["code"] in {"PGRST202", "PGRST125"}
    unknown_argument = api.request("POST", "/rpc/add", json={"a": 1, text: 1})
    assert unknown_argument.json()["code"] == "PGRST202"


@pytest.mark.parametrize("text", INJECTIONS)
def test_headers_and_claims_are_data(api: DataApi, text: str) -> None:
    bearer = signed(role="authenticated", sub=text, note=text)
    line = text.replace("\n", " ")
    seen = api.get("/rpc/context?kind=x", bearer)
    assert seen.status_code == 404
    response = api.get("/notes", bearer, X_Note=line)
    assert response.json() == []
    # PostgreSQL takes nearly any text for a time zone of POSIX's form.
    zoned = api.get("/rpc/add?a=1", Prefer=f"timezone={line}")
    assert zoned.json() == 11 or zoned.json()["code"] == "22023"
    assert api.get("/things", Accept_Profile=line).status_code == 406


@pytest.mark.parametrize(
    "query",
    ["select=%00", "id=eq.%00", "%00=eq.1", "order=id%00", "id=eq.%ff", "data->%00=is.null"],
)
def test_what_postgresql_cannot_store_is_refused(api: DataApi, query: str) -> None:
    response = api.get(f"/things?{query}")
    assert (response.status_code, response.json()["code"]) == (400, "22021")
    assert api.get("/%ff").json()["code"] == "22021"
    assert api.get("/a%00").json()["code"] == "22021"


@pytest.mark.parametrize(
    "argument", ['"\\u0000"', '"\\ud800"', '{"a": "\\u0000"}', "1e999999", '"' + "x" * 70_000 + '"']
)
def test_odd_json_is_passed_on_or_refused(api: DataApi, argument: str) -> None:
    body = f'{{"value": {argument}}}'.encode()
    response = api.request("POST", "/rpc/echo", content=body)
    assert response.status_code in {200, 400}
    names = api.request("POST", "/rpc/echo", content=f"{{{argument}: 1}}".encode())
    assert names.status_code in {400, 404}


def test_what_is_too_long_is_refused(api: DataApi) -> None:
    long = api.get(f"/things?name=eq.{'x' * 33_000}")
    assert (long.status_code, long.json()["code"]) == (414, "PGRST100")
    body = b'{"value": "' + b"x" * 1_100_000 + b'"}'
    large = api.request("POST", "/rpc/echo", content=body)
    assert (large.status_code, large.json()["code"]) == (413, "PGRST102")
    many = "&".join(f"id=gt.{number}" for number in range(2000))
    assert api.get(f"/things?select=id&{many}").json() == []


@pytest.mark.parametrize("depth", [49, 51, 5000])
def test_deep_nesting_ends(api: DataApi, depth: int) -> None:
    tree = "and(" * depth + "id.eq.1" + ")" * depth
    response = api.get(f"/things?select=id&and=({tree})")
    if depth < 50:
        assert response.json() == [{"id": 1}]
    else:
        assert (response.status_code, response.json()["code"]) == (400, "PGRST100")


def test_a_users_claims_cannot_reach_a_strangers_rows(api: DataApi) -> None:
    for claims in (
        {"sub": f"{ALICE}' or true --"},
        {"sub": [ALICE]},
        {"sub": {"sub": ALICE}},
        {"SUB": ALICE},
        {"sub": ALICE.upper() + " "},
    ):
        response = api.get("/notes", signed(role="authenticated", **claims))
        assert response.status_code == 200
        assert [row for row in response.json() if row["content"] == "alice's"] == []


def test_a_filter_cannot_ask_the_catalog(api: DataApi) -> None:
    response = api.get("/things?select=id,tableoid::regclass&id=eq.1", token())
    # What every column name can: the system columns of the caller's own table, nothing else.
    assert response.json() == [{"id": 1, "tableoid": "things"}]
    assert refuses(api.get("/things?select=pg_class", token()))


@given(query=st.text(max_size=40), key=st.sampled_from(["select", "order", "or", "id", "rel.id"]))
@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_whatever_is_asked_is_answered(api: DataApi, key: str, query: str) -> None:
    # Half of a surrogate pair cannot be sent.
    encoded = quote(query.encode(errors="replace").decode())
    response = api.get(f"/things?limit=1&{key}={encoded}")
    assert response.status_code == 200 or refuses(response), response.text
