"""Parses the query string: columns, filters, order and page.

The grammar is PostgREST's without the parts that no client of docmill uses: casts, other tables,
full-text search, ranges, quantifiers, patterns. Those get PostgREST's error for a text that it
cannot parse.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, NoReturn, TypeVar

from docmill.embedded.rest.errors import no_relationship, range_not_satisfiable, unparsable

T = TypeVar("T")

#: A text in double quotes; inside, a backslash stands before a quote or a backslash.
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
#: Letters, digits, `_`, `$`, and inside a name blanks and dashes; a dash before `>` is an arrow.
_BARE: Final = re.compile(r"[\w$](?:[\w$ ]|-(?!>))*")
_KEY: Final = re.compile(r'(?:[^"(\-:.,>)]|-(?!>))+')
#: Operators with one value; `in` has a list and `is` a state.
OPERATORS: Final = ("eq", "neq", "gt", "gte", "lt", "lte", "like", "ilike", "cs", "in", "is")
_OPERATOR: Final = re.compile(rf"(not\.)?({'|'.join(OPERATORS)})\.")
_STATE: Final = re.compile(r"null|true|false", re.IGNORECASE)
_JUNCTION: Final = re.compile(r"(not\.)?(and|or)[ \t]*(?=\()")
_PG_ARRAY: Final = re.compile(r"\{[^{}]*\}")
_ITEM: Final = re.compile(r"[^,)]*")
_DIRECTION: Final = re.compile(r"\.(asc|desc)(?=[.,]|$)")
_NULLS: Final = re.compile(r"\.(nullsfirst|nullslast)(?=,|$)")
_REST: Final = re.compile(r".*", re.DOTALL)
_NUMBER: Final = re.compile(r"-?[0-9]{1,18}")

#: More than anybody writes, and small enough for recursive functions.
_MAX_DEPTH: Final = 50


@dataclass(frozen=True)
class Field:
    """A column, or a place inside its value as JSON."""

    name: str
    path: tuple[str, ...] = ()
    as_text: bool = False  #: the value at the place, as text


@dataclass(frozen=True)
class Selected:
    """A column of the result; the field `*` stands for all."""

    field: Field
    alias: str | None = None


@dataclass(frozen=True)
class Condition:
    """A comparison of a field with a value."""

    field: Field
    operator: str  #: as written in the query string: eq, gte, cs, in, is, ...
    value: str | tuple[str, ...]  #: a tuple for `in`
    negated: bool = False


@dataclass(frozen=True)
class Junction:
    """Conditions joined by `and` or `or`."""

    operator: str  #: and, or
    terms: "tuple[Condition | Junction, ...]"
    negated: bool = False


Term = Condition | Junction


@dataclass(frozen=True)
class Sorted:
    """One field to sort by. If a part is None, PostgreSQL's default applies."""

    field: Field
    direction: str | None = None  #: asc or desc
    nulls: str | None = None  #: nullsfirst or nullslast


@dataclass(frozen=True)
class Query:
    """The parsed query string."""

    columns: tuple[Selected, ...]
    filters: tuple[Term, ...]
    order: tuple[Sorted, ...]
    first: int
    limit: int | None


def read_query(pairs: Sequence[tuple[str, str]]) -> Query:
    """Parse names and values. Raises RestError for anything unknown."""
    select = next((value for name, value in pairs if name == "select"), "*")
    columns = read_select(select)  # first: its errors explain a request for another table best
    filters: list[Term] = []
    order: tuple[Sorted, ...] = ()
    for name, value in pairs:
        if name == "order":
            order = order or read_order(value)
        elif name in {"and", "or", "not.and", "not.or"}:
            filters.append(read_junction(name, value))
        elif name not in {"select", "limit", "offset"}:
            filters.append(read_filter(name, value))
    last = dict(pairs)
    limit = _number(last.get("limit"))
    if limit is not None and limit < 0:
        raise range_not_satisfiable("Limit should be greater than or equal to zero.")
    first = max(_number(last.get("offset")) or 0, 0)
    return Query(columns, tuple(filters), order, first if limit != 0 else 0, limit)


def _number(text: str | None) -> int | None:
    """The number, or None if the text is not a number."""
    return int(text) if text and _NUMBER.fullmatch(text) else None


class _Reader:
    """A text and the position up to which it is read."""

    def __init__(self, what: str, text: str) -> None:
        self._what = what  #: names the text in errors
        self._text = text
        self._at = 0

    def fail(self, expecting: str) -> NoReturn:
        """Refuse the text at this position. Raises RestError PGRST100."""
        seen = f'"{self._text[self._at]}"' if self._at < len(self._text) else "end of input"
        details = f"unexpected {seen} expecting {expecting}"
        raise unparsable(self._what, self._text, self._at + 1, details)

    def sees(self, word: str) -> bool:
        """Whether this comes next; an empty `word` asks for the end."""
        return self._text.startswith(word, self._at) if word else self._at >= len(self._text)

    def take(self, word: str) -> bool:
        """Read this word if it comes next."""
        found = self.sees(word)
        self._at += len(word) if found else 0
        return found

    def match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """Read what matches the pattern here."""
        match = pattern.match(self._text, self._at)
        if match is not None:
            self._at = match.end()
        return match

    def skip_space(self) -> None:
        """Read blanks."""
        while self.take(" ") or self.take("\t"):
            pass

    def expect(self, word: str) -> None:
        """Read this word, which must come next, and blanks around it."""
        self.skip_space()
        if not self.take(word):
            self.fail(f'"{word}"')
        self.skip_space()

    def listed(self, read: Callable[[], T]) -> tuple[T, ...]:
        """Read one or more items, separated by commas."""
        found = [read()]
        while self.take(","):
            found.append(read())
        return tuple(found)

    def ended(self) -> None:
        """Refuse any remaining text."""
        if not self.sees(""):
            self.fail("end of input")

    def quoted(self, *before: str) -> str | None:
        """Read a text in double quotes if one of these follows it; else read nothing."""
        begun = self._at
        match = self.match(_QUOTED)
        if match is not None and (not before or any(map(self.sees, before))):
            return re.sub(r"\\(.)", r"\1", match[1], flags=re.DOTALL)
        self._at = begun
        return None

    def name(self) -> str:
        """Read the name of a column."""
        self.skip_space()
        quoted = self.quoted()
        if quoted is None:
            bare = self.match(_BARE)
            quoted = bare[0].strip() if bare else self.fail("field name (* or [a..z0..9_$])")
        self.skip_space()
        return quoted

    def field(self, name: str | None = None) -> Field:
        """Read a name, and the path into its JSON value."""
        name = self.name() if name is None else name
        path: list[str] = []
        as_text = False
        while not as_text and self.take("->"):
            as_text = self.take(">")
            path.append(self._key())
        self.skip_space()
        return Field(name, tuple(path), as_text)

    def _key(self) -> str:
        quoted = self.quoted()
        if quoted is not None:
            return quoted
        key = self.match(_KEY) or self.fail("any non reserved character different from: .,>()")
        return key[0].strip()


def read_select(text: str) -> tuple[Selected, ...]:
    """Parse the columns of the result."""
    reader = _Reader("select parameter", text or "*")
    columns = reader.listed(lambda: _selected(reader))
    reader.ended()
    return columns


def _selected(reader: _Reader) -> Selected:
    reader.skip_space()
    if reader.take("..."):
        raise no_relationship(reader.name())
    if reader.take("*"):
        reader.skip_space()
        return Selected(Field("*"))
    name, alias = reader.name(), None
    if reader.sees(":") and not reader.sees("::"):
        reader.take(":")
        name, alias = reader.name(), name
    if reader.sees("(") or reader.sees("!"):
        raise no_relationship(name)
    return Selected(reader.field(name), alias)


def read_filter(key: str, value: str) -> Condition:
    """Parse a filter such as `size=gt.5` or `size=not.is.null`."""
    keys = _Reader("tree path", key)
    field = keys.field()
    keys.ended()
    reader = _Reader("filter", value)
    condition = _condition(reader, field, lambda: _text(reader.match(_REST)))
    reader.ended()
    return condition


def _condition(reader: _Reader, field: Field, read_value: Callable[[], str]) -> Condition:
    match = reader.match(_OPERATOR) or reader.fail('"not" or operator (eq, gt, ...)')
    condition = Condition(field, match[2], "", negated=match[1] is not None)
    if match[2] == "in":
        reader.expect("(")
        items = reader.listed(lambda: _item(reader))
        reader.expect(")")
        return replace(condition, value=items)
    if match[2] == "is":
        state = reader.match(_STATE) or reader.fail("isVal: (null, true, false)")
        return replace(condition, value=state[0].lower())
    return replace(condition, value=read_value())


def _item(reader: _Reader) -> str:
    """Read up to the next comma or bracket, or a text in double quotes."""
    quoted = reader.quoted(",", ")", "")
    return _text(reader.match(_ITEM)) if quoted is None else quoted


def _text(match: re.Match[str] | None) -> str:
    return match[0] if match else ""


def read_junction(key: str, value: str) -> Term:
    """Parse `or=(...)`, `and=(...)`, `not.or=(...)` or `not.and=(...)`."""
    reader = _Reader("logic tree", key + value)
    term = _term(reader, 0)
    reader.ended()
    return term


def _term(reader: _Reader, depth: int) -> Term:
    reader.skip_space()
    junction = reader.match(_JUNCTION)
    if junction is None:
        field = reader.field()
        reader.expect(".")
        return _condition(reader, field, lambda: _junction_value(reader))
    if depth == _MAX_DEPTH:
        reader.fail(f"no more than {_MAX_DEPTH} levels of and/or")
    reader.expect("(")
    terms = reader.listed(lambda: _term(reader, depth + 1))
    reader.expect(")")
    return Junction(junction[2], terms, negated=junction[1] is not None)


def _junction_value(reader: _Reader) -> str:
    array = reader.match(_PG_ARRAY)
    return _item(reader) if array is None else array[0]


def read_order(value: str) -> tuple[Sorted, ...]:
    """Parse the order of rows: `order=size.desc.nullslast,name`."""
    reader = _Reader("order", value)
    terms = reader.listed(lambda: _sorted(reader))
    reader.ended()
    return terms


def _sorted(reader: _Reader) -> Sorted:
    field = reader.field()
    direction = reader.match(_DIRECTION)
    nulls = reader.match(_NULLS)
    reader.skip_space()
    return Sorted(field, direction and direction[1], nulls and nulls[1])
