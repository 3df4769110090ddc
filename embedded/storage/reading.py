"""Reading objects: download, head, info, for callers, for everyone and by token."""

import re
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any, BinaryIO, Final
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from docmill.embedded.storage.auth import SERVICE
from docmill.embedded.storage.bytes_store import BLOCK_BYTES, read_blocks
from docmill.embedded.storage.database import Row, Scope
from docmill.embedded.storage.errors import (
    BytesMissingError,
    invalid_range,
    invalid_request,
    no_such_bucket,
)
from docmill.embedded.storage.names import bucket_of, check_object_name, object_of
from docmill.embedded.storage.rows import find_bucket, iso, require_object
from docmill.embedded.storage.service import StorageService, scope_of

_RANGE: Final = re.compile(r"bytes=(\d*)-(\d*)", re.ASCII)
#: What a header's value may not hold; metadata is whatever a client or SQL wrote.
_UNSENDABLE: Final = re.compile(r"[^\t\x20-\x7e\x80-\xff]")


async def download(service: StorageService, request: Request) -> Response:
    """The bytes, to whoever may see the object; of a public bucket to everyone."""
    scope = service.public_scope(request, "storage.object.get_authenticated")
    return await _send_bytes(service, request, scope)


async def download_authenticated(service: StorageService, request: Request) -> Response:
    """The bytes, to whoever may see the object and says who it is."""
    scope = service.scope(request, "storage.object.get_authenticated")
    return await _send_bytes(service, request, scope)


async def download_public(service: StorageService, request: Request) -> Response:
    """The bytes of an object in a public bucket."""
    scope = scope_of(request, "storage.object.get_public", SERVICE)
    await _check_public(service, bucket_of(request))
    return await _send_bytes(service, request, scope)


async def download_signed(service: StorageService, request: Request) -> Response:
    """The bytes, to whoever holds a token for exactly this object."""
    token = request.query_params.get("token")
    if token is None:
        message = "querystring must have required property 'token'"
        raise invalid_request(message, error="Error")
    path = f"{bucket_of(request)}/{object_of(request)}"
    claims = service.auth.read_signed(token, path, "download")
    scope = scope_of(request, "storage.object.get_signed", SERVICE)
    response = await _send_bytes(service, request, scope)
    del response.headers["cache-control"]
    response.headers["expires"] = _http_date(datetime.fromtimestamp(claims["exp"], UTC))
    return response


async def head(service: StorageService, request: Request) -> Response:
    """The headers of a download, from the row alone."""
    return _head(await _find(service, service.public_scope(request, _HEAD), request), request)


async def head_authenticated(service: StorageService, request: Request) -> Response:
    """The same; a token is required."""
    return _head(await _find(service, service.scope(request, _HEAD), request), request)


async def head_public(service: StorageService, request: Request) -> Response:
    """The same, of an object in a public bucket."""
    scope = scope_of(request, "storage.object.info_public", SERVICE)
    await _check_public(service, bucket_of(request))
    return _head(await _find(service, scope, request), request)


async def info(service: StorageService, request: Request) -> Response:
    """What Storage knows about the object, its version included."""
    return _info(await _find(service, service.public_scope(request, _INFO), request))


async def info_authenticated(service: StorageService, request: Request) -> Response:
    """The same; a token is required."""
    return _info(await _find(service, service.scope(request, _INFO), request))


async def info_public(service: StorageService, request: Request) -> Response:
    """The same, of an object in a public bucket."""
    scope = scope_of(request, "storage.object.info_public", SERVICE)
    await _check_public(service, bucket_of(request))
    return _info(await _find(service, scope, request))


_HEAD: Final = "object.head_authenticated_info"
_INFO: Final = "object.get_authenticated_info"


async def _check_public(service: StorageService, bucket_id: str) -> None:
    async with service.database.unscoped() as connection:
        bucket = await find_bucket(connection, bucket_id)
    if bucket is None or not bucket["public"]:
        raise no_such_bucket()


async def _find(service: StorageService, scope: Scope, request: Request) -> Row:
    """The row, if the scope's caller may see it; everyone sees into a public bucket."""
    bucket_id, name = bucket_of(request), object_of(request)
    async with service.database.unscoped() as connection:
        bucket = await find_bucket(connection, bucket_id)
    if bucket is None or not (scope.caller.authenticated or bucket["public"]):
        raise no_such_bucket()
    check_object_name(name)
    reader = scope.as_service() if bucket["public"] else scope
    async with service.database.reading(reader) as connection:
        return await require_object(connection, bucket_id, name)


async def _send_bytes(service: StorageService, request: Request, scope: Scope) -> Response:
    row = await _find(service, scope, request)
    try:
        file, size = await service.store.open(row["version"])
    except BytesMissingError:
        # An overwrite between our two looks took the bytes away: the next version has its own.
        again = await _find(service, scope, request)
        if again["version"] == row["version"]:
            raise
        row = again
        file, size = await service.store.open(row["version"])
    try:
        return await _asset(request, row, file, size)
    except BaseException:
        file.close()
        raise


async def _asset(request: Request, row: Row, file: BinaryIO, size: int) -> Response:
    metadata = row["metadata"] or {}
    headers = {**_headers(metadata), "Accept-Ranges": "bytes"}
    if_none_match = request.headers.get("if-none-match")
    if if_none_match is not None:
        if if_none_match == headers.get("ETag"):
            file.close()
            return Response(status_code=304, headers=headers)
        headers["Cache-Control"] += ", stale-while-revalidate=30"
    if "download" in request.query_params:
        headers["Content-Disposition"] = _attachment(request.query_params["download"])
    wanted = request.headers.get("range")
    start, end = (0, size) if wanted is None else _parse_range(wanted, size)
    if wanted is not None:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    headers["Content-Length"] = str(end - start)
    status = 200 if wanted is None else 206
    blocks = read_blocks(file, start, end - start)
    if end - start > BLOCK_BYTES:
        return StreamingResponse(blocks, status, headers)
    return Response(b"".join([block async for block in blocks]), status, headers)


def _head(row: Row, request: Request) -> Response:
    metadata = row["metadata"] or {}
    headers = {**_headers(metadata), "Accept-Ranges": "bytes"}
    if_none_match = request.headers.get("if-none-match")
    if if_none_match is not None and if_none_match != headers.get("ETag"):
        headers["Cache-Control"] += ", must-revalidate"
    if isinstance(metadata.get("contentLength"), int):
        headers["Content-Length"] = str(metadata["contentLength"])
    return Response(headers=headers)


def _info(row: Row) -> Response:
    metadata = row["metadata"] or {}
    headers = _headers(metadata)
    del headers["Content-Type"]
    body = {
        "id": str(row["id"]),
        "name": row["name"],
        "version": row["version"],
        "bucket_id": row["bucket_id"],
        "size": metadata.get("size"),
        "content_type": metadata.get("mimetype"),
        "cache_control": metadata.get("cacheControl"),
        "etag": metadata.get("eTag"),
        "metadata": row["user_metadata"],
        "last_modified": iso(row["updated_at"]),
        "created_at": iso(row["created_at"]),
    }
    return JSONResponse(body, headers=headers)


def _headers(metadata: dict[str, Any]) -> dict[str, str]:
    mime_type = str(metadata.get("mimetype") or "application/octet-stream")
    headers = {
        # Nobody's page is served from the project's address.
        "Content-Type": "text/plain" if "text/html" in mime_type else mime_type,
        "Cache-Control": str(metadata.get("cacheControl") or "no-cache"),
        "X-Robots-Tag": "none",
    }
    if metadata.get("eTag"):
        headers["ETag"] = str(metadata["eTag"])
    modified = _parse_time(metadata.get("lastModified"))
    if modified is not None:
        headers["Last-Modified"] = _http_date(modified)
    for name, value in headers.items():
        if _UNSENDABLE.search(value):
            message = f'Invalid character in response header "{name.lower()}"'
            raise invalid_request(message, error="invalid_header_char")
    return headers


def _parse_time(text: object) -> datetime | None:
    try:
        return datetime.fromisoformat(str(text)).astimezone(UTC)
    except ValueError:
        return None


def _http_date(moment: datetime) -> str:
    return format_datetime(moment, usegmt=True)


def _attachment(file_name: str) -> str:
    if not file_name:
        return "attachment;"
    encoded = quote(file_name, safe="!'()*")
    return f"attachment; filename={encoded}; filename*=UTF-8''{encoded}"


#: `bytes=`, two numbers of 18 digits, and the hyphen.
_MAX_RANGE = 43


def _parse_range(header: str, size: int) -> tuple[int, int]:
    """First byte and the one after the last. Raises InvalidRange."""
    match = _RANGE.fullmatch(header)
    # Longer numbers than any size has are not even converted.
    if match is None or size == 0 or not (match[1] or match[2]) or len(header) > _MAX_RANGE:
        raise invalid_range()
    if not match[1]:
        start, end = max(size - int(match[2]), 0), size
    else:
        start, end = int(match[1]), min(int(match[2] or size - 1) + 1, size)
    if start >= end:
        raise invalid_range()
    return start, end
