"""Uploads in Storage's own order: check the policies, store the bytes, then commit the row.

1. The row is really written as the caller, with version '1', and rolled back.
2. The bytes go to disk under a new version.
3. The row is written as service_role and committed, always as an upsert; then the bytes of the
   version that it replaced are removed.

So a committed row, and its webhook, always name bytes that can be read.
"""

import base64
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final

from psycopg import errors as pg
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from docmill.embedded.part import Row
from docmill.embedded.storage.bytes_store import BLOCK_BYTES, StoredBytes
from docmill.embedded.storage.database import Scope
from docmill.embedded.storage.errors import (
    StorageError,
    already_exists,
    invalid_mime_type,
    invalid_request,
    no_such_bucket,
    too_large,
)
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
from docmill.embedded.storage.service import StorageService

#: The version that Storage writes while it only checks the policies.
REHEARSED_VERSION: Final = "1"
#: The size limit for fields of a form, and for user metadata.
_MAX_FIELD_BYTES: Final = 1024 * 1024
_MAX_FIELDS: Final = 10
_CONTENT_TYPE: Final = re.compile(r"[\w!#$&^.+-]+/[\w!#$&^.+-]+\s*(;.*)?", re.ASCII)


@dataclass(frozen=True)
class _Incoming:
    """The file in a request."""

    mime_type: str  #: as claimed by the client
    cache_control: str
    user_metadata: dict[str, Any] | None
    chunks: AsyncIterator[bytes]


async def upload(service: StorageService, request: Request) -> Response:
    """Upload a new object, or a new version of one if x-upsert says so."""
    scope = service.scope(request, "storage.object.upload")
    upsert = request.headers.get("x-upsert") == "true"
    bucket_id, name, owner = bucket_of(request), object_of(request), scope.caller.owner
    async with service.database.unscoped() as connection:
        bucket = await find_bucket(connection, bucket_id)
    if bucket is None:
        raise no_such_bucket()
    max_bytes = _max_bytes(service, bucket, name)
    async with AsyncExitStack() as stack:
        incoming = await _open(request, max_bytes, stack)
        _check_mime_type(bucket, name, incoming.mime_type)
        check_object_name(name)
        declared = {"mimetype": incoming.mime_type}
        length = _content_length(request)
        asked = ObjectValues(
            *(bucket_id, name, REHEARSED_VERSION, owner),
            metadata=declared if length is None else {**declared, "contentLength": length},
            user_metadata=incoming.user_metadata,
        )
        await rehearse(service, scope, asked, upsert=upsert)
        stored = await service.store.write(incoming.chunks, max_bytes=max_bytes)
    metadata = _metadata(stored, incoming)
    values = ObjectValues(
        bucket_id, name, stored.version, owner, metadata, incoming.user_metadata or {}
    )
    row = await complete(service, scope, values)
    return JSONResponse({"Id": str(row["id"]), "Key": f"{bucket_id}/{name}"})


async def rehearse(
    service: StorageService, scope: Scope, values: ObjectValues, *, upsert: bool
) -> None:
    """Check the caller's policies: make the change and roll back. Raises what the change raises."""
    async with service.database.rehearsal(scope) as connection:
        if upsert:
            await upsert_object(connection, values)
            return
        try:
            await insert_object(connection, values)
        except pg.UniqueViolation:
            raise already_exists("KeyAlreadyExists") from None


async def complete(service: StorageService, scope: Scope, values: ObjectValues) -> Row:
    """Commit the row whose bytes are stored, then remove the bytes that it replaced.

    If that fails, the new bytes are removed and the old ones stay.
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


def _metadata(stored: StoredBytes, incoming: _Incoming) -> dict[str, Any]:
    """The column `metadata` of an object with these bytes."""
    return {
        "eTag": stored.etag,
        "size": stored.size,
        "mimetype": incoming.mime_type,
        "cacheControl": incoming.cache_control,
        "lastModified": iso(stored.modified),
        "contentLength": stored.size,
        "httpStatusCode": 200,
    }


def _max_bytes(service: StorageService, bucket: Row, name: str) -> int:
    if _is_folder_placeholder(name):
        return 0
    limit = bucket["file_size_limit"]
    project_limit = service.settings.max_file_bytes
    return project_limit if limit is None else min(limit, project_limit)


def _is_folder_placeholder(name: str) -> bool:
    """The empty object that the dashboard makes for a new folder; bucket rules do not apply."""
    return name.endswith(".emptyFolderPlaceholder")


def _check_mime_type(bucket: Row, name: str, mime_type: str) -> None:
    allowed = bucket["allowed_mime_types"]
    if not allowed or _is_folder_placeholder(name):
        return
    kind, slash, subtype = mime_type.partition("/")
    if not slash or not {f"{kind}/*", f"{kind}/{subtype}"} & set(allowed):
        raise invalid_mime_type(mime_type)


async def _open(request: Request, max_bytes: int, stack: AsyncExitStack) -> _Incoming:
    content_type = request.headers.get("content-type", "")
    if content_type.startswith("multipart/form-data"):
        return await _open_form(request, max_bytes, stack)
    if content_type and not _CONTENT_TYPE.fullmatch(content_type):
        message = "Invalid Content-Type header"
        raise StorageError(415, "InvalidMimeType", message, error="invalid_mime_type")
    if (_content_length(request) or 0) > max_bytes:
        raise too_large()
    metadata = request.headers.get("x-metadata")
    return _Incoming(
        mime_type=content_type or "application/octet-stream",
        cache_control=request.headers.get("cache-control", "no-cache"),
        user_metadata=None if metadata is None else _decode_metadata(metadata),
        chunks=aiter(request.stream()),
    )


async def _open_form(request: Request, max_bytes: int, stack: AsyncExitStack) -> _Incoming:
    """Read the whole form; its file stays in a temporary file until it may be stored."""
    parser = MultiPartParser(
        request.headers,
        _bounded(request, max_bytes + _MAX_FIELDS * _MAX_FIELD_BYTES),
        max_files=1,
        max_fields=_MAX_FIELDS,
        max_part_size=_MAX_FIELD_BYTES,
    )
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise invalid_request(error.message) from None
    stack.push_async_callback(form.close)
    file = next((part for part in form.values() if isinstance(part, UploadFile)), None)
    if file is None:
        raise invalid_request("No content provided")
    fields = {name: value for name, value in form.items() if isinstance(value, str)}
    seconds = fields.get("cacheControl")
    metadata = fields.get("metadata", fields.get("userMetadata"))
    claimed = fields.get("contentType") or file.content_type or "text/plain"
    return _Incoming(
        mime_type=claimed.partition(";")[0].strip(),
        cache_control=f"max-age={seconds}" if seconds else "no-cache",
        user_metadata=None if metadata is None else _parse_metadata(metadata),
        chunks=_blocks(file),
    )


async def _bounded(request: Request, most_bytes: int) -> AsyncGenerator[bytes, None]:
    async for chunk in request.stream():
        most_bytes -= len(chunk)
        if most_bytes < 0:
            raise too_large()
        yield chunk


async def _blocks(file: UploadFile) -> AsyncIterator[bytes]:
    while block := await file.read(BLOCK_BYTES):
        yield block


def _decode_metadata(encoded: str) -> dict[str, Any] | None:
    """User metadata from an x-metadata header, base64 of JSON. None if it is not that."""
    try:
        return _parse_metadata(base64.b64decode(encoded + "==").decode())
    except ValueError:
        return None


def _parse_metadata(text: str) -> dict[str, Any] | None:
    # Storage ignores metadata that it cannot parse: the upload succeeds without them.
    try:
        parsed = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _content_length(request: Request) -> int | None:
    """The length that the request declares for its whole body."""
    value = request.headers.get("content-length", "")
    return int(value) if value.isascii() and value.isdigit() else None
