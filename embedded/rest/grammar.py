"""What a query string says: select, filters, and/or, order.

The grammar is PostgREST's. Where that ignores what follows a complete value, this refuses it.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Final, NoReturn

from docmill.embedded.rest.errors import aggregates_disabled, not_embedded
from docmill.embedded.rest.reader import Reader
from docmill.embedded.rest.terms import Condition, Field, Junction, Selected, Sorted, Term

#: Operators that can be quantified, and those that take one value.
_QUANTIFIED: Final = re.compile(r"(eq|gte|gt|lte|lt|like|ilike|match|imatch)(?:\((any|all)\))?\.")
_PLAIN: Final = re.compile(r"(neq|cs|cd|ov|sl|sr|nxr|nxl|adj|isdistinct)\.")
_SEARCH: Final = re.compile(r"(fts|plfts|phfts|wfts)(?:\(([\w $]+)\))?\.")
_STATE: Final = re.compile(r"(null|not_null|true|false|unknown)", re.IGNORECASE)
_AGGREGATE: Final = re.compile(r"(sum|avg|count|max|min)\(\)")
_JUNCTION: Final = re.compile(r"(not\.)?(and|or)(?=[ \t]*\()")
_JUNCTION_KEY: Final = re.compile(r"(not\.)?(and|or)")
_PG_ARRAY: Final = re.compile(r"\{[^{}]*\}")
_DIRECTION: Final = re.compile(r"\.(asc|desc)(?=[.,]|$)")
_NULLS: Final = re.compile(r"\.(nullsfirst|nullslast)(?=,|$)")

#: Deeper than anybody writes, and shallow enough to be read and composed recursively.
_MAX_DEPTH: Final = 50


class EmbeddingError(Exception):
    """The select asks for columns of another table."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def read_select(text: str) -> tuple[Selected, ...]:
    """Columns of the result. Raises EmbeddingError when one of them is another table."""
    if not text:
        return (Selected(Field("*")),)
    reader = Reader("select parameter", text)
    columns = [_selected(reader)]
    while reader.take(","):
        columns.append(_selected(reader))
    if not reader.ended():
        reader.fail('"->>", "->", "::", "," or end of input')
    return tuple(columns)


def _selected(reader: Reader) -> Selected:
    reader.skip_space()
    if reader.take("..."):
        raise EmbeddingError(reader.name())
    if reader.take("*"):
        reader.skip_space()
        return Selected(Field("*"))
    alias = reader.attempt(lambda: _alias(reader))
    if reader.sees("count()"):
        raise aggregates_disabled()
    field = reader.field()
    if reader.peek() in {"(", "!"} and not field.path:
        raise EmbeddingError(field.name)
    cast = _cast(reader)
    if reader.take("."):
        _refuse_aggregate(reader)
    reader.skip_space()
    return Selected(field, alias, cast)


def _alias(reader: Reader) -> str | None:
    name = reader.name() if reader.at_name() else None
    return name if reader.take(":") and not reader.sees(":") else None


def _cast(reader: Reader) -> str | None:
    if not reader.take("::"):
        return None
    return reader.identifier() or reader.fail("letter or digit")


def _refuse_aggregate(reader: Reader) -> NoReturn:
    if reader.take_match(_AGGREGATE):
        raise aggregates_disabled()
    reader.fail('"sum", "avg", "count", "max" or "min"')


def read_filter(key: str, value: str) -> Condition:
    """A filter such as `size=gt.5`, or `size=not.is.null`."""
    condition = read_filter_or_argument(key, value)
    if condition is None:
        Reader("filter", value).fail('"not" or operator (eq, gt, ...)')
    return condition


def read_filter_or_argument(key: str, value: str) -> Condition | None:
    """A filter; None when no operator comes first: then it is an argument of a function."""
    reader = Reader("filter", value)
    condition = _condition(reader, Field(key), reader.take_rest)
    if condition is None:
        return None
    if not reader.ended():
        reader.fail("end of input")
    return replace(condition, field=_filtered_field(key))


def _filtered_field(key: str) -> Field:
    reader = Reader("tree path", key)
    field = reader.field()
    if reader.sees("."):
        raise not_embedded(field.name)
    if not reader.ended():
        reader.fail('"->>", "->", delimiter (.) or end of input')
    return field


def _condition(reader: Reader, field: Field, read_value: Callable[[], str]) -> Condition | None:
    """An operator and its value; None when no operator is next."""
    negated = reader.take("not.")
    condition = (
        _membership(reader, field)
        or _state(reader, field)
        or _search(reader, field, read_value)
        or _comparison(reader, field, read_value)
    )
    if condition is None and negated:
        reader.fail("operator (eq, gt, ...)")
    return condition and replace(condition, negated=negated)


def _membership(reader: Reader, field: Field) -> Condition | None:
    if not reader.take("in."):
        return None
    reader.skip_space()
    reader.expect("(")
    reader.skip_space()
    values = [_item(reader)]
    while reader.take(","):
        values.append(_item(reader))
    reader.expect(")")
    reader.skip_space()
    return Condition(field, "in", tuple(values))


def _item(reader: Reader) -> str:
    quoted = reader.attempt(lambda: _whole_quoted(reader))
    return reader.take_until(",)") if quoted is None else quoted


def _whole_quoted(reader: Reader) -> str | None:
    """A quoted text, if it is all of an item."""
    quoted = reader.quoted()
    return quoted if reader.peek() in {",", ")", ""} else None


def _state(reader: Reader, field: Field) -> Condition | None:
    if not reader.take("is."):
        return None
    state = reader.take_match(_STATE)
    if state is None:
        reader.fail("isVal: (null, not_null, true, false, unknown)")
    return Condition(field, "is", state[0].lower())


def _search(reader: Reader, field: Field, read_value: Callable[[], str]) -> Condition | None:
    match = reader.take_match(_SEARCH)
    if match is None:
        return None
    language = match[2] and match[2].strip()
    return Condition(field, match[1], read_value(), language=language)


def _comparison(reader: Reader, field: Field, read_value: Callable[[], str]) -> Condition | None:
    match = reader.take_match(_PLAIN)
    if match is not None:
        return Condition(field, match[1], read_value())
    match = reader.take_match(_QUANTIFIED)
    if match is None:
        return None
    return Condition(field, match[1], read_value(), quantifier=match[2])


def read_junction(key: str, value: str) -> Term:
    """`or=(...)`, `and=(...)`, `not.or=(...)` or `not.and=(...)`."""
    if not _JUNCTION_KEY.fullmatch(key):
        raise not_embedded(Reader("logic path", key).name())
    reader = Reader("logic tree", key + value, shown=value)
    if not value.lstrip(" \t").startswith("("):
        reader.take(key)
        reader.fail('"("')
    term = _term(reader, 0)
    if not reader.ended():
        reader.fail("end of input")
    return term


def _term(reader: Reader, depth: int) -> Term:
    reader.skip_space()
    junction = reader.take_match(_JUNCTION)
    if junction is None:
        return _term_condition(reader)
    if depth == _MAX_DEPTH:
        reader.fail(f"no more than {_MAX_DEPTH} levels of and/or")
    reader.skip_space()
    reader.expect("(")
    terms = [_term(reader, depth + 1)]
    while reader.take(","):
        terms.append(_term(reader, depth + 1))
    reader.expect(")")
    reader.skip_space()
    return Junction(junction[2], tuple(terms), negated=junction[1] is not None)


def _term_condition(reader: Reader) -> Condition:
    field = reader.field()
    reader.expect(".")
    condition = _condition(reader, field, lambda: _term_value(reader))
    if condition is None:
        reader.fail('"not" or operator (eq, gt, ...)')
    return condition


def _term_value(reader: Reader) -> str:
    """A value inside and/or: quoted, an array in braces, or up to the next comma or bracket."""
    quoted = reader.attempt(lambda: _whole_quoted(reader))
    if quoted is not None:
        return quoted
    array = reader.take_match(_PG_ARRAY)
    return reader.take_until(",)") if array is None else array[0]


def read_order(key: str, value: str) -> tuple[Sorted, ...]:
    """What rows are sorted by: `order=size.desc.nullslast,name`."""
    if key != "order":
        raise not_embedded(Reader("tree path", key).name())
    reader = Reader("order", value)
    terms = [_sorted(reader)]
    while reader.take(","):
        terms.append(_sorted(reader))
    if not reader.ended():
        reader.fail('"asc", "desc", "nullsfirst", "nullslast", "," or end of input')
    return tuple(terms)


def _sorted(reader: Reader) -> Sorted:
    field = reader.field()
    if reader.sees("("):
        raise not_embedded(field.name)
    direction = reader.take_match(_DIRECTION)
    nulls = reader.take_match(_NULLS)
    reader.skip_space()
    return Sorted(field, direction and direction[1], nulls and nulls[1])
