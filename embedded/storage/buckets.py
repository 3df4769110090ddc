"""Buckets: create, list, delete. All are private."""

from typing import Any, Final, LiteralString

from psycopg import errors as pg
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from docmill.embedded.part import Row
from docmill.embedded.storage.bodies import read_body
from docmill.embedded.storage.errors import (
    StorageError,
    already_exists,
    invalid_request,
    no_such_bucket,
)
from docmill.embedded.storage.names import bucket_of, check_bucket_name
from docmill.embedded.storage.rows import as_uuid, iso
from docmill.embedded.storage.service import StorageService

_INSERT: Final[LiteralString] = """
    insert into storage.buckets (id, name, owner, owner_id, file_size_limit, allowed_mime_types)
    values (%s, %s, %s, %s, %s, %s)
"""


class _NewBucket(BaseModel):
    name: str
    id: str | None = None
    public: bool | None = None
    file_size_limit: int | None = Field(default=None, ge=0)
    allowed_mime_types: list[str] | None = None


async def create_bucket(service: StorageService, request: Request) -> Response:
    """Insert the bucket as the caller, whose policies decide."""
    scope = service.scope(request, "storage.bucket.create")
    body = await read_body(request, _NewBucket)
    check_bucket_name(body.name)
    if body.public:
        raise invalid_request("The embedded mode has private buckets only")
    owner = scope.caller.owner
    values = [
        *(body.id or body.name, body.name, as_uuid(owner), owner),
        *(body.file_size_limit, body.allowed_mime_types),
    ]
    try:
        async with service.database.transaction(scope) as connection:
            await connection.execute(_INSERT, values)
    except pg.UniqueViolation:
        raise already_exists("BucketAlreadyExists") from None
    return JSONResponse({"name": body.name})


async def list_buckets(service: StorageService, request: Request) -> Response:
    """The buckets that the caller's policies show."""
    scope = service.scope(request, "storage.bucket.list")
    async with service.database.reading(scope) as connection:
        cursor = await connection.execute("select * from storage.buckets order by id")
        rows = await cursor.fetchall()
    return JSONResponse([_rendered(row) for row in rows])


async def delete_bucket(service: StorageService, request: Request) -> Response:
    """Delete the bucket as the caller, unless it holds an object."""
    scope = service.scope(request, "storage.bucket.delete")
    bucket_id = bucket_of(request)
    try:
        async with service.database.transaction(scope) as connection:
            cursor = await connection.execute(
                "delete from storage.buckets where id = %s", [bucket_id]
            )
    except pg.ForeignKeyViolation:
        message = "The bucket you tried to delete is not empty"
        raise StorageError(409, "ResourceNotEmpty", message) from None
    if cursor.rowcount == 0:
        raise no_such_bucket()
    return JSONResponse({"message": "Successfully deleted"})


def _rendered(row: Row) -> dict[str, Any]:
    # Storage's serialiser prints a null owner as an empty string, and clients expect a string.
    return {
        "id": row["id"],
        "name": row["name"],
        "owner": str(row["owner"] or ""),
        "public": False,
        "type": row["type"],
        "file_size_limit": row["file_size_limit"],
        "allowed_mime_types": row["allowed_mime_types"],
        "created_at": iso(row["created_at"]),
        "updated_at": iso(row["updated_at"]),
    }
