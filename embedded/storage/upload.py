"""Uploads in Storage's own order: ask the policies, store the bytes, then commit the row.

1. The row is really written as the caller, with version '1', and rolled back.
2. The bytes go to disk under a version of their own.
3. The row is written as service_role and committed, always as an upsert; then the bytes of the
   version that it replaced go.

So a committed row, and a webhook with it, always names bytes that can be read.
"""

import base64
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

from psycopg import errors as pg
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from docmill.embedded.storage.auth import SERVICE
from docmill.embedded.storage.bytes_store import StoredBytes
from docmill.embedded.storage.database import Row, Scope
from docmill.embedded.storage.errors import (
    StorageError,
    already_exists,
    invalid_mime_type,
    invalid_request,
    no_such_bucket,
    too_large,
)
from docmill.embedded.storage.multipart import MAX_FIELD_BYTES, read_form
from docmill.embedded.storage.names import bucket_of, check_object_name, object_of
from docmill.embedded.storage.rows import (
    ObjectValues,
    find_bucket,
    find_object,
    insert_object,
    iso,
    lock_object,
    upsert_object,
)
from docmill.embedded.storage.service import StorageService, scope_of

#: What Storage writes as version while it only asks.
REHEARSED_VERSION: Final = "1"
_CONTENT_TYPE: Final = re.compile(r"[\w!#$&^.+-]+/[\w!#$&^.+-]+\s*(;.*)?", re.ASCII)


@dataclass(frozen=True)
class _Incoming:
    """The file in a request, its body not yet read."""

    mime_type: str  #: what the client claims
    cache_control: str
    user_metadata: dict[str, Any] | None
    declared_length: int | None  #: of the whole request
    chunks: AsyncIterator[bytes]


async def create_object(service: StorageService, request: Request) -> Response:
    """POST: a new object, or another version of it when x-upsert says so."""
    scope = service.scope(request, "storage.object.upload")
    upsert = request.headers.get("x-upsert") == "true"
    row = await _upload(service, request, scope, owner=scope.caller.owner, upsert=upsert)
    return JSONResponse({"Id": str(row["id"]), "Key": f"{row['bucket_id']}/{row['name']}"})


async def update_object(service: StorageService, request: Request) -> Response:
    """PUT: the same with upsert."""
    scope = service.scope(request, "storage.object.upload_update")
    row = await _upload(service, request, scope, owner=scope.caller.owner, upsert=True)
    return JSONResponse({"Id": str(row["id"]), "Key": f"{row['bucket_id']}/{row['name']}"})


async def upload_signed(service: StorageService, request: Request) -> Response:
    """PUT with the token of a signed upload URL: past the policies, owned by whoever signed."""
    token = request.query_params.get("token")
    if token is None:
        message = "querystring must have required property 'token'"
        raise invalid_request(message, error="Error")
    path = f"{bucket_of(request)}/{object_of(request)}"
    claims = service.auth.read_signed(token, path, "upload")
    scope = scope_of(request, "storage.object.upload_signed", SERVICE)
    row = await _upload(
        service, request, scope, owner=claims.get("owner"), upsert=bool(claims.get("upsert"))
    )
    return JSONResponse({"Key": f"{row['bucket_id']}/{row['name']}"})


def asked_values(
    target: tuple[str, str],
    owner: str | None,
    *,
    mime_type: str | None,
    content_length: int | None,
    user_metadata: dict[str, Any] | None,
) -> ObjectValues:
    """The row of the permission test, before there are bytes: what the request declares."""
    declared = {"mimetype": mime_type, "contentLength": content_length}
    return ObjectValues(
        *(*target, REHEARSED_VERSION, owner),
        metadata={name: value for name, value in declared.items() if value is not None},
        user_metadata=user_metadata,
        keep_user_metadata=user_metadata is None,
    )


async def rehearse(
    service: StorageService, scope: Scope, values: ObjectValues, *, upsert: bool
) -> None:
    """Ask the caller's policies by doing it and rolling back. Raises what doing it raises."""
    async with service.database.rehearsal(scope) as connection:
        if upsert:
            await upsert_object(connection, values)
            return
        try:
            await insert_object(connection, values)
        except pg.UniqueViolation:
            raise already_exists("KeyAlreadyExists") from None


async def complete(service: StorageService, scope: Scope, values: ObjectValues) -> Row:
    """Commit the row whose bytes are stored, then drop the bytes that it replaced.

    When that fails the new bytes go and the old ones stay.
    """
    try:
        async with service.database.transaction(scope.as_service()) as connection:
            await lock_object(connection, values.bucket_id, values.name)
            replaced = await find_object(connection, values.bucket_id, values.name, for_update=True)
            row = await upsert_object(connection, values)
    except BaseException:
        await service.store.remove([values.version])
        raise
    if replaced is not None:
        await service.store.remove([replaced["version"]])
    return row


async def _upload(
    service: StorageService, request: Request, scope: Scope, *, owner: str | None, upsert: bool
) -> Row:
    bucket_id, name = bucket_of(request), object_of(request)
    bucket = await _bucket(service, bucket_id)
    max_bytes = _max_bytes(service, bucket, name)
    incoming = await _open(request, max_bytes)
    _check_mime_type(bucket, name, incoming.mime_type)
    check_object_name(name)
    asked = asked_values(
        (bucket_id, name),
        owner,
        mime_type=incoming.mime_type,
        content_length=incoming.declared_length,
        user_metadata=incoming.user_metadata,
    )
    await rehearse(service, scope, asked, upsert=upsert)
    stored = await service.store.write(incoming.chunks, max_bytes=max_bytes)
    metadata = object_metadata(stored, incoming.mime_type, incoming.cache_control)
    values = ObjectValues(
        bucket_id, name, stored.version, owner, metadata, incoming.user_metadata or {}
    )
    return await complete(service, scope, values)


def object_metadata(stored: StoredBytes, mime_type: str, cache_control: str) -> dict[str, Any]:
    """The column `metadata` of an object with these bytes."""
    return {
        "eTag": stored.etag,
        "size": stored.size,
        "mimetype": mime_type,
        "cacheControl": cache_control,
        "lastModified": iso(stored.modified),
        "contentLength": stored.size,
        "httpStatusCode": 200,
    }


async def _bucket(service: StorageService, bucket_id: str) -> Row:
    async with service.database.unscoped() as connection:
        bucket = await find_bucket(connection, bucket_id)
    if bucket is None:
        raise no_such_bucket()
    return bucket


def _max_bytes(service: StorageService, bucket: Row, name: str) -> int:
    if is_folder_placeholder(name):
        return 0
    limit = bucket["file_size_limit"]
    project_limit = service.settings.max_file_bytes
    return project_limit if limit is None else min(limit, project_limit)


def is_folder_placeholder(name: str) -> bool:
    """The empty object that the dashboard makes for a new folder; exempt from bucket rules."""
    return name.endswith(".emptyFolderPlaceholder")


def _check_mime_type(bucket: Row, name: str, mime_type: str) -> None:
    allowed = bucket["allowed_mime_types"]
    if not allowed or is_folder_placeholder(name):
        return
    kind, slash, subtype = mime_type.partition("/")
    if not slash or not {f"{kind}/*", f"{kind}/{subtype.split('/')[0]}"} & set(allowed):
        raise invalid_mime_type(mime_type)


async def _open(request: Request, max_bytes: int) -> _Incoming:
    content_type = request.headers.get("content-type", "")
    if content_type.startswith("multipart/form-data"):
        return await _open_form(request, content_type)
    return _open_raw(request, content_type, max_bytes)


async def _open_form(request: Request, content_type: str) -> _Incoming:
    form = await read_form(content_type, aiter(request.stream()))
    seconds = form.fields.get("cacheControl")
    metadata = form.fields.get("metadata", form.fields.get("userMetadata"))
    return _Incoming(
        mime_type=form.fields.get("contentType") or form.content_type,
        cache_control=f"max-age={seconds}" if seconds else "no-cache",
        user_metadata=None if metadata is None else _parse_metadata(metadata),
        declared_length=content_length(request),
        chunks=form.chunks,
    )


def _open_raw(request: Request, content_type: str, max_bytes: int) -> _Incoming:
    if content_type and not _CONTENT_TYPE.fullmatch(content_type):
        message = "Invalid Content-Type header"
        raise StorageError(415, "InvalidMimeType", message, error="invalid_mime_type")
    length = content_length(request)
    if length is not None and length > max_bytes:
        raise too_large()
    metadata = request.headers.get("x-metadata")
    return _Incoming(
        mime_type=content_type or "application/octet-stream",
        cache_control=request.headers.get("cache-control", "no-cache"),
        user_metadata=None if metadata is None else parse_header_metadata(metadata),
        declared_length=length,
        chunks=aiter(request.stream()),
    )


def parse_header_metadata(encoded: str) -> dict[str, Any] | None:
    """User metadata from an x-metadata header, base64 of JSON. None when it is neither."""
    try:
        return _parse_metadata(base64.b64decode(encoded + "==").decode())
    except ValueError:
        return None


def _parse_metadata(text: str) -> dict[str, Any] | None:
    # Storage ignores metadata that it cannot parse: the upload succeeds without.
    if len(text.encode()) > MAX_FIELD_BYTES:
        raise too_large("user_metadata")
    try:
        parsed = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def content_length(request: Request) -> int | None:
    """The length that the request declares for its whole body."""
    value = request.headers.get("content-length", "")
    return int(value) if value.isascii() and value.isdigit() else None
