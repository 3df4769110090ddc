"""Reading tables: which columns and rows come back, in which order and form."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import pytest
from postgrest import APIError

from tests.contract.rest.conftest import DataApi

#: The thing whose name contains every special character of the grammar.
TRICKY = 'a,b.c(d)"e\\f*%'


def ids(response: Any) -> list[int]:
    """Ids of the rows in an answer of supabase-py or of plain HTTP."""
    rows: Sequence[dict[str, Any]] = response.data if hasattr(response, "data") else response.json()
    return [row["id"] for row in rows]


def things(api: DataApi) -> Any:
    return api.anon.table("docmill_test_things")


def test_all_columns_come_as_json_of_their_types(api: DataApi) -> None:
    (row,) = things(api).select("*").eq("id", 2).execute().data
    assert row == {
        "id": 2,
        "name": "thing 2",
        "size": 1,
        "made": "2026-01-03",
        "data": {"n": 2, "deep": {"list": [2, "x"]}, "a.b": "dotted", "nothing": None},
        "tags": ["t2", "all"],
        "flag": False,
        'odd "name%s': "odd2",
    }
    assert api.get("/things?id=eq.2").json() == api.get("/things?id=eq.2&select=").json() == [row]


@pytest.mark.parametrize(
    ("select", "expected"),
    [
        ("id,name", {"id": 4, "name": "thing 4"}),
        ("label:name", {"label": "thing 4"}),
        ('"a label":name', {"a label": "thing 4"}),
        ("a-label:name", {"a-label": "thing 4"}),
        ("data->n", {"n": 4}),
        ("data->>n", {"n": "4"}),
        ("data->deep->list->0", {"list": 4}),
        ("data->deep->list->>-1", {"list": "x"}),
        ("x:data->deep->list->1", {"x": "x"}),
        ('data->>"a.b"', {"a.b": "dotted"}),
        ("data->missing->deeper", {"deeper": None}),
        ("tags->0", {"tags": "t1"}),
        ('"odd \\"name%s"', {'odd "name%s': "odd4"}),
        (" id , name ", {"id": 4, "name": "thing 4"}),
    ],
)
def test_columns_can_be_named_and_looked_into(
    api: DataApi, select: str, expected: dict[str, Any]
) -> None:
    assert api.get(f"/things?id=eq.4&select={quote(select)}").json() == [expected]
    assert "number" in api.get("/things?id=eq.4&select=number:id,*").json()[0]


def test_filters_of_supabase_py_mean_what_they_say(api: DataApi) -> None:
    def found(query: Any) -> list[int]:
        return ids(query.order("id").execute())

    def select() -> Any:
        return things(api).select("id")

    assert found(select().eq("id", 3)) == [3]
    assert found(select().neq("id", 3).lt("id", 5)) == [1, 2, 4]
    assert found(select().gt("size", 5.5)) == [12]
    assert found(select().gte("size", 5.5)) == [11, 12]
    assert found(select().lte("made", "2026-01-02")) == [1]
    assert found(select().like("name", "%1_")) == [10, 11, 12]
    assert found(select().ilike("name", "*THING 1")) == [1]
    assert found(select().is_("name", "null")) == [13]
    assert found(select().not_.is_("name", "null").gt("id", 12)) == [14]
    assert found(select().is_("flag", "true").lt("id", 5)) == [1, 4]
    assert found(select().in_("id", [1, 5, 99])) == [1, 5]
    assert found(select().in_("name", [TRICKY, "thing 2"])) == [2, 14]
    assert found(select().in_("id", [])) == []
    assert found(select().contains("tags", ["t1"]).lt("id", 6)) == [1, 4]
    assert found(select().contains("data", {"n": 7})) == [7]
    assert found(select().match({"id": 5, "name": "thing 5"})) == [5]
    assert found(select().or_("id.eq.1,and(id.gt.4,id.lt.7)")) == [1, 5, 6]
    assert found(select().eq("data->>n", "8")) == [8]
    assert found(select().eq("name", TRICKY)) == [14]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ("id=not.gt.2", [1, 2]),
        ("flag=is.FALSE&id=lt.6", [2, 5]),
        ("or=(id.eq.1,id.eq.2)&id=gt.1", [2]),
        ("and=(id.gte.2,or(id.eq.3,name.eq.thing 2))", [2, 3]),
        ("not.or=(id.lt.12,name.is.null)", [12, 14]),
        ("not.and=(id.gte.2,id.lte.14)", [1]),
        ("or=(id.not.gt.1,not.and(id.lt.14,id.gt.1))", [1, 14]),
        ('or=(name.in.(thing 1,"thing 2"),tags.cs.{t0,all})&id=lt.5', [1, 2, 3]),
        ('or=(name.eq."a,b.c(d)\\"e\\\\f*%25",id.eq.1)', [1, 14]),
        ("or=( id.eq.1 , id.eq.2 )", [1, 2]),
        ("data->deep->list->0=eq.3", [3]),
        ('data->>"a.b"=eq.dotted&id=lt.3', [1, 2]),
        ('"odd \\"name%25s"=eq.odd6', [6]),
        ('name=in.("thing 1",thing 3)', [1, 3]),
        ('name=in.("thing\\" 1")', []),
        ("id=in.()", []),
        ("name=eq.", []),
        ("name=like.a,b*f\\*\\%25", []),
    ],
)
def test_filters_in_the_form_of_the_query_string(
    api: DataApi, filters: str, expected: list[int]
) -> None:
    response = api.get(f"/things?select=id&order=id&{filters}")
    assert response.status_code == 200, response.text
    assert ids(response) == expected


def test_rows_are_sorted_as_asked(api: DataApi) -> None:
    def select() -> Any:
        return things(api).select("id")

    assert ids(select().order("id", desc=True).limit(2).execute()) == [14, 13]
    assert ids(select().order("name", nullsfirst=True).limit(1).execute()) == [13]
    two = select().in_("id", [1, 2, 4, 5]).order("flag", desc=True).order("id")
    assert ids(two.execute()) == [1, 4, 2, 5]
    assert ids(api.get("/things?select=id&order=name.desc.nullslast,id&limit=1")) == [9]
    assert ids(api.get("/things?select=id&order=name.desc&limit=1")) == [13]
    assert ids(api.get("/things?select=id&order=data->n.desc.nullslast,id&limit=2")) == [12, 11]
    assert ids(api.get('/things?select=id&order="odd \\"name%25s".nullsfirst,id&limit=1')) == [13]


@pytest.mark.parametrize(
    ("query", "prefer", "status", "content_range"),
    [
        ("", "", 200, "0-13/*"),
        ("limit=3&offset=12", "", 200, "12-13/*"),
        ("offset=20", "", 200, "*/*"),
        ("limit=0", "", 200, "*/*"),
        ("id=lt.1", "count=exact", 200, "*/0"),
        ("limit=3", "count=exact", 206, "0-2/14"),
        ("limit=14", "count=exact", 200, "0-13/14"),
        ("offset=14", "count=exact", 206, "*/14"),
        ("id=lt.5&limit=2", "count=exact", 206, "0-1/4"),
        ("limit=3", "count=estimated", 206, "0-2/14"),
    ],
)
def test_ranges_and_counts(
    api: DataApi, query: str, prefer: str, status: int, content_range: str
) -> None:
    headers = {"Prefer": prefer} if prefer else {}
    response = api.get(f"/things?select=id&order=id&{query}", **headers)
    assert (response.status_code, response.headers["content-range"]) == (status, content_range)


def test_counts_of_supabase_py(api: DataApi) -> None:
    page = things(api).select("id", count="exact").order("id").range(1, 2).execute()
    assert (ids(page), page.count) == ([2, 3], 14)
    head = things(api).select("*", count="exact", head=True).gt("id", 10).execute()
    assert (head.data, head.count) == ([], 4)


def test_no_answer_has_more_rows_than_the_project_allows(api: DataApi) -> None:
    """Supabase's default is 1000."""
    everything = api.anon.table("docmill_test_many").select("id", count="exact").execute()
    assert (len(everything.data), everything.count) == (1000, 2500)
    asked = api.get("/many?limit=2000", Prefer="count=exact")
    assert (asked.status_code, asked.headers["content-range"]) == (206, "0-999/2500")
    assert len(api.get("/many?offset=2400").json()) == 100
    assert len(api.post("/rpc/numbers", json={"up_to": 1500}).json()) == 1000


def test_rows_behind_the_last_are_not_satisfiable(api: DataApi) -> None:
    response = api.get("/things?offset=15", Prefer="count=exact")
    assert response.status_code == 416
    assert response.headers["content-range"] == "*/14"
    assert response.json() == {
        "code": "PGRST103",
        "message": "Requested range not satisfiable",
        "details": "An offset of 15 was requested, but there are only 14 rows.",
        "hint": None,
    }
    assert api.get("/things?limit=-1").json()["code"] == "PGRST103"


def test_one_object_instead_of_a_list(api: DataApi) -> None:
    one = things(api).select("id").eq("id", 3).single().execute()
    assert one.data == {"id": 3}
    for where, count in (("id.eq.99", 0), ("id.lt.3", 2)):
        with pytest.raises(APIError) as refused:
            things(api).select("id").or_(where).single().execute()
        assert refused.value.json() == {
            "code": "PGRST116",
            "message": "Cannot coerce the result to a single JSON object",
            "details": f"The result contains {count} rows",
            "hint": None,
        }
    maybe = things(api).select("id").eq("id", 99).maybe_single().execute()
    assert maybe is None or maybe.data is None


def test_head_is_get_without_a_body(api: DataApi) -> None:
    query = "/things?select=id&id=lt.5"
    head = api.request("HEAD", query, Prefer="count=exact")
    get = api.get(query, Prefer="count=exact")
    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-range", "content-type"):
        assert head.headers[name] == get.headers[name]
    assert get.headers["content-type"] == "application/json; charset=utf-8"


def test_a_page_on_another_port_may_read_and_see_the_count(api: DataApi) -> None:
    origin = "http://localhost:3000"
    response = api.get("/things?limit=1", Origin=origin, Prefer="count=exact")
    assert response.headers["access-control-allow-origin"] in ("*", origin)
    exposed = response.headers["access-control-expose-headers"].lower()
    assert exposed == "*" or "content-range" in exposed
