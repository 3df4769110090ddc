"""The statements that answer requests: a page of a table, or of a function's result.

Each gives one row: total_rows (null when the whole is not counted), page_rows, and the body.
"""

from dataclasses import dataclass
from typing import Final

from psycopg.sql import SQL, Composable, Composed, Identifier

from docmill.embedded.rest.arguments import Arguments, JsonArguments, TextArguments
from docmill.embedded.rest.asked import Query
from docmill.embedded.rest.catalog import Function, Parameter, Table
from docmill.embedded.rest.clauses import Clauses, Statement, array_literal
from docmill.embedded.rest.media import Media
from docmill.embedded.rest.ranges import Range

#: Names of our own, such as no column has: a column of the same name would hide them.
_SOURCE: Final = Identifier("pgrst_source")
_PAGE: Final = Identifier("pgrst_page")
_SCALAR: Final = "pgrst_scalar"


@dataclass(frozen=True)
class Page:
    """Which part of a result is answered, in which form."""

    query: Query
    rows: Range
    media: Media
    count: str | None  #: of the whole: exact, estimated or planned
    max_rows: int
    with_body: bool


def read_table(table: Table, page: Page) -> Statement:
    """A page of a table's rows as one JSON text."""
    source = Identifier(table.schema, table.name)
    clauses = Clauses(source, table.columns)
    return clauses.statement(
        SQL("select {}, count(*) as page_rows, {} as body from ({}) as {}").format(
            _total(clauses, source, page),
            _json(_PAGE, page, single=page.media.single),
            _rows(clauses, source, page),
            _PAGE,
        )
    )


def plan_table(table: Table, page: Page) -> Statement:
    """How many rows the planner expects the whole to have."""
    source = Identifier(table.schema, table.name)
    clauses = Clauses(source, table.columns)
    query = SQL("explain (format json) select 1 from {}{}")
    return clauses.statement(query.format(source, clauses.where(page.query.filters)))


def call_function(function: Function, arguments: Arguments, page: Page) -> Statement:
    """A function's result, filtered, sorted and cut like a table's rows, as one JSON text."""
    title = Identifier(function.title)
    clauses = Clauses(title, {})
    called = _call(clauses, function, arguments)
    source = SQL("{} as {}").format(_SOURCE, title)
    return clauses.statement(
        SQL("with {} as ({}) select {}, {} as page_rows, {} as body from ({}) as {}").format(
            _SOURCE,
            called,
            _total(clauses, source, page),
            SQL("count(*)") if function.returns_set else SQL("1"),
            _result(function, page),
            _rows(clauses, source, page),
            _PAGE,
        )
    )


def _rows(clauses: Clauses, source: Composable, page: Page) -> Composed:
    query = page.query
    return SQL("select {} from {}{}{}{}").format(
        clauses.columns(query.columns),
        source,
        clauses.where(query.filters),
        clauses.order(query.order),
        clauses.limit(page.rows.at_most(page.max_rows)),
    )


def _total(clauses: Clauses, source: Composable, page: Page) -> Composed:
    if page.count not in {"exact", "estimated"}:
        return SQL("null::bigint as total_rows").format()
    whole = SQL("select 1 from {}{}").format(source, clauses.where(page.query.filters))
    if page.count == "estimated":
        # One row more than a page holds: then the planner is asked for the rest.
        whole = SQL("{} limit {}").format(whole, clauses.parameter(str(page.max_rows + 1)))
    return SQL("(select count(*) from ({}) as pgrst_whole) as total_rows").format(whole)


def _result(function: Function, page: Page) -> Composed:
    """A single value is answered as it is, a row or a set of rows as a table's are."""
    value: Composable = _PAGE
    # Who asks for one object gets one, also out of a set of single values.
    if not function.returns_rows and not (function.returns_set and page.media.single):
        value = SQL("{}.{}").format(_PAGE, Identifier(_SCALAR))
    return _json(value, page, single=page.media.single or not function.returns_set)


def _json(value: Composable, page: Page, *, single: bool) -> Composed:
    if not page.with_body:
        return SQL("''").format()
    aggregate = SQL("json_agg({})").format(value)
    if single:
        aggregate = SQL("{}->0").format(aggregate)
    if page.media.strip_nulls:
        aggregate = SQL("json_strip_nulls({})").format(aggregate)
    empty = SQL("'null'") if single else SQL("'[]'")
    return SQL("coalesce({}, {})::text").format(aggregate, empty)


def _call(clauses: Clauses, function: Function, arguments: Arguments) -> Composed:
    if isinstance(arguments, TextArguments):
        passed, before = _texts(clauses, function, arguments), Composed([])
    elif function.accepts(arguments.names):
        passed, before = _members(clauses, function, arguments)
    else:
        kind = Identifier(function.parameters[0].type)
        whole = SQL("{}::{}").format(clauses.parameter(arguments.body), kind)
        passed, before = whole, Composed([])
    called = SQL("{}({})").format(Identifier(function.schema, function.name), passed)
    if function.returns_rows:
        return SQL("select pgrst_call.* from {}{} as pgrst_call").format(before, called)
    # In the select list: a single value has no column in FROM that could be named.
    query = SQL("select pgrst_call.{0} from {1}(select {2} as {0}) as pgrst_call")
    return query.format(Identifier(_SCALAR), before, called)


def _members(
    clauses: Clauses, function: Function, arguments: JsonArguments
) -> tuple[Composed, Composed]:
    """Members of a JSON object, converted as PostgreSQL converts JSON to a parameter's type."""
    given = [one for one in function.parameters if one.name in arguments.names]
    if not given:
        return Composed([]), Composed([])
    passed = SQL(", ").join(
        _named(one, SQL("pgrst_body.{}").format(Identifier(one.name))) for one in given
    )
    typed = SQL(", ").join(
        SQL("{} {}").format(Identifier(one.name), _parameter_type(one)) for one in given
    )
    record = SQL("json_to_record({}::json) as pgrst_body ({}), lateral ").format(
        clauses.parameter(arguments.body), typed
    )
    return passed, record


def _texts(clauses: Clauses, function: Function, arguments: TextArguments) -> Composed:
    """Texts, each read as its parameter's type."""
    passed = []
    for one in function.parameters:
        values = arguments.values(one.name)
        if values:
            text = clauses.parameter(array_literal(values) if one.variadic else values[-1])
            passed.append(_named(one, SQL("{}::{}").format(text, _parameter_type(one))))
    return SQL(", ").join(passed)


def _named(parameter: Parameter, value: Composable) -> Composed:
    variadic = SQL("variadic ") if parameter.variadic else SQL("")
    return SQL("{}{} := {}").format(variadic, Identifier(parameter.name), value)


def _parameter_type(parameter: Parameter) -> SQL:
    """The catalog has written it as SQL, qualified and quoted."""
    return SQL(parameter.type)
