"""Reading tables: which columns and rows come back, in which order and form."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import pytest
from postgrest import APIError

from tests.contract.rest.conftest import DataApi

#: The thing whose name holds every character that the grammar knows.
TRICKY = 'a,b.c(d)"e\\f*%'
LOWER_ABOVE_UPPER = (
    "The lower boundary must be lower than or equal to the upper boundary in the Range header."
)


def ids(response: Any) -> list[int]:
    """Ids of the rows in an answer of supabase-py or of plain HTTP."""
    rows: Sequence[dict[str, Any]] = response.data if hasattr(response, "data") else response.json()
    return [row["id"] for row in rows]


def test_all_columns_come_as_json_of_their_types(api: DataApi) -> None:
    (row,) = api.anon.table("things").select("*").eq("id", 2).execute().data
    assert row == {
        "id": 2,
        "name": "thing 2",
        "size": 1,
        "made": "2026-01-03",
        "data": {"n": 2, "deep": {"list": [2, "x"]}, "a.b": "dotted", "nothing": None},
        "plain": {"n": 2},
        "tags": ["t2", "all"],
        "span": "[2,5)",
        "words": "'2':3 'number':2 'run':1",
        "flag": False,
        'odd "name%s': "odd2",
        "code": "2",
    }


def test_an_empty_select_is_all_columns(api: DataApi) -> None:
    row = api.get("/things?id=eq.1&select=").json()[0]
    assert len(row) == 12
    assert api.get("/things?id=eq.1").json()[0] == row


@pytest.mark.parametrize(
    ("select", "expected"),
    [
        ("id,name", {"id": 4, "name": "thing 4"}),
        ("number:id,*", None),
        ("label:name", {"label": "thing 4"}),
        ('"a label":name', {"a label": "thing 4"}),
        ("a-label:name", {"a-label": "thing 4"}),
        ("id::text", {"id": "4"}),
        ("id::TEXT", {"id": "4"}),
        ("size::int", {"size": 2}),
        ("size::integer", {"size": 2}),
        ("n:size::double precision", {"n": 2}),
        ("made::timestamp with time zone", {"made": "2026-01-05T00:00:00+00:00"}),
        ("name::varchar", {"name": "thing 4"}),
        ("data->n", {"n": 4}),
        ("data->>n", {"n": "4"}),
        ("data->deep->list->0", {"list": 4}),
        ("data->deep->list->>-1", {"list": "x"}),
        ("x:data->deep->list->1", {"x": "x"}),
        ("data->>n::int", {"n": 4}),
        ('data->>"a.b"', {"a.b": "dotted"}),
        ("data->missing->deeper", {"deeper": None}),
        ("plain->n", {"n": 4}),
        ("tags->0", {"tags": "t1"}),
        ('"odd ""name"', None),
        ('"odd \\"name%s"', {'odd "name%s': "odd4"}),
        (" id , name ", {"id": 4, "name": "thing 4"}),
    ],
)
def test_columns_can_be_named_cast_and_looked_into(
    api: DataApi, select: str, expected: dict[str, Any] | None
) -> None:
    response = api.get(f"/things?id=eq.4&select={quote(select)}")
    if expected is not None:
        assert response.json() == [expected]
    elif select.endswith("*"):
        assert response.json()[0]["number"] == 4
    else:
        assert response.status_code == 400, "a quote is escaped with a backslash, not doubled"


def test_filters_of_supabase_py_mean_what_they_say(api: DataApi) -> None:
    things = api.anon.table("things")

    def found(query: Any) -> list[int]:
        return ids(query.order("id").execute())

    assert found(things.select("id").eq("id", 3)) == [3]
    assert found(things.select("id").neq("id", 3).lt("id", 5)) == [1, 2, 4]
    assert found(things.select("id").gt("size", 5.5)) == [12]
    assert found(things.select("id").gte("size", 5.5)) == [11, 12]
    assert found(things.select("id").lte("made", "2026-01-02")) == [1]
    assert found(things.select("id").like("name", "%1_")) == [10, 11, 12]
    assert found(things.select("id").ilike("name", "*THING 1")) == [1]
    assert found(things.select("id").is_("name", "null")) == [13]
    assert found(things.select("id").not_.is_("name", "null").gt("id", 12)) == [14]
    assert found(things.select("id").is_("flag", "true").lt("id", 5)) == [1, 4]
    assert found(things.select("id").in_("id", [1, 5, 99])) == [1, 5]
    assert found(things.select("id").in_("name", [TRICKY, "thing 2"])) == [2, 14]
    assert found(things.select("id").in_("id", [])) == []
    assert found(things.select("id").contains("tags", ["t1"]).lt("id", 6)) == [1, 4]
    assert found(things.select("id").contained_by("tags", ["t0", "all"]).lt("id", 7)) == [3, 6]
    assert found(things.select("id").contains("data", {"n": 7})) == [7]
    assert found(things.select("id").overlaps("tags", ["t2", "none"]).lt("id", 6)) == [2, 5]
    assert found(things.select("id").range_lt("span", [9, 20])) == [1, 2, 3, 4, 5, 6, 7]
    assert found(things.select("id").range_gt("span", [1, 9])) == [9, 10, 11, 12]
    assert found(things.select("id").range_adjacent("span", [4, 7])) == [2, 7]
    assert found(things.select("id").match({"id": 5, "name": "thing 5"})) == [5]
    assert found(things.select("id").or_("id.eq.1,and(id.gt.4,id.lt.7)")) == [1, 5, 6]
    assert found(things.select("id").eq("data->>n", "8")) == [8]
    assert found(things.select("id").eq("name", TRICKY)) == [14]
    assert found(things.select("id").like_any_of("name", "%g 1,%g 2")) == [1, 2]
    assert found(things.select("id").like_all_of("name", "thing%,%12")) == [12]
    assert found(
        things.select("id").text_search("words", "running & 7", {"config": "english"})
    ) == [7]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ("id=not.gt.2", [1, 2]),
        ("id=isdistinct.1&id=lt.4", [2, 3]),
        ("flag=isdistinct.true&id=lt.4", [2, 3]),
        ("name=match.g [23]$", [2, 3]),
        ("name=imatch.G [23]$", [2, 3]),
        ("id=eq(any).{2,4}", [2, 4]),
        ("id=gte(all).{10,12}&id=lt.13", [12]),
        ("id=not.eq(any).{1,2,3,4,5,6,7,8,9,10}&id=lt.13", [11, 12]),
        ("id=is.not_null&id=lt.2", [1]),
        ("flag=is.FALSE&id=lt.6", [2, 5]),
        ("flag=is.unknown&id=gt.9", [12, 13, 14]),
        ("span=nxr.[1,4)", [1]),
        ("span=nxl.[12,13)", [12]),
        ("tags=cd.{t1,all}&id=lt.5", [1, 4]),
        ("words=fts(simple).running", []),
        ("words=fts(english).run %26 3", [3]),
        ("words=plfts(english).running 3", [3]),
        ("words=phfts(english).number 3", [3]),
        ("words=wfts(english).running -4&id=lt.6", [1, 2, 3, 5]),
        ("words=not.wfts(english).running", []),
        ("name=fts.5", [5]),
        ("name=fts(simple).thing %26 5", [5]),
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
        ("code=eq.123456789", []),
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
    things = api.anon.table("things")
    assert ids(things.select("id").order("id", desc=True).limit(2).execute()) == [14, 13]
    assert ids(things.select("id").order("name", nullsfirst=True).limit(1).execute()) == [13]
    two = things.select("id").in_("id", [1, 2, 4, 5]).order("flag", desc=True).order("id")
    assert ids(two.execute()) == [1, 4, 2, 5]
    assert ids(api.get("/things?select=id&order=name.desc.nullslast,id&limit=1")) == [9]
    assert ids(api.get("/things?select=id&order=name.desc&limit=1")) == [13]
    assert ids(api.get("/things?select=id&order=data->n.desc.nullslast,id&limit=2")) == [12, 11]
    assert ids(api.get('/things?select=id&order="odd \\"name%25s".nullsfirst,id&limit=1')) == [13]
    first_counts = api.get("/things?select=id&order=id.desc&order=id.asc&limit=1")
    assert ids(first_counts) == [14]


def test_a_view_and_a_table_of_another_schema_can_be_read(api: DataApi) -> None:
    assert len(api.anon.table("small_things").select("*").execute().data) == 3
    documents = api.alice.schema("ingest").table("documents").select("object_name,status").execute()
    assert [row["status"] for row in documents.data] == ["ready"]
    response = api.get("/documents?select=id", api.alice.options.headers["Authorization"][7:])
    assert response.status_code == 404, "the default schema is the first one"


def test_the_schema_is_named_by_the_header_of_the_method(api: DataApi) -> None:
    wrong_for_get = api.get("/things?limit=1", Content_Profile="ingest")
    assert wrong_for_get.headers["content-profile"] == "public"
    both = api.get("/things?limit=1", Accept_Profile="public", Content_Profile="nope")
    assert both.status_code == 200
    posted = api.request(
        "POST", "/rpc/add", json={"a": 1}, Content_Profile="public", Accept_Profile="nope"
    )
    assert posted.json() == 11


@pytest.mark.parametrize(
    ("query", "headers", "status", "content_range"),
    [
        ("", {}, 200, "0-13/*"),
        ("limit=3", {}, 200, "0-2/*"),
        ("limit=3&offset=12", {}, 200, "12-13/*"),
        ("offset=20", {}, 200, "*/*"),
        ("limit=0", {}, 200, "*/*"),
        ("offset=-5&limit=8", {}, 200, "0-2/*"),
        ("limit=nonsense", {}, 200, "0-13/*"),
        ("id=lt.1", {"Prefer": "count=exact"}, 200, "*/0"),
        ("limit=3", {"Prefer": "count=exact"}, 206, "0-2/14"),
        ("limit=14", {"Prefer": "count=exact"}, 200, "0-13/14"),
        ("offset=14", {"Prefer": "count=exact"}, 206, "*/14"),
        ("limit=0", {"Prefer": "count=exact"}, 206, "*/14"),
        ("id=lt.5&limit=2", {"Prefer": "count=exact"}, 206, "0-1/4"),
        ("", {"Range": "2-4"}, 200, "2-4/*"),
        ("", {"Range": "2-4", "Range-Unit": "items", "Prefer": "count=exact"}, 206, "2-4/14"),
        ("", {"Range": "12-"}, 200, "12-13/*"),
        ("limit=5", {"Range": "3-20"}, 200, "3-4/*"),
        ("", {"Range": "bytes=2-4"}, 200, "0-13/*"),
        ("limit=3", {"Prefer": "count=estimated"}, 206, "0-2/14"),
    ],
)
def test_ranges_and_counts(
    api: DataApi, query: str, headers: dict[str, str], status: int, content_range: str
) -> None:
    response = api.get(f"/things?select=id&order=id&{query}", **headers)
    assert (response.status_code, response.headers["content-range"]) == (status, content_range)


def test_counts_of_supabase_py(api: DataApi) -> None:
    things = api.anon.table("things")
    page = things.select("id", count="exact").order("id").range(1, 2).execute()
    assert (ids(page), page.count) == ([2, 3], 14)
    head = things.select("*", count="exact", head=True).gt("id", 10).execute()
    assert (head.data, head.count) == ([], 4)


def test_no_answer_has_more_rows_than_the_project_allows(api: DataApi) -> None:
    everything = api.anon.table("many").select("id", count="exact").execute()
    assert (len(everything.data), everything.count) == (1000, 2500)
    asked = api.get("/many?limit=2000", Prefer="count=exact")
    assert (asked.status_code, asked.headers["content-range"]) == (206, "0-999/2500")
    assert len(api.get("/many?offset=2400").json()) == 100
    assert len(api.request("POST", "/rpc/numbers", json={"up_to": 1500}).json()) == 1000


def test_a_planned_count_is_the_planners_and_an_estimate_only_above_a_page(api: DataApi) -> None:
    planned = api.get("/many?limit=1", Prefer="count=planned")
    assert planned.headers["content-range"] == "0-0/2500", "just analyzed"
    filtered = api.get("/many?limit=1&id=lt.1250", Prefer="count=planned")
    planned_rows = int(filtered.headers["content-range"].partition("/")[2])
    assert 1000 < planned_rows < 1500
    estimated = api.get("/many?limit=1&id=lt.10", Prefer="count=estimated")
    assert estimated.headers["content-range"] == "0-0/9", "few rows are counted"
    many = api.get("/many?limit=1", Prefer="count=estimated")
    assert many.headers["content-range"] == "0-0/2500"


@pytest.mark.parametrize("header", ["offset", "range"])
def test_rows_behind_the_last_are_not_satisfiable(api: DataApi, header: str) -> None:
    if header == "offset":
        response = api.get("/things?offset=15", Prefer="count=exact")
    else:
        response = api.get("/things", Prefer="count=exact", Range="15-20")
    assert response.status_code == 416
    assert response.headers["content-range"] == "*/14"
    assert response.json() == {
        "code": "PGRST103",
        "message": "Requested range not satisfiable",
        "details": "An offset of 15 was requested, but there are only 14 rows.",
        "hint": None,
    }


@pytest.mark.parametrize(
    ("query", "range_header", "details"),
    [
        ("limit=-1", None, "Limit should be greater than or equal to zero."),
        ("limit=2", "5-8", "Limit should be greater than or equal to zero."),
        ("", "4-2", LOWER_ABOVE_UPPER),
    ],
)
def test_a_range_without_any_row_is_refused(
    api: DataApi, query: str, range_header: str | None, details: str
) -> None:
    headers = {"Range": range_header} if range_header else {}
    response = api.get(f"/things?{query}", **headers)
    assert (response.status_code, response.json()["details"]) == (416, details)


def test_the_range_header_is_for_get_only(api: DataApi) -> None:
    assert api.request("HEAD", "/things", Range="0-1").headers["content-range"] == "0-13/*"
    posted = api.request("POST", "/rpc/numbers", json={"up_to": 5}, Range="0-1")
    assert posted.json() == [1, 2, 3, 4, 5]


def test_one_object_instead_of_a_list(api: DataApi) -> None:
    one = api.anon.table("things").select("id").eq("id", 3).single().execute()
    assert one.data == {"id": 3}
    for where, count in (("id.eq.99", 0), ("id.lt.3", 2)):
        with pytest.raises(APIError) as refused:
            api.anon.table("things").select("id").or_(where).single().execute()
        assert refused.value.json() == {
            "code": "PGRST116",
            "message": "Cannot coerce the result to a single JSON object",
            "details": f"The result contains {count} rows",
            "hint": None,
        }
    maybe = api.anon.table("things").select("id").eq("id", 99).maybe_single().execute()
    assert maybe is None or maybe.data is None


@pytest.mark.parametrize(
    ("accept", "content_type", "body"),
    [
        ("*/*", "application/json", [{"name": None}]),
        ("application/json", "application/json", [{"name": None}]),
        ("text/csv;q=0.5, application/json", "application/json", [{"name": None}]),
        (
            "application/json;q=0.1, application/vnd.pgrst.object+json",
            "application/vnd.pgrst.object+json",
            {"name": None},
        ),
        (
            "application/vnd.pgrst.object+json;nulls=stripped",
            "application/vnd.pgrst.object+json;nulls=stripped",
            {},
        ),
        (
            "application/vnd.pgrst.array+json;nulls=stripped",
            "application/vnd.pgrst.array+json;nulls=stripped",
            [{}],
        ),
        ("application/vnd.pgrst.array+json", "application/json", [{"name": None}]),
    ],
)
def test_the_form_is_negotiated(api: DataApi, accept: str, content_type: str, body: object) -> None:
    response = api.get("/things?select=name&id=eq.13", Accept=accept)
    assert response.json() == body
    assert response.headers["content-type"] == f"{content_type}; charset=utf-8"


def test_head_is_get_without_a_body(api: DataApi) -> None:
    head = api.request("HEAD", "/things?select=id&id=lt.5", Prefer="count=exact")
    get = api.get("/things?select=id&id=lt.5", Prefer="count=exact")
    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-range", "content-type", "content-location", "preference-applied"):
        assert head.headers[name] == get.headers[name]


def test_headers_tell_how_the_answer_came_about(api: DataApi) -> None:
    response = api.get(
        "/things?select=id,name&order=id&id=eq.1", Prefer="count=exact, handling=lenient, whatever"
    )
    assert response.headers["preference-applied"] == "count=exact, handling=lenient"
    assert response.headers["content-profile"] == "public"
    assert response.headers["content-location"] == "/things?id=eq.1&order=id&select=id%2Cname"
    assert response.headers["vary"].startswith("Accept, Prefer, Range")
    assert "preference-applied" not in api.get("/things?limit=1").headers


def test_a_time_zone_can_be_preferred(api: DataApi) -> None:
    select = "/things?id=eq.1&select=made::timestamptz"
    response = api.get(select, Prefer="timezone=America/New_York")
    assert response.json() == [{"made": "2026-01-02T00:00:00-05:00"}]
    assert response.headers["preference-applied"] == "timezone=America/New_York"
    unknown = api.get(select, Prefer="timezone=Jupiter/Red_Spot")
    assert (unknown.status_code, unknown.json()["code"]) == (400, "22023")


def test_a_page_on_another_port_may_read_and_see_the_count(api: DataApi) -> None:
    asked = "apikey,authorization,accept-profile,prefer,x-client-info"
    preflight = api.request(
        "OPTIONS",
        "/things",
        Origin="http://localhost:3000",
        Access_Control_Request_Method="GET",
        Access_Control_Request_Headers=asked,
    )
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == "*"
    assert "accept-profile" in preflight.headers["access-control-allow-headers"]
    response = api.get("/things?limit=1", Origin="http://localhost:3000")
    assert response.headers["access-control-allow-origin"] == "*"
    assert response.headers["access-control-expose-headers"] == "*"
