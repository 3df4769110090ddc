"""Signed URLs: for reading one or many objects, for uploading one."""

from typing import Final

from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from docmill.embedded.storage.bodies import read_body
from docmill.embedded.storage.names import bucket_of, check_object_name, object_of
from docmill.embedded.storage.rows import FIND_NAMES, require_object
from docmill.embedded.storage.service import StorageService
from docmill.embedded.storage.upload import (
    asked_values,
    content_length,
    parse_header_metadata,
    rehearse,
)

# The bodies' property names are Storage's.
# ruff: noqa: N815

#: What the docs promise for a signed upload URL.
UPLOAD_SECONDS: Final = 2 * 60 * 60
#: Above this a date no longer fits JavaScript, and Storage refuses it.
_MAX_SECONDS: Final = 2**31


class _SignBody(BaseModel):
    expiresIn: int = Field(ge=1, le=_MAX_SECONDS)  # clients send it as a string as well


class _SignManyBody(_SignBody):
    paths: list[str] = Field(min_length=1, max_length=1000)


async def sign_one(service: StorageService, request: Request) -> Response:
    """A URL that reads one object which the caller may read."""
    scope = service.scope(request, "storage.object.sign")
    bucket_id, name = bucket_of(request), check_object_name(object_of(request))
    body = await read_body(request, _SignBody)
    async with service.database.reading(scope) as connection:
        await require_object(connection, bucket_id, name)
    return JSONResponse({"signedURL": _signed_url(service, bucket_id, name, body.expiresIn)})


async def sign_many(service: StorageService, request: Request) -> Response:
    """A URL for each path, or why there is none."""
    scope = service.scope(request, "storage.object.sign_many")
    bucket_id = bucket_of(request)
    body = await read_body(request, _SignManyBody)
    async with service.database.reading(scope) as connection:
        cursor = await connection.execute(FIND_NAMES, [bucket_id, body.paths])
        found = {row["name"] for row in await cursor.fetchall()}
    missing = "Either the object does not exist or you do not have access to it"
    return JSONResponse(
        [
            {
                "error": None if path in found else missing,
                "path": path,
                "signedURL": _signed_url(service, bucket_id, path, body.expiresIn)
                if path in found
                else None,
            }
            for path in body.paths
        ]
    )


async def sign_upload(service: StorageService, request: Request) -> Response:
    """A URL that uploads one object as the caller may now. Rehearsed as any upload."""
    scope = service.scope(request, "storage.object.sign_upload_url")
    bucket_id, name = bucket_of(request), check_object_name(object_of(request))
    upsert = request.headers.get("x-upsert") == "true"
    encoded = request.headers.get("x-metadata")
    user_metadata = None if encoded is None else parse_header_metadata(encoded)
    asked = asked_values(
        (bucket_id, name),
        scope.caller.owner,
        mime_type=request.headers.get("content-type"),
        content_length=content_length(request),
        user_metadata=user_metadata,
    )
    await rehearse(service, scope, asked, upsert=upsert)
    claims = {"url": f"{bucket_id}/{name}", "upsert": upsert}
    if scope.caller.owner is not None:
        claims["owner"] = scope.caller.owner
    token = service.auth.sign(claims, "upload", seconds=UPLOAD_SECONDS)
    path = _url_path(bucket_id, name)
    return JSONResponse({"url": f"/object/upload/sign/{path}?token={token}", "token": token})


def _signed_url(service: StorageService, bucket_id: str, name: str, seconds: int) -> str:
    token = service.auth.sign({"url": f"{bucket_id}/{name}"}, "download", seconds=seconds)
    return f"/object/sign/{_url_path(bucket_id, name)}?token={token}"


def _url_path(bucket_id: str, name: str) -> str:
    # Storage leaves the path unencoded, clients encode it. Only `?`, which would end the path,
    # is encoded here.
    return f"{bucket_id}/{name}".replace("?", "%3F")
