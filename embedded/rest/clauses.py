"""Composes clauses of SQL. Names become quoted identifiers, values become parameters.

A value is a parameter of unknown type: PostgreSQL gives it the type of the column that it is
compared with, as it would to a literal. Nothing that a client says is used in any other way.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from psycopg.sql import SQL, Composable, Composed, Identifier

from docmill.embedded.rest.ranges import Range
from docmill.embedded.rest.terms import Condition, Field, Selected, Sorted, Step, Term

_OPERATORS: Final[Mapping[str, SQL]] = {
    "eq": SQL("="),
    "neq": SQL("<>"),
    "gt": SQL(">"),
    "gte": SQL(">="),
    "lt": SQL("<"),
    "lte": SQL("<="),
    "like": SQL("like"),
    "ilike": SQL("ilike"),
    "match": SQL("~"),
    "imatch": SQL("~*"),
    "cs": SQL("@>"),
    "cd": SQL("<@"),
    "ov": SQL("&&"),
    "sl": SQL("<<"),
    "sr": SQL(">>"),
    "nxr": SQL("&<"),
    "nxl": SQL("&>"),
    "adj": SQL("-|-"),
    "isdistinct": SQL("is distinct from"),
}
_SEARCHES: Final[Mapping[str, SQL]] = {
    "fts": SQL("to_tsquery"),
    "plfts": SQL("plainto_tsquery"),
    "phfts": SQL("phraseto_tsquery"),
    "wfts": SQL("websearch_to_tsquery"),
}
_STATES: Final[Mapping[str, SQL]] = {
    "null": SQL("null"),
    "not_null": SQL("not null"),
    "true": SQL("true"),
    "false": SQL("false"),
    "unknown": SQL("unknown"),
}
_DIRECTIONS: Final = {None: SQL(""), "asc": SQL(" asc"), "desc": SQL(" desc")}
_NULLS: Final = {
    None: SQL(""),
    "nullsfirst": SQL(" nulls first"),
    "nullslast": SQL(" nulls last"),
}
#: Types that SQL spells in a way of its own, by the names that the catalog has for them.
_TYPE_NAMES: Final[Mapping[str, str]] = {
    "bigint": "int8",
    "bit varying": "varbit",
    "boolean": "bool",
    "char": "bpchar",
    "character": "bpchar",
    "character varying": "varchar",
    "dec": "numeric",
    "decimal": "numeric",
    "double precision": "float8",
    "float": "float8",
    "int": "int4",
    "integer": "int4",
    "real": "float4",
    "smallint": "int2",
    "time with time zone": "timetz",
    "time without time zone": "time",
    "timestamp with time zone": "timestamptz",
    "timestamp without time zone": "timestamp",
}


@dataclass(frozen=True)
class Statement:
    """A query and its parameters, `$1` being the first."""

    query: Composed
    parameters: tuple[str, ...]


class Clauses:
    """Clauses of one statement, and the parameters that they have come to need."""

    def __init__(self, source: Composable, types: Mapping[str, str]) -> None:
        """`source` is what qualifies a column; `types` are those of columns that are known."""
        self._source = source
        self._types = types
        self._parameters: list[str] = []

    def statement(self, query: Composed) -> Statement:
        """The finished query."""
        return Statement(query, tuple(self._parameters))

    def parameter(self, value: str) -> Composable:
        """A place for a value."""
        self._parameters.append(value)
        return SQL(f"${len(self._parameters)}")

    def columns(self, selected: Iterable[Selected]) -> Composed:
        """A select list."""
        return SQL(", ").join(map(self._column, selected))

    def where(self, terms: Sequence[Term]) -> Composed:
        """A where clause, if there is anything to filter by."""
        if not terms:
            return Composed([])
        return SQL(" where {}").format(SQL(" and ").join(map(self._term, terms)))

    def order(self, terms: Sequence[Sorted]) -> Composed:
        """An order by clause, if rows shall be sorted."""
        if not terms:
            return Composed([])
        return SQL(" order by {}").format(SQL(", ").join(map(self._sorted, terms)))

    def limit(self, rows: Range) -> Composed:
        """A limit clause."""
        return SQL(" limit {} offset {}").format(
            self.parameter(str(rows.limit)), self.parameter(str(rows.first))
        )

    def _column(self, selected: Selected) -> Composable:
        value: Composable = self._field(selected.field)
        if selected.cast is not None:
            value = SQL("cast({} as {})").format(value, _type(selected.cast))
        alias = selected.alias or _key_of(selected.field)
        return value if alias is None else SQL("{} as {}").format(value, Identifier(alias))

    def _sorted(self, term: Sorted) -> Composed:
        return SQL("{}{}{}").format(
            self._field(term.field), _DIRECTIONS[term.direction], _NULLS[term.nulls]
        )

    def _field(self, field: Field) -> Composed:
        if field.name == "*":
            return SQL("{}.*").format(self._source)
        column = SQL("{}.{}").format(self._source, Identifier(field.name))
        if not field.path:
            return column
        if self._types.get(field.name) not in {"json", "jsonb"}:
            column = SQL("to_jsonb({})").format(column)
        return SQL("").join([column, *map(self._step, field.path)])

    def _step(self, step: Step) -> Composed:
        arrow = SQL("->>") if step.as_text else SQL("->")
        kind = SQL("::int") if isinstance(step.key, int) else SQL("::text")
        return SQL("{}{}{}").format(arrow, self.parameter(str(step.key)), kind)

    def _term(self, term: Term) -> Composed:
        negation = SQL("not ") if term.negated else SQL("")
        if isinstance(term, Condition):
            return SQL("{}({})").format(negation, self._condition(term))
        joint = SQL(" and ") if term.operator == "and" else SQL(" or ")
        return SQL("{}({})").format(negation, joint.join(map(self._term, term.terms)))

    def _condition(self, term: Condition) -> Composed:
        if isinstance(term.value, tuple):
            return self._membership(term, term.value)
        if term.operator == "is":
            return SQL("{} is {}").format(self._field(term.field), _STATES[term.value])
        if term.operator in _SEARCHES:
            return self._search(term, term.value)
        value = term.value
        if term.operator in {"like", "ilike"}:
            value = value.replace("*", "%")
        operand = self._quantified(term, self.parameter(value))
        return SQL("{} {} {}").format(self._field(term.field), _OPERATORS[term.operator], operand)

    def _quantified(self, term: Condition, operand: Composable) -> Composable:
        if term.quantifier is None:
            return operand
        quantifier = SQL("any({})") if term.quantifier == "any" else SQL("all({})")
        return quantifier.format(operand)

    def _membership(self, term: Condition, values: tuple[str, ...]) -> Composed:
        # `in.()` has one empty item and means: in nothing.
        array = "{}" if values == ("",) else array_literal(values)
        return SQL("{} = any({})").format(self._field(term.field), self.parameter(array))

    def _search(self, term: Condition, value: str) -> Composed:
        field = self._field(term.field)
        if self._types.get(term.field.name) != "tsvector":
            field = SQL("to_tsvector({}{})").format(self._language(term), field)
        query = SQL("{}({}{})").format(
            _SEARCHES[term.operator], self._language(term), self.parameter(value)
        )
        return SQL("{} @@ {}").format(field, query)

    def _language(self, term: Condition) -> Composed:
        if term.language is None:
            return Composed([])
        return SQL("{}::regconfig, ").format(self.parameter(term.language))


def _type(name: str) -> Identifier:
    """A type by its name in the catalog, so that it can be quoted like any other name."""
    lower = " ".join(name.lower().split())
    return Identifier(_TYPE_NAMES.get(lower, lower))


def _key_of(field: Field) -> str | None:
    """What a place inside a JSON value is called in the result: its last key."""
    if not field.path:
        return None
    keys = [step.key for step in field.path if isinstance(step.key, str)]
    return keys[-1] if keys else field.name


def array_literal(values: Iterable[str]) -> str:
    """An array as PostgreSQL reads it."""
    escaped = (value.replace("\\", "\\\\").replace('"', '\\"') for value in values)
    return "{" + ",".join(f'"{value}"' for value in escaped) + "}"
