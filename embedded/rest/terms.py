"""What a query string can say, once it is read. All names in here are the client's."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """One `->` or `->>` into a JSON value."""

    key: str | int
    as_text: bool


@dataclass(frozen=True)
class Field:
    """A column, or a place inside a JSON column."""

    name: str
    path: tuple[Step, ...] = ()


@dataclass(frozen=True)
class Selected:
    """A column of the result; the field `*` stands for all."""

    field: Field
    alias: str | None = None
    cast: str | None = None


@dataclass(frozen=True)
class Condition:
    """A field compared with a value."""

    field: Field
    operator: str  #: as in the query string: eq, gte, cs, in, is, fts, ...
    value: str | tuple[str, ...]  #: a tuple for `in`
    negated: bool = False
    quantifier: str | None = None  #: any or all
    language: str | None = None  #: of a full-text search


@dataclass(frozen=True)
class Junction:
    """Conditions joined by `and` or `or`."""

    operator: str  #: and, or
    terms: "tuple[Condition | Junction, ...]"
    negated: bool = False


Term = Condition | Junction


@dataclass(frozen=True)
class Sorted:
    """One field that rows are sorted by. What is None is left to PostgreSQL."""

    field: Field
    direction: str | None = None  #: asc or desc
    nulls: str | None = None  #: nullsfirst or nullslast
