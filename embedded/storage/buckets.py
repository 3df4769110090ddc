"""Buckets: create, get, list, update, empty, delete."""

import re
from typing import Any, Final, Literal, LiteralString

from psycopg import errors as pg
from psycopg import sql
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from docmill.embedded.keys import SERVICE_ROLE
from docmill.embedded.storage.bodies import check, read_body
from docmill.embedded.storage.database import Row
from docmill.embedded.storage.errors import (
    StorageError,
    access_denied,
    already_exists,
    invalid_bucket_name,
    invalid_mime_type,
    invalid_request,
    no_such_bucket,
    too_large,
)
from docmill.embedded.storage.names import bucket_of, check_bucket_name
from docmill.embedded.storage.rows import DELETE_BATCH, DELETE_OLDEST, as_uuid, find_bucket, iso
from docmill.embedded.storage.service import StorageService

_SIZE: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(gb|mb|kb|b)", re.IGNORECASE)
_UNITS: Final = {"gb": 10**9, "mb": 10**6, "kb": 1000, "b": 1}
_MIME_TYPE: Final = re.compile(
    r"([a-zA-Z0-9\-+.]+)/([a-zA-Z0-9\-+.]+)(;\s*charset=[a-zA-Z0-9\-]+)?|(.*)\*"
)

_INSERT_BUCKET: Final[LiteralString] = """
    insert into storage.buckets
           (id, name, owner, owner_id, public, file_size_limit, allowed_mime_types)
    values (%s, %s, %s, %s, %s, %s, %s)
"""


class _BucketOptions(BaseModel):
    """What a bucket can be told about itself."""

    public: bool | None = None
    file_size_limit: int | str | None = None
    allowed_mime_types: list[str] | None = None


class _NewBucket(_BucketOptions):
    name: str
    id: str | None = None


class _ListOptions(BaseModel):
    limit: int | None = Field(default=None, ge=1)
    offset: int = Field(default=0, ge=0)
    sortColumn: Literal["id", "name", "created_at", "updated_at"] = "id"  # noqa: N815 -- theirs
    sortOrder: Literal["asc", "desc"] = "asc"  # noqa: N815 -- theirs
    search: str = ""


async def create_bucket(service: StorageService, request: Request) -> Response:
    """Insert the bucket as the caller, whose policies decide."""
    scope = service.scope(request, "storage.bucket.create")
    body = await read_body(request, _NewBucket)
    if body.name != body.name.strip():
        raise invalid_bucket_name()
    check_bucket_name(body.name)
    owner = scope.caller.owner
    values = [
        *(body.id or body.name, body.name, as_uuid(owner), owner, bool(body.public)),
        *(_size_limit(service, body), _mime_types(body)),
    ]
    try:
        async with service.database.transaction(scope) as connection:
            await connection.execute(_INSERT_BUCKET, values)
    except pg.UniqueViolation:
        raise already_exists("BucketAlreadyExists") from None
    return JSONResponse({"name": body.name})


async def list_buckets(service: StorageService, request: Request) -> Response:
    """The buckets that the caller's policies show."""
    scope = service.scope(request, "storage.bucket.list")
    options = check(dict(request.query_params), _ListOptions, "querystring")
    statement = sql.SQL(
        "select * from storage.buckets where position(lower(%s) in lower(name)) > 0"
        " order by {} {} limit %s offset %s"
    ).format(
        sql.Identifier(options.sortColumn),
        sql.SQL("desc" if options.sortOrder == "desc" else "asc"),
    )
    async with service.database.reading(scope) as connection:
        cursor = await connection.execute(
            statement, [options.search, options.limit, options.offset]
        )
        rows = await cursor.fetchall()
    return JSONResponse([_rendered(row) for row in rows])


async def get_bucket(service: StorageService, request: Request) -> Response:
    """One bucket. Raises NoSuchBucket when the caller's policies hide it."""
    scope = service.scope(request, "storage.bucket.get")
    async with service.database.reading(scope) as connection:
        row = await find_bucket(connection, bucket_of(request))
    if row is None:
        raise no_such_bucket()
    return JSONResponse(_rendered(row))


async def update_bucket(service: StorageService, request: Request) -> Response:
    """Change only the properties that the body names."""
    scope = service.scope(request, "storage.bucket.update")
    bucket_id = bucket_of(request)
    body = await read_body(request, _BucketOptions)
    changes = {name: getattr(body, name) for name in body.model_fields_set}
    if not changes:
        raise invalid_request("body must have required property 'public'", error="Error")
    if "file_size_limit" in changes:
        changes["file_size_limit"] = _size_limit(service, body)
    if "allowed_mime_types" in changes:
        changes["allowed_mime_types"] = _mime_types(body)
    statement = sql.SQL("update storage.buckets set {} where id = {}").format(
        sql.SQL(", ").join(
            sql.SQL("{} = {}").format(sql.Identifier(name), sql.Placeholder(name))
            for name in changes
        ),
        sql.Placeholder("bucket_id"),
    )
    async with service.database.transaction(scope) as connection:
        cursor = await connection.execute(statement, {**changes, "bucket_id": bucket_id})
        if cursor.rowcount == 0:
            raise no_such_bucket()
    return JSONResponse({"message": "Successfully updated"})


async def empty_bucket(service: StorageService, request: Request) -> Response:
    """Delete every object there was when the request came. Only for service_role.

    Storage queues this; here it has happened when the answer arrives.
    """
    scope = service.scope(request, "storage.bucket.empty")
    if scope.caller.role != SERVICE_ROLE:
        raise access_denied("Access denied: Invalid role", http_status=403)
    bucket_id = bucket_of(request)
    async with service.database.reading(scope) as connection:
        if await find_bucket(connection, bucket_id) is None:
            raise no_such_bucket()
        cursor = await connection.execute("select clock_timestamp() as now")
        before = (await cursor.fetchall())[0]["now"]
    deleted = DELETE_BATCH
    while deleted == DELETE_BATCH:
        async with service.database.transaction(scope.as_service()) as connection:
            cursor = await connection.execute(DELETE_OLDEST, [bucket_id, before, DELETE_BATCH])
            versions = [row["version"] for row in await cursor.fetchall()]
            await service.store.remove(versions)
        deleted = len(versions)
    return JSONResponse(
        {"message": "Empty bucket has been queued. Completion may take up to an hour."}
    )


async def delete_bucket(service: StorageService, request: Request) -> Response:
    """Delete the bucket as the caller, unless it holds an object."""
    scope = service.scope(request, "storage.bucket.delete")
    bucket_id = bucket_of(request)
    async with service.database.unscoped() as connection:
        if await find_bucket(connection, bucket_id) is None:
            raise no_such_bucket()
        cursor = await connection.execute(
            "select 1 from storage.objects where bucket_id = %s limit 1", [bucket_id]
        )
        if await cursor.fetchone() is not None:
            message = "The bucket you tried to delete is not empty"
            raise StorageError(409, "ResourceNotEmpty", message)
    async with service.database.transaction(scope) as connection:
        # An object that came in between is kept by the foreign key.
        cursor = await connection.execute("delete from storage.buckets where id = %s", [bucket_id])
        if cursor.rowcount == 0:
            raise no_such_bucket()
    return JSONResponse({"message": "Successfully deleted"})


def _size_limit(service: StorageService, options: _BucketOptions) -> int | None:
    limit = options.file_size_limit
    if isinstance(limit, str):
        match = _SIZE.fullmatch(limit)
        if match is None:
            message = "Invalid file size format, hint: use 20GB / 20MB / 30KB / 3B"
            raise invalid_request(message)
        limit = int(float(match[1]) * _UNITS[match[2].lower()])
    if limit is not None and limit < 0:
        raise invalid_request("body/file_size_limit must be >= 0", error="Error")
    if limit is not None and limit > service.settings.max_file_bytes:
        raise too_large()
    return limit


def _mime_types(options: _BucketOptions) -> list[str] | None:
    if options.allowed_mime_types is None:
        return None
    types = [mime_type for mime_type in options.allowed_mime_types if mime_type]
    for mime_type in types:
        if len(mime_type) > 1000 or not _MIME_TYPE.fullmatch(mime_type):
            raise invalid_mime_type(mime_type)
    return types


def _rendered(row: Row) -> dict[str, Any]:
    # Storage's serialiser prints a null owner as an empty string, and clients rely on a string.
    return {
        "id": row["id"],
        "name": row["name"],
        "owner": str(row["owner"] or ""),
        "public": bool(row["public"]),
        "type": row["type"],
        "file_size_limit": row["file_size_limit"],
        "allowed_mime_types": row["allowed_mime_types"],
        "created_at": iso(row["created_at"]),
        "updated_at": iso(row["updated_at"]),
    }
