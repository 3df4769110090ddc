"""Lists the objects of a folder as the caller sees them."""

from typing import Any, Final, Literal

from psycopg import sql
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from docmill.embedded.part import Row
from docmill.embedded.storage.bodies import read_body
from docmill.embedded.storage.names import bucket_of
from docmill.embedded.storage.rows import iso
from docmill.embedded.storage.service import StorageService

_MAX_ENTRIES: Final = 1500

#: Objects, and folders: a folder is the text before the next slash, whatever its case. Folders have
#: no times, so in an order by time they come first.
_ENTRIES: Final = """
    with found as (
        select o.*, split_part(o.name, '/', %(level)s) as leaf,
               strpos(substr(o.name, length(%(prefix)s) + 1), '/') > 0 as is_inside
          from storage.objects as o
         where o.bucket_id = %(bucket_id)s and starts_with(lower(o.name), lower(%(prefix)s))
    ), entries as (
        select leaf as name, id, updated_at, created_at, last_accessed_at, metadata
          from found where not is_inside
        union all
        select min(leaf collate "C"), null, null, null, null, null
          from found where is_inside group by lower(leaf)
    )
    select * from entries
     order by {column} {direction} nulls first, lower(name) collate "C" {direction}
     limit %(limit)s offset %(offset)s
"""


class _SortBy(BaseModel):
    column: Literal["name", "updated_at", "created_at", "last_accessed_at"] = "name"
    order: Literal["asc", "desc"] = "asc"


class _ListBody(BaseModel):
    prefix: str
    limit: int = Field(default=100, ge=1)
    offset: int = Field(default=0, ge=0)
    sortBy: _SortBy = _SortBy()  # noqa: N815 -- theirs
    search: str = ""


async def list_objects(service: StorageService, request: Request) -> Response:
    """List one folder: its objects and folders, names without the path."""
    scope = service.scope(request, "storage.object.list")
    bucket_id = bucket_of(request)
    body = await read_body(request, _ListBody)
    folder = body.prefix
    if folder and not folder.endswith("/"):
        folder += "/"
    prefix = folder + body.search
    by_name = sql.SQL('lower(name) collate "C"')
    column = body.sortBy.column
    statement = sql.SQL(_ENTRIES).format(
        column=by_name if column == "name" else sql.Identifier(column),
        direction=sql.SQL("desc" if body.sortBy.order == "desc" else "asc"),
    )
    parameters = {
        "bucket_id": bucket_id,
        "prefix": prefix,
        "level": prefix.count("/") + 1,
        "limit": min(body.limit, _MAX_ENTRIES),
        "offset": body.offset,
    }
    async with service.database.reading(scope) as connection:
        rows = await (await connection.execute(statement, parameters)).fetchall()
    return JSONResponse([_rendered(row) for row in rows])


def _rendered(row: Row) -> dict[str, Any]:
    times = {name: iso(row[name]) for name in ("updated_at", "created_at", "last_accessed_at")}
    object_id = None if row["id"] is None else str(row["id"])
    return {"name": row["name"], "id": object_id, **times, "metadata": row["metadata"]}
