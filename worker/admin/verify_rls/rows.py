"""Rows of the tenants in every table, for the checks to find."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import psycopg
from psycopg import errors as pg
from psycopg import sql

from docmill.worker.admin.verify_rls.catalog import Catalog, Column, IndexVersion, Relation
from docmill.worker.admin.verify_rls.findings import Finding
from docmill.worker.admin.verify_rls.tenants import SHARED, Cast, Item
from docmill.worker.admin.verify_rls.values import DEFAULT, Value, candidates
from docmill.worker.store.database import Connection

#: How many combinations of values are tried before a table is given up.
_TRIES: Final = 100
#: Columns that name the tenant of a row.
TENANT_COLUMNS: Final = ("document_id", "object_id", "job_id", "chunk_id", "former_id", "owner_id")
_NO_VERSION: Final = IndexVersion(0, "", 8)


@dataclass
class Planted:
    """The place of each item's rows: (oid of the table or partition, ctid)."""

    rows: dict[tuple[int, str], Item] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def of(self, relation: int) -> dict[str, Item]:
        """The rows in one table or partition, by ctid."""
        return {ctid: item for (oid, ctid), item in self.rows.items() if oid == relation}


class _NoValueError(Exception):
    """No value is known for this column."""


def plant(connection: Connection, catalog: Catalog, cast: Cast) -> Planted:
    """Write a row of each item into each table; tables where that failed are in the findings."""
    planted = Planted()
    for relation in _in_order(catalog.tables):
        if relation.title in SHARED:
            continue
        failures = set()
        for item in cast.items:
            for version in _versions(relation, catalog):
                if _belongs(relation, item):
                    failures.add(_plant_row(connection, relation, item, version, planted))
        problem = next((one for one in failures if one), None)
        if problem:
            planted.findings.append(
                Finding("test data", relation.title, "warning", f"not tried: {problem}")
            )
    planted.findings += _nothing_in(catalog, planted)
    return planted


def _nothing_in(catalog: Catalog, planted: Planted) -> Iterator[Finding]:
    named = {finding.subject for finding in planted.findings}
    filled = {oid for oid, _ctid in planted.rows}
    for relation in catalog.relations:
        is_leaf = relation.kind == "r" and relation.title not in SHARED
        if is_leaf and relation.oid not in filled and relation.title not in named:
            yield Finding("test data", relation.title, "warning", "not tried: no row got there")


def _in_order(tables: Sequence[Relation]) -> list[Relation]:
    """Tables in an order in which references come before the tables that use them."""
    left = {table.oid: table for table in tables}
    ordered: list[Relation] = []
    while left:
        free = [
            table
            for table in left.values()
            if not any(c.points_to in left and c.points_to != table.oid for c in table.constraints)
        ] or list(left.values())
        ordered += free
        for table in free:
            del left[table.oid]
    return ordered


def _versions(relation: Relation, catalog: Catalog) -> Sequence[IndexVersion]:
    """The index versions to write rows for: all, if the table has a partition for each."""
    versions = catalog.versions or [_NO_VERSION]
    if any(column.name == "index_version" for column in relation.columns):
        return versions if relation.kind == "p" else versions[:1]
    return versions[:1]


def _belongs(relation: Relation, item: Item) -> bool:
    """Whether an item has rows in this table."""
    if relation.name == "withdrawn":
        return item.kind.startswith("withdrawn")
    if relation.name == "documents":
        return not item.kind.startswith("withdrawn")
    if relation.name == "pending_events":
        return item.kind in ("owned", "hidden")
    if any(column.name in TENANT_COLUMNS[:-1] for column in relation.columns):
        return True
    return item.kind == "owned"


def _plant_row(
    connection: Connection, relation: Relation, item: Item, version: IndexVersion, planted: Planted
) -> str | None:
    """Write one row. Returns why it could not be written."""
    columns = [column for column in relation.columns if not column.is_generated]
    options = {c.name: candidates(c, relation, item, version) for c in columns}
    if any(c.is_required and options[c.name] == [None] for c in columns):
        return None  # rows of this table have an owner, but the item has none
    try:
        oid, ctid = _solve(connection, relation, columns, options)
    except _NoValueError as error:
        return f"no value for column {error}"
    except psycopg.Error as error:
        return error.diag.message_primary or type(error).__name__
    planted.rows[oid, ctid] = item
    return None


def _solve(
    connection: Connection,
    relation: Relation,
    columns: Sequence[Column],
    options: dict[str, list[Value]],
) -> tuple[int, str]:
    """Insert with the first values; while a rule is broken, change the values that it names."""
    empty = [name for name, values in options.items() if not values]
    if empty:
        raise _NoValueError(empty[0])
    chosen = {name: values[0] for name, values in options.items()}
    left: dict[tuple[str, ...], Iterator[tuple[Value, ...]]] = {}
    for _ in range(_TRIES):
        try:
            with connection.transaction():
                return _insert(connection, relation, columns, chosen)
        except (pg.IntegrityError, pg.DataError) as error:
            names = _to_blame(relation, error, options)
            tries = left.setdefault(names, itertools.product(*(options[n] for n in names)))
            following = next(tries, None) if names else None
            if following is None:
                if isinstance(error, pg.UniqueViolation) and names:
                    return _written(connection, relation, columns, names, chosen)
                raise
            chosen.update(zip(names, following, strict=True))
    raise _NoValueError("combination of values")


def _written(
    connection: Connection,
    relation: Relation,
    columns: Sequence[Column],
    names: Sequence[str],
    chosen: dict[str, Value],
) -> tuple[int, str]:
    """The row that is in the way: a trigger wrote it with a row of another table."""
    row = connection.execute(
        sql.SQL("select tableoid::bigint, ctid::text from {} where {}").format(
            sql.Identifier(relation.schema, relation.name),
            sql.SQL(" and ").join(
                sql.SQL("{} = {}::{}").format(
                    sql.Identifier(column.name),
                    sql.Literal(chosen[column.name]),
                    sql.SQL(column.declared),
                )
                for column in columns
                if column.name in names
            ),
        )
    ).fetchone()
    if row is None:
        raise _NoValueError("combination of values")
    return int(row[0]), str(row[1])


def _to_blame(
    relation: Relation, error: psycopg.Error, options: dict[str, list[Value]]
) -> tuple[str, ...]:
    if error.diag.column_name in options:
        return (str(error.diag.column_name),)
    return next(
        (
            tuple(name for name in constraint.columns if name in options)
            for constraint in relation.constraints
            if constraint.name.split(".")[-1] == error.diag.constraint_name
        ),
        (),
    )


def _insert(
    connection: Connection,
    relation: Relation,
    columns: Sequence[Column],
    chosen: dict[str, Value],
) -> tuple[int, str]:
    values = [
        sql.SQL("default")
        if chosen[column.name] == DEFAULT
        else sql.SQL("{}::{}").format(
            sql.Literal(chosen[column.name]),
            sql.SQL(column.declared),
        )
        for column in columns
    ]
    statement = sql.SQL(
        "insert into {table} ({columns}) values ({values}) returning tableoid::bigint, ctid::text"
    ).format(
        table=sql.Identifier(relation.schema, relation.name),
        columns=sql.SQL(", ").join(sql.Identifier(column.name) for column in columns),
        values=sql.SQL(", ").join(values),
    )
    row = connection.execute(statement).fetchone()
    assert row is not None
    return int(row[0]), str(row[1])
