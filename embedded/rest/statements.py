"""The statements that answer requests: a page of a table, or of a function's result.

Names become quoted identifiers, values become parameters of unknown type: PostgreSQL gives them the
type of the column that they are compared with, as it would to a literal. A client's text is used in
no other way. Each statement returns one row: total_rows (null if rows are not counted), page_rows,
and the body.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from psycopg.sql import SQL, Composable, Composed, Identifier

from docmill.embedded.rest.catalog import Function, Target
from docmill.embedded.rest.query import Condition, Field, Query, Selected, Sorted, Term

#: Unusual names: a column with the same name would hide them.
_SOURCE: Final = Identifier("pgrst_source")
_PAGE: Final = Identifier("pgrst_page")
_SCALAR: Final = Identifier("pgrst_scalar")

_OPERATORS: Final[Mapping[str, SQL]] = {
    "eq": SQL("="),
    "neq": SQL("<>"),
    "gt": SQL(">"),
    "gte": SQL(">="),
    "lt": SQL("<"),
    "lte": SQL("<="),
    "like": SQL("like"),
    "ilike": SQL("ilike"),
    "cs": SQL("@>"),
}
_STATES: Final[Mapping[str, SQL]] = {
    state: SQL(f"is {state}") for state in ("null", "true", "false")
}
_DIRECTIONS: Final = {None: SQL(""), "asc": SQL(" asc"), "desc": SQL(" desc")}
_NULLS: Final = {
    None: SQL(""),
    "nullsfirst": SQL(" nulls first"),
    "nullslast": SQL(" nulls last"),
}


@dataclass(frozen=True)
class Page:
    """Which part of a result to answer, and in which form."""

    query: Query
    single: bool  #: one object instead of a list
    counted: bool  #: count all rows, not only the page
    max_rows: int


@dataclass(frozen=True)
class Statement:
    """A query and its parameters; the first is `$1`."""

    query: Composed
    parameters: tuple[str, ...]


def read_table(table: Target, page: Page) -> Statement:
    """A page of a table's rows as one JSON text."""
    source = Identifier(table.schema, table.name)
    clauses = _Clauses(source)
    return clauses.statement(
        SQL("select {}, count(*) as page_rows, {} as body from ({}) as {}").format(
            clauses.total(source, page),
            _json(_PAGE, single=page.single),
            clauses.page(source, page),
            _PAGE,
        )
    )


def call_function(function: Function, body: str, names: frozenset[str], page: Page) -> Statement:
    """A function's result, filtered, sorted and cut like a table's rows, as one JSON text."""
    title = Identifier(function.title)
    clauses = _Clauses(title)
    called = clauses.call(function, body, names)
    source = SQL("{} as {}").format(_SOURCE, title)
    # A function that returns one value answers it as it is. A request for one object gets one, even
    # out of a set.
    is_value = not function.returns_rows and not (function.returns_set and page.single)
    return clauses.statement(
        SQL("with {} as ({}) select {}, {} as page_rows, {} as body from ({}) as {}").format(
            _SOURCE,
            called,
            clauses.total(source, page),
            SQL("count(*)") if function.returns_set else SQL("1"),
            _json(
                SQL("{}.{}").format(_PAGE, _SCALAR) if is_value else _PAGE,
                single=page.single or not function.returns_set,
            ),
            clauses.page(source, page),
            _PAGE,
        )
    )


def _json(value: Composable, *, single: bool) -> Composed:
    rows = SQL("json_agg({})").format(value)
    if single:
        return SQL("coalesce({}->0, 'null')::text").format(rows)
    return SQL("coalesce({}, '[]')::text").format(rows)


class _Clauses:
    """Builds the clauses of one statement and collects their parameters."""

    def __init__(self, source: Composable) -> None:
        self._source = source  #: the qualifier of a column
        self._parameters: list[str] = []

    def statement(self, query: Composed) -> Statement:
        return Statement(query, tuple(self._parameters))

    def page(self, source: Composable, page: Page) -> Composed:
        query = page.query
        limit = page.max_rows if query.limit is None else min(query.limit, page.max_rows)
        return SQL("select {} from {}{}{} limit {} offset {}").format(
            SQL(", ").join(map(self._column, query.columns)),
            source,
            self._where(query.filters),
            self._order(query.order),
            self._parameter(str(limit)),
            self._parameter(str(query.first)),
        )

    def total(self, source: Composable, page: Page) -> Composed:
        if not page.counted:
            return SQL("null::bigint as total_rows").format()
        count = SQL("(select count(*) from {}{}) as total_rows")
        return count.format(source, self._where(page.query.filters))

    def call(self, function: Function, body: str, names: frozenset[str]) -> Composed:
        """Call it with members of a JSON object; PostgreSQL converts them to the right types."""
        given = [one for one in function.parameters if one.name in names]
        passed = SQL(", ").join(
            SQL("{0} := pgrst_body.{0}").format(Identifier(one.name)) for one in given
        )
        record: Composable = SQL("")
        if given:
            # The catalog returned the types as qualified and quoted SQL.
            typed = SQL(", ").join(
                SQL("{} {}").format(Identifier(one.name), SQL(one.type)) for one in given
            )
            record = SQL("json_to_record({}::json) as pgrst_body ({}), lateral ").format(
                self._parameter(body), typed
            )
        called = SQL("{}({})").format(Identifier(function.schema, function.name), passed)
        if function.returns_rows:
            return SQL("select pgrst_call.* from {}{} as pgrst_call").format(record, called)
        # In the select list: a single value has no column name for FROM.
        query = SQL("select pgrst_call.{0} from {1}(select {2} as {0}) as pgrst_call")
        return query.format(_SCALAR, record, called)

    def _parameter(self, value: str) -> Composable:
        self._parameters.append(value)
        return SQL(f"${len(self._parameters)}")

    def _column(self, selected: Selected) -> Composable:
        field = selected.field
        alias = selected.alias
        if alias is None and field.path:
            # The name of a place inside a JSON value: its last key that is not an index.
            keys = [key for key in field.path if not key.lstrip("-").isdigit()]
            alias = keys[-1] if keys else field.name
        value = self._field(field)
        return value if alias is None else SQL("{} as {}").format(value, Identifier(alias))

    def _field(self, field: Field) -> Composed:
        if field.name == "*":
            return SQL("{}.*").format(self._source)
        column = SQL("{}.{}").format(self._source, Identifier(field.name))
        if not field.path:
            return column
        arrow = SQL("#>>") if field.as_text else SQL("#>")
        path = self._parameter(_array_literal(field.path))
        return SQL("(to_jsonb({}) {} {}::text[])").format(column, arrow, path)

    def _where(self, terms: Sequence[Term]) -> Composed:
        if not terms:
            return Composed([])
        return SQL(" where {}").format(SQL(" and ").join(map(self._term, terms)))

    def _order(self, terms: Sequence[Sorted]) -> Composed:
        if not terms:
            return Composed([])
        return SQL(" order by {}").format(SQL(", ").join(map(self._sorted, terms)))

    def _sorted(self, term: Sorted) -> Composed:
        return SQL("{}{}{}").format(
            self._field(term.field), _DIRECTIONS[term.direction], _NULLS[term.nulls]
        )

    def _term(self, term: Term) -> Composed:
        if isinstance(term, Condition):
            inner = self._condition(term)
        else:
            joint = SQL(" and ") if term.operator == "and" else SQL(" or ")
            inner = joint.join(map(self._term, term.terms))
        return SQL("not ({})" if term.negated else "({})").format(inner)

    def _condition(self, term: Condition) -> Composed:
        field, value = self._field(term.field), term.value
        if isinstance(value, tuple):
            # `in.()` has one empty item and means: no row.
            array = "{}" if value == ("",) else _array_literal(value)
            return SQL("{} = any({})").format(field, self._parameter(array))
        if term.operator == "is":
            return SQL("{} {}").format(field, _STATES[value])
        if term.operator in {"like", "ilike"}:
            value = value.replace("*", "%")
        return SQL("{} {} {}").format(field, _OPERATORS[term.operator], self._parameter(value))


def _array_literal(values: Iterable[str]) -> str:
    """Write an array in PostgreSQL's syntax."""
    escaped = (value.replace("\\", "\\\\").replace('"', '\\"') for value in values)
    return "{" + ",".join(f'"{value}"' for value in escaped) + "}"
