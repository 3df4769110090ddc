"""Names and values that try to become SQL, and requests that try to break the server."""

from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.contract.rest.conftest import DataApi

INJECTIONS = [
    "id; drop table public.docmill_test_notes; --",
    'id"; drop table public.docmill_test_notes; --',
    '"id""; drop table public.docmill_test_notes; --"',
    "id) union select content from public.docmill_test_notes --",
    "id' or '1'='1",
    "1=1",
    "pg_sleep(5)",
    "(select content from public.docmill_test_notes limit 1)",
    "id/**/or/**/true",
    "id\\",
    "$1",
    "%s",
    "%(x)s",
    "{}",
    "id\nfrom public.docmill_test_notes",
    "id::text::regclass",
    "current_user",
    "notes.content",
]


@pytest.fixture(autouse=True)
def _nothing_is_harmed(api: DataApi) -> Any:
    yield
    with api.target.connect() as connection:
        query = "select count(*) from public.docmill_test_notes where id < 3"
        assert connection.execute(query).fetchone() == (2,)


def refuses(response: httpx.Response) -> bool:
    """Whether it is a refusal, and not a failure of the server."""
    is_refusal = response.status_code in {400, 404, 406}
    return is_refusal and set(response.json()) == {"code", "message", "details", "hint"}


@pytest.mark.parametrize("text", INJECTIONS)
def test_a_column_is_a_name_whatever_it_holds(api: DataApi, text: str) -> None:
    name = quote('"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"')
    for query in (
        f"select={name}",
        f"select=x:{name}",
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
        f"data->>{inside}=eq.1",
        f"data->{inside}=not.is.null",
    ):
        response = api.get(f"/things?{query}")
        assert (response.status_code, response.json()) == (200, []), query
    bad_number = api.get(f"/things?id=eq.{value}")
    assert bad_number.json()["code"] == "22P02"
    assert api.post("/rpc/echo", json={"value": text}).json() == text


@pytest.mark.parametrize("text", INJECTIONS)
def test_a_table_or_function_is_a_name_whatever_it_holds(api: DataApi, text: str) -> None:
    assert api.get(f"/{quote(text, '')}").json()["code"] in {"PGRST205", "PGRST125"}
    called = api.post(f"/rpc/{quote(text, '')}", json={text: 1})
    assert called.json()["code"] in {"PGRST202", "PGRST125"}
    unknown_argument = api.post("/rpc/add", json={"a": 1, text: 1})
    assert unknown_argument.json()["code"] == "PGRST202"


@pytest.mark.parametrize(
    "query",
    ["select=%00", "id=eq.%00", "%00=eq.1", "order=id%00", "id=eq.%ff", "data->%00=is.null"],
)
def test_what_postgresql_cannot_store_is_refused(api: DataApi, query: str) -> None:
    response = api.get(f"/things?{query}")
    assert (response.status_code, response.json()["code"]) == (400, "22021")


@pytest.mark.parametrize(
    "argument", ['"\\u0000"', '"\\ud800"', '{"a": "\\u0000"}', "1e999999", '"' + "x" * 70_000 + '"']
)
def test_odd_json_is_passed_on_or_refused(api: DataApi, argument: str) -> None:
    body = f'{{"value": {argument}}}'.encode()
    response = api.post("/rpc/echo", content=body)
    assert response.status_code in {200, 400}
    names = api.post("/rpc/echo", content=f"{{{argument}: 1}}".encode())
    assert names.status_code in {400, 404}


def test_what_is_too_long_is_refused(api: DataApi) -> None:
    long = api.get(f"/things?name=eq.{'x' * 33_000}")
    assert (long.status_code, long.json()["code"]) == (414, "PGRST100")
    body = b'{"value": "' + b"x" * 1_100_000 + b'"}'
    large = api.post("/rpc/echo", content=body)
    assert (large.status_code, large.json()["code"]) == (413, "PGRST102")
    assert api.get(f"/things?select=id&{'&'.join(f'id=gt.{n}' for n in range(2000))}").json() == []


@pytest.mark.parametrize("depth", [49, 51, 5000])
def test_deep_nesting_ends(api: DataApi, depth: int) -> None:
    tree = "and(" * depth + "id.eq.1" + ")" * depth
    response = api.get(f"/things?select=id&and=({tree})")
    if depth < 50:
        assert response.json() == [{"id": 1}]
    else:
        assert (response.status_code, response.json()["code"]) == (400, "PGRST100")


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
