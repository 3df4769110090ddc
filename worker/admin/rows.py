"""One query, its rows as dicts."""

from typing import Any, LiteralString

from psycopg.rows import dict_row

from docmill.worker.store.database import Connection

Row = dict[str, Any]


def fetch_value(connection: Connection, query: LiteralString, parameters: Row) -> Any:
    """The first column of the first row; None if there is no row."""
    row = connection.execute(query, parameters).fetchone()
    return row[0] if row else None


def fetch_rows(connection: Connection, query: LiteralString, parameters: Row) -> list[Row]:
    """All rows."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query, parameters).fetchall()
