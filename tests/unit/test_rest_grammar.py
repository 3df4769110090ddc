"""What a query string is read as, and where it is refused."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docmill.embedded.rest.errors import RestError
from docmill.embedded.rest.grammar import (
    EmbeddingError,
    read_filter,
    read_filter_or_argument,
    read_junction,
    read_order,
    read_select,
)
from docmill.embedded.rest.terms import Condition, Field, Junction, Selected, Sorted, Step


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("", [Selected(Field("*"))]),
        ("*", [Selected(Field("*"))]),
        ("id, *", [Selected(Field("id")), Selected(Field("*"))]),
        ("a b", [Selected(Field("a b"))]),
        ("a-b:c-d", [Selected(Field("c-d"), "a-b")]),
        ('"a,b":"c:d"', [Selected(Field("c:d"), "a,b")]),
        ("a::int", [Selected(Field("a"), None, "int")]),
        (
            "x:a->b->>-1::text",
            [Selected(Field("a", (Step("b", False), Step(-1, True))), "x", "text")],
        ),
        ("a->1x", [Selected(Field("a", (Step("1x", False),)))]),
        ('a->"b->c"', [Selected(Field("a", (Step("b->c", False),)))]),
        ("größe", [Selected(Field("größe"))]),
    ],
)
def test_select(text: str, columns: list[Selected]) -> None:
    assert read_select(text) == tuple(columns)


@pytest.mark.parametrize(
    ("text", "name"),
    [("a,b(c)", "b"), ("x:b!fk(c)", "b"), ("...b(c)", "b"), ("b!inner(c(d))", "b")],
)
def test_an_embedded_table_is_told_apart(text: str, name: str) -> None:
    with pytest.raises(EmbeddingError) as embedding:
        read_select(text)
    assert embedding.value.name == name


ID = Field("id")


@pytest.mark.parametrize(
    ("key", "value", "condition"),
    [
        ("id", "eq.", Condition(ID, "eq", "")),
        ("id", "eq.a.b", Condition(ID, "eq", "a.b")),
        ("id", "not.eq.1", Condition(ID, "eq", "1", negated=True)),
        ("id", "gte(all).{1}", Condition(ID, "gte", "{1}", quantifier="all")),
        ("id", "in.(1,2)", Condition(ID, "in", ("1", "2"))),
        ("id", 'in.("a,b",c d,"e\\"f")', Condition(ID, "in", ("a,b", "c d", 'e"f'))),
        ("id", 'in.("a"b)', Condition(ID, "in", ('"a"b',))),
        ("id", "in.()", Condition(ID, "in", ("",))),
        ("id", "is.NULL", Condition(ID, "is", "null")),
        ("id", "not.is.not_null", Condition(ID, "is", "not_null", negated=True)),
        ("id", "fts.a", Condition(ID, "fts", "a")),
        ("id", "wfts(german).a", Condition(ID, "wfts", "a", language="german")),
        ("a->b", "cs.{}", Condition(Field("a", (Step("b", False),)), "cs", "{}")),
    ],
)
def test_filter(key: str, value: str, condition: Condition) -> None:
    assert read_filter(key, value) == condition


@pytest.mark.parametrize(
    "value", ["5", "", "equal", "eq", "not", "input", "isn't", "like(x", "[1]"]
)
def test_what_begins_with_no_operator_is_an_argument(value: str) -> None:
    assert read_filter_or_argument("a", value) is None
    with pytest.raises(RestError):
        read_filter("a", value)


def test_and_or() -> None:
    one, two = Condition(ID, "eq", "1"), Condition(Field("or"), "gt", "2", negated=True)
    assert read_junction("or", "(id.eq.1,or.not.gt.2)") == Junction("or", (one, two))
    assert read_junction("not.and", "(not.or(id.eq.1), or.not.gt.2)") == Junction(
        "and", (Junction("or", (one,), negated=True), two), negated=True
    )
    array = Condition(Field("tags"), "ov", "{a,b}")
    assert read_junction("and", "(tags.ov.{a,b})") == Junction("and", (array,))


def test_order() -> None:
    assert read_order("order", "id") == (Sorted(ID),)
    assert read_order("order", "id.desc.nullslast,a->b.asc, c.nullsfirst") == (
        Sorted(ID, "desc", "nullslast"),
        Sorted(Field("a", (Step("b", False),)), "asc"),
        Sorted(Field("c"), None, "nullsfirst"),
    )


@pytest.mark.parametrize(
    ("read", "message", "unexpected"),
    [
        (lambda: read_filter("id", "noop.1"), "filter (noop.1)) (line 1, column 1", '"n"'),
        (lambda: read_filter("id", "not.noop.1"), "filter (not.noop.1)) (line 1, column 5", '"n"'),
        (lambda: read_filter("id", "in.1,2"), "filter (in.1,2)) (line 1, column 4", '"1"'),
        (lambda: read_filter("id", "in.(1"), "filter (in.(1)) (line 1, column 6", "end of input"),
        (lambda: read_filter("id", "is.5"), "filter (is.5)) (line 1, column 4", '"5"'),
        (lambda: read_filter("id", "is.nullx"), "filter (is.nullx)) (line 1, column 8", '"x"'),
        (lambda: read_filter("id", "eq(some).1"), "filter (eq(some).1)) (line 1, column 1", '"e"'),
        (lambda: read_filter("id", "fts().a"), "filter (fts().a)) (line 1, column 1", '"f"'),
        (lambda: read_filter("", "eq.1"), "tree path ()) (line 1, column 1", "end of input"),
        (lambda: read_filter("id)", "eq.1"), "tree path (id))) (line 1, column 3", '")"'),
        (lambda: read_select("id,"), "select parameter (id,)) (line 1, column 4", "end of input"),
        (lambda: read_select("id)"), "select parameter (id))) (line 1, column 3", '")"'),
        (lambda: read_select("id::"), "select parameter (id::)) (line 1, column 5", "end of input"),
        (lambda: read_select("a->"), "select parameter (a->)) (line 1, column 4", "end of input"),
        (lambda: read_select("id.std()"), "select parameter (id.std())) (line 1, column 4", '"s"'),
        (lambda: read_select('"id'), 'select parameter ("id)) (line 1, column 1', '"""'),
        (lambda: read_order("order", "id.up"), "order (id.up)) (line 1, column 3", '"."'),
        (lambda: read_order("order", "id,"), "order (id,)) (line 1, column 4", "end of input"),
        (lambda: read_junction("or", "()"), "logic tree (())) (line 1, column 4", '")"'),
        (lambda: read_junction("or", "(id)"), "logic tree ((id))) (line 1, column 6", '")"'),
        (lambda: read_junction("or", "(id.eq.1"), "logic tree ((id.eq.1)) (line 1", "end of input"),
        (lambda: read_junction("or", "id.eq.1"), "logic tree (id.eq.1)) (line 1", '"i"'),
    ],
)
def test_a_refusal_says_where_and_why(
    read: Callable[[], object], message: str, unexpected: str
) -> None:
    with pytest.raises(RestError) as refused:
        read()
    what, place = message.rsplit(") (", 1)
    assert refused.value.code == "PGRST100"
    assert str(refused.value).startswith(f'"failed to parse {what}" ({place}')
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
        lambda value: read_order("order", value),
    ):
        try:
            read(text)
        except (RestError, EmbeddingError):
            continue
