"""Listing objects as the caller sees them: by folder with offsets, or by cursor (v2)."""

import base64
import binascii
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from psycopg import sql
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from docmill.embedded.storage.bodies import read_body
from docmill.embedded.storage.database import Row
from docmill.embedded.storage.errors import StorageError
from docmill.embedded.storage.names import bucket_of
from docmill.embedded.storage.rows import iso
from docmill.embedded.storage.service import StorageService

# The bodies' property names are Storage's.
# ruff: noqa: N815

MAX_KEYS: Final = 1000
_MAX_V1: Final = 1500

#: Everything under the prefix: objects, and folders as the shortest path that ends in a slash.
#: `key` orders both. Version 1 compares names without regard to case, version 2 byte by byte.
_ENTRIES: Final = """
    with found as (
        select o.*, case when %(folders)s
                         then position('/' in substr(o.name, length(%(prefix)s) + 1))
                         else 0 end as slash
          from storage.objects as o
         where o.bucket_id = %(bucket_id)s
           and starts_with({fold}(o.name), {fold}(%(prefix)s))
    ), entries as (
        select name as key, name, id, updated_at, created_at, last_accessed_at, metadata
          from found where slash = 0
        union all
        select min(folder), rtrim(min(folder), '/'), null, min(created_at), min(created_at),
               null, null
          from (select left(name, length(%(prefix)s) + slash) collate "C" as folder, created_at
                  from found where slash > 0) as paths
         group by {fold}(folder)
    )
"""

_V1: Final = """
    select split_part(name, '/', %(level)s) as name, id, last_accessed_at, metadata,
           case when id is not null then updated_at end as updated_at,
           case when id is not null then created_at end as created_at
      from entries
     order by {order}
     limit %(limit)s offset %(offset)s
"""

_V2: Final = """
    select key, name, split_part(name, '/', %(level)s) as leaf, id, updated_at, created_at,
           last_accessed_at, metadata
      from entries
     where %(after_key)s::text is null
        or ({sort}, key collate "C") {beyond} (%(after_value)s::{type}, %(after_key)s)
     order by {sort} {direction}, key collate "C" {direction}
     limit %(limit)s
"""


class _SortV1(BaseModel):
    column: Literal["name", "updated_at", "created_at", "last_accessed_at"] | None = None
    order: Literal["asc", "desc"] = "asc"


class _ListBody(BaseModel):
    prefix: str
    limit: int = Field(default=100, ge=1)
    offset: int = Field(default=0, ge=0)
    sortBy: _SortV1 = _SortV1()
    search: str = ""


class _SortV2(BaseModel):
    column: Literal["name", "updated_at", "created_at"] = "name"
    order: Literal["asc", "desc"] = "asc"


class _ListV2Body(BaseModel):
    prefix: str = ""
    limit: int = Field(default=MAX_KEYS, ge=1)
    cursor: str | None = None
    with_delimiter: bool = False
    sortBy: _SortV2 = _SortV2()


async def list_v1(service: StorageService, request: Request) -> Response:
    """One folder: its objects and its folders, names without the path."""
    scope = service.scope(request, "storage.object.list")
    bucket_id = bucket_of(request)
    body = await read_body(request, _ListBody)
    folder = body.prefix
    if folder and not folder.endswith("/"):
        folder += "/"
    prefix = folder + body.search
    parameters = {
        "bucket_id": bucket_id,
        "prefix": prefix,
        "folders": True,
        "level": prefix.count("/") + 1,
        "limit": min(body.limit, _MAX_V1),
        "offset": body.offset,
    }
    entries = sql.SQL(_ENTRIES).format(fold=sql.SQL("lower"))
    statement = entries + sql.SQL(_V1).format(order=_order_v1(body.sortBy))
    async with service.database.reading(scope) as connection:
        rows = await (await connection.execute(statement, parameters)).fetchall()
    return JSONResponse([{"name": row["name"], **_rendered(row)} for row in rows])


async def list_v2(service: StorageService, request: Request) -> Response:
    """Everything under a prefix, or one folder with its folders apart; a page at a time."""
    scope = service.scope(request, "storage.object.list_v2")
    bucket_id = bucket_of(request)
    body = await read_body(request, _ListV2Body)
    sort, after = body.sortBy, _Cursor()
    if body.cursor:
        sort, after = _decode_cursor(body.cursor)
    limit = min(body.limit, MAX_KEYS)
    parameters = {
        "bucket_id": bucket_id,
        "prefix": body.prefix,
        "folders": body.with_delimiter,
        "level": body.prefix.count("/") + 1,
        "limit": limit + 1,
        "after_key": after.key,
        "after_value": after.value,
    }
    async with service.database.reading(scope) as connection:
        rows = await (await connection.execute(_statement_v2(sort), parameters)).fetchall()
    page = rows[:limit]
    answer: dict[str, Any] = {
        "hasNext": len(rows) > limit,
        "folders": [_entry(row, body, "/") for row in page if row["id"] is None],
        "objects": [_entry(row, body, "") for row in page if row["id"] is not None],
    }
    if len(rows) > limit:
        answer["nextCursor"] = _encode_cursor(sort, page[-1])
        answer["nextCursorKey"] = page[-1]["name"]
    return JSONResponse(answer)


@dataclass(frozen=True)
class _Cursor:
    """Where the page before ended."""

    key: str | None = None
    value: str | datetime | None = None


def _order_v1(sort: _SortV1) -> sql.Composed:
    direction = sql.SQL("desc" if sort.order == "desc" else "asc")
    if sort.column in {None, "name"}:
        return sql.SQL('lower(key) collate "C" {}').format(direction)
    # Folders have no times: they come first, by name.
    return sql.SQL("id is not null, case when id is null then key end {0}, {1} {0}").format(
        direction, sql.Identifier(str(sort.column))
    )


def _statement_v2(sort: _SortV2) -> sql.Composed:
    by_name = sort.column == "name"
    # A cursor carries milliseconds, so that is what is compared.
    moment = sql.SQL("date_trunc('milliseconds', {})").format(sql.Identifier(sort.column))
    return sql.SQL(_ENTRIES).format(fold=sql.SQL("")) + sql.SQL(_V2).format(
        sort=sql.SQL("key") if by_name else moment,
        type=sql.SQL("text" if by_name else "timestamptz"),
        beyond=sql.SQL("<" if sort.order == "desc" else ">"),
        direction=sql.SQL("desc" if sort.order == "desc" else "asc"),
    )


def _rendered(row: Row) -> dict[str, Any]:
    return {
        "id": None if row["id"] is None else str(row["id"]),
        "updated_at": iso(row["updated_at"]),
        "created_at": iso(row["created_at"]),
        "last_accessed_at": iso(row["last_accessed_at"]),
        "metadata": row["metadata"],
    }


def _entry(row: Row, body: _ListV2Body, suffix: str) -> dict[str, Any]:
    key = {"key": row["leaf"]} if body.with_delimiter else {}
    return {**key, "name": row["name"] + suffix, **_rendered(row)}


def _encode_cursor(sort: _SortV2, row: Row) -> str:
    parts = [f"l:{row['key']}", f"o:{sort.order}", f"c:{sort.column}"]
    if sort.column != "name":
        parts.append(f"a:{iso(row[sort.column])}")
    return base64.b64encode("\n".join(parts).encode()).decode()


def _decode_cursor(cursor: str) -> tuple[_SortV2, _Cursor]:
    try:
        lines = base64.b64decode(cursor, validate=True).decode().split("\n")
        parts = dict(line.split(":", 1) for line in lines)
        sort = _SortV2.model_validate({"column": parts["c"], "order": parts["o"]})
        value = parts["l"] if sort.column == "name" else datetime.fromisoformat(parts["a"])
        return sort, _Cursor(key=parts["l"], value=value)
    except (binascii.Error, ValueError, KeyError):
        message = "Invalid Parameter continuation token"
        raise StorageError(400, "InvalidParameter", message) from None
