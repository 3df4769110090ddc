"""Reading objects: download and info for callers, and download with a signed URL."""

import re
from typing import Any, Final
from urllib.parse import quote

from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from docmill.embedded.part import Row
from docmill.embedded.storage.auth import SERVICE
from docmill.embedded.storage.bodies import read_body
from docmill.embedded.storage.bytes_store import read_blocks
from docmill.embedded.storage.database import Scope
from docmill.embedded.storage.errors import (
    BytesMissingError,
    StorageError,
    invalid_request,
    no_such_bucket,
)
from docmill.embedded.storage.names import bucket_of, check_object_name, object_of
from docmill.embedded.storage.rows import find_bucket, iso, require_object
from docmill.embedded.storage.service import StorageService, scope_of

_DOWNLOAD: Final = "storage.object.get_authenticated"
_INFO: Final = "object.get_authenticated_info"
#: Characters that a header's value may not have; clients and SQL can write any metadata.
_UNSENDABLE: Final = re.compile(r"[^\t\x20-\x7e\x80-\xff]")
#: Later dates do not fit JavaScript, and Storage refuses them.
_MAX_SECONDS: Final = 2**31


class _SignBody(BaseModel):
    expiresIn: int = Field(ge=1, le=_MAX_SECONDS)  # noqa: N815 -- theirs; may come as a text


async def download(service: StorageService, request: Request) -> Response:
    """Send the bytes to a caller who may see the object; without a caller, no bucket is found."""
    return await _send_bytes(service, request, _scope_or_nobody(service, request, _DOWNLOAD))


async def download_authenticated(service: StorageService, request: Request) -> Response:
    """As `download`, but a caller without a valid token gets an error that says so."""
    return await _send_bytes(service, request, service.scope(request, _DOWNLOAD))


async def info(service: StorageService, request: Request) -> Response:
    """Storage's facts about the object, with its version."""
    return _info(await _find(service, _scope_or_nobody(service, request, _INFO), request))


async def info_authenticated(service: StorageService, request: Request) -> Response:
    """As `info`, but a caller without a valid token gets an error that says so."""
    return _info(await _find(service, service.scope(request, _INFO), request))


async def sign(service: StorageService, request: Request) -> Response:
    """Sign a URL that reads one object which the caller may read."""
    scope = service.scope(request, "storage.object.sign")
    bucket_id, name = bucket_of(request), check_object_name(object_of(request))
    body = await read_body(request, _SignBody)
    async with service.database.reading(scope) as connection:
        await require_object(connection, bucket_id, name)
    path = f"{bucket_id}/{name}"
    token = service.auth.sign(path, seconds=body.expiresIn)
    # Storage leaves the path unencoded, and clients encode it. Encode only `?`, which would end the
    # path.
    return JSONResponse({"signedURL": f"/object/sign/{path.replace('?', '%3F')}?token={token}"})


async def download_signed(service: StorageService, request: Request) -> Response:
    """Send the bytes to the holder of a token for exactly this object."""
    token = request.query_params.get("token")
    if token is None:
        raise invalid_request("querystring must have required property 'token'")
    service.auth.read_signed(token, f"{bucket_of(request)}/{object_of(request)}")
    response = await _send_bytes(
        service, request, scope_of(request, "storage.object.get_signed", SERVICE)
    )
    file_name = request.query_params.get("download")
    if file_name is not None:
        encoded = quote(file_name, safe="!'()*")
        named = f" filename={encoded}; filename*=UTF-8''{encoded}" if file_name else ""
        response.headers["Content-Disposition"] = f"attachment;{named}"
    return response


def _scope_or_nobody(service: StorageService, request: Request, operation: str) -> Scope:
    """The scope of a route that also serves public buckets: a bad token counts as no token."""
    try:
        return service.scope(request, operation)
    except StorageError as error:
        raise error if error.http_status == 401 else no_such_bucket() from None


async def _find(service: StorageService, scope: Scope, request: Request) -> Row:
    """The row, if the scope's caller may see it."""
    bucket_id, name = bucket_of(request), object_of(request)
    async with service.database.unscoped() as connection:
        if await find_bucket(connection, bucket_id) is None:
            raise no_such_bucket()
    check_object_name(name)
    async with service.database.reading(scope) as connection:
        return await require_object(connection, bucket_id, name)


async def _send_bytes(service: StorageService, request: Request, scope: Scope) -> Response:
    row = await _find(service, scope, request)
    headers = _headers(row["metadata"] or {})
    try:
        file, size = await service.store.open(row["version"])
    except BytesMissingError:
        # An overwrite removed the bytes after the row was read: read again, the new version has its
        # own.
        again = await _find(service, scope, request)
        if again["version"] == row["version"]:
            raise
        headers = _headers(again["metadata"] or {})
        file, size = await service.store.open(again["version"])
    headers["Content-Length"] = str(size)
    return StreamingResponse(read_blocks(file), headers=headers)


def _info(row: Row) -> Response:
    metadata = row["metadata"] or {}
    return JSONResponse(
        {
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
    )


def _headers(metadata: dict[str, Any]) -> dict[str, str]:
    mime_type = str(metadata.get("mimetype") or "application/octet-stream")
    headers = {
        # The project's address must not serve a user's file as a web page.
        "Content-Type": "text/plain" if "text/html" in mime_type else mime_type,
        "Cache-Control": str(metadata.get("cacheControl") or "no-cache"),
        "X-Robots-Tag": "none",
    }
    if metadata.get("eTag"):
        headers["ETag"] = str(metadata["eTag"])
    for name, value in headers.items():
        if _UNSENDABLE.search(value):
            raise invalid_request(f'Invalid character in response header "{name.lower()}"')
    return headers
