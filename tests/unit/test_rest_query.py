"""How a query string is parsed, and where it is refused."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docmill.embedded.rest.errors import RestError
from docmill.embedded.rest.query import (
    OPERATORS,
    Condition,
    Field,
    Junction,
    Query,
    Selected,
    Sorted,
    read_filter,
    read_junction,
    read_order,
    read_query,
    read_select,
)

ID = Field("id")


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("", [Selected(Field("*"))]),
        ("id, *", [Selected(ID), Selected(Field("*"))]),
        ("a b", [Selected(Field("a b"))]),
        ("a-b:c-d", [Selected(Field("c-d"), "a-b")]),
        ('"a,b":"c:d"', [Selected(Field("c:d"), "a,b")]),
        ("x:a->b->>-1", [Selected(Field("a", ("b", "-1"), as_text=True), "x")]),
        ("a->b-c", [Selected(Field("a", ("b-c",)))]),
        ('a->"b->c"', [Selected(Field("a", ("b->c",)))]),
        ("größe", [Selected(Field("größe"))]),
    ],
)
def test_select(text: str, columns: list[Selected]) -> None:
    assert read_select(text) == tuple(columns)


@pytest.mark.parametrize(
    ("key", "value", "condition"),
    [
        ("id", "eq.", Condition(ID, "eq", "")),
        ("id", "eq.a.b", Condition(ID, "eq", "a.b")),
        ("id", "not.gte.1", Condition(ID, "gte", "1", negated=True)),
        ("id", 'in.("a,b",c d,"e\\"f")', Condition(ID, "in", ("a,b", "c d", 'e"f'))),
        ("id", 'in.("a"b)', Condition(ID, "in", ('"a"b',))),
        ("id", "in.()", Condition(ID, "in", ("",))),
        ("id", "is.NULL", Condition(ID, "is", "null")),
        ("a->b", "cs.{}", Condition(Field("a", ("b",)), "cs", "{}")),
    ],
)
def test_filter(key: str, value: str, condition: Condition) -> None:
    assert read_filter(key, value) == condition


@pytest.mark.parametrize("operator", OPERATORS)
def test_every_operator_is_known(operator: str) -> None:
    value = {"in": "(1)", "is": "true"}.get(operator, "1")
    assert read_filter("id", f"{operator}.{value}").operator == operator


def test_and_or() -> None:
    one, two = Condition(ID, "eq", "1"), Condition(Field("or"), "gt", "2", negated=True)
    assert read_junction("or", "(id.eq.1,or.not.gt.2)") == Junction("or", (one, two))
    assert read_junction("not.and", "(not.or(id.eq.1), or.not.gt.2)") == Junction(
        "and", (Junction("or", (one,), negated=True), two), negated=True
    )
    array = Condition(Field("tags"), "cs", "{a,b}")
    assert read_junction("and", "(tags.cs.{a,b})") == Junction("and", (array,))


def test_order() -> None:
    assert read_order("id.desc.nullslast,a->b.asc, c.nullsfirst") == (
        Sorted(ID, "desc", "nullslast"),
        Sorted(Field("a", ("b",)), "asc"),
        Sorted(Field("c"), None, "nullsfirst"),
    )


@pytest.mark.parametrize(
    ("limit", "offset", "first", "rows"),
    [
        (None, None, 0, None),
        ("5", "10", 10, 5),
        ("0", "10", 0, 0),
        ("x", "y", 0, None),
        (None, "-3", 0, None),
        ("9" * 30, None, 0, None),
    ],
)
def test_limit_and_offset(
    limit: str | None, offset: str | None, first: int, rows: int | None
) -> None:
    given_pairs = [("limit", limit), ("offset", offset)]
    pairs = [(name, value) for name, value in given_pairs if value is not None]
    assert read_query(pairs) == Query((Selected(Field("*")),), (), (), first, rows)


def test_a_negative_limit_is_refused() -> None:
    with pytest.raises(RestError) as refused:
        read_query([("limit", "-1")])
    assert (refused.value.status, refused.value.code) == (416, "PGRST103")


@pytest.mark.parametrize(
    ("read", "what", "column", "unexpected"),
    [
        (lambda: read_filter("id", "noop.1"), "filter (noop.1)", 1, '"n"'),
        (lambda: read_filter("id", "in.1,2"), "filter (in.1,2)", 4, '"1"'),
        (lambda: read_filter("id", "in.(1"), "filter (in.(1)", 6, "end of input"),
        (lambda: read_filter("id", "is.5"), "filter (is.5)", 4, '"5"'),
        (lambda: read_filter("id", "is.nullx"), "filter (is.nullx)", 8, '"x"'),
        (lambda: read_filter("", "eq.1"), "tree path ()", 1, "end of input"),
        (lambda: read_filter("id)", "eq.1"), "tree path (id))", 3, '")"'),
        (lambda: read_select("id,"), "select parameter (id,)", 4, "end of input"),
        (lambda: read_select("id::int"), "select parameter (id::int)", 3, '":"'),
        (lambda: read_select("a->"), "select parameter (a->)", 4, "end of input"),
        (lambda: read_order("id.up"), "order (id.up)", 3, '"."'),
        (lambda: read_junction("or", "()"), "logic tree (or())", 4, '")"'),
        (lambda: read_junction("or", "(id.eq.1"), "logic tree (or(id.eq.1)", 11, "end of input"),
    ],
)
def test_a_refusal_says_where_and_why(
    read: Callable[[], object], what: str, column: int, unexpected: str
) -> None:
    with pytest.raises(RestError) as refused:
        read()
    assert refused.value.code == "PGRST100"
    assert str(refused.value) == f'"failed to parse {what}" (line 1, column {column})'
    details = refused.value.body["details"]
    assert details is not None
    assert details.startswith(f"unexpected {unexpected} expecting ")


@given(st.text(alphabet='id.()",->:{}\\ eqnotrfs1*', max_size=30))
def test_every_text_is_read_or_refused(text: str) -> None:
    for read in (
        read_select,
        lambda value: read_filter("id", value),
        lambda key: read_filter(key, "eq.1"),
        lambda value: read_junction("or", value),
        read_order,
    ):
        try:
            read(text)
        except RestError:
            continue
