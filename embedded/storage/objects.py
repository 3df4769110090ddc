"""Move, copy and remove existing objects."""

from typing import Any
from uuid import uuid4

from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from docmill.embedded.part import Row
from docmill.embedded.storage.bodies import read_body
from docmill.embedded.storage.database import Scope
from docmill.embedded.storage.names import bucket_of, check_bucket_name, check_object_name
from docmill.embedded.storage.rows import (
    DELETE_BATCH,
    ObjectValues,
    delete_names,
    iso,
    lock_object,
    move_object,
    require_object,
)
from docmill.embedded.storage.service import StorageService
from docmill.embedded.storage.upload import REHEARSED_VERSION, complete, rehearse

# The bodies' property names are Storage's.
# ruff: noqa: N815


class _MoveBody(BaseModel):
    bucketId: str
    sourceKey: str
    destinationKey: str
    destinationBucket: str | None = None

    @property
    def source(self) -> tuple[str, str]:
        return check_bucket_name(self.bucketId), self.sourceKey

    @property
    def target(self) -> tuple[str, str]:
        bucket_id = self.destinationBucket or self.bucketId
        return check_bucket_name(bucket_id), check_object_name(self.destinationKey)


class _RemoveBody(BaseModel):
    prefixes: list[str] = Field(min_length=1)


async def move(service: StorageService, request: Request) -> Response:
    """Give the object another name: same id, new version.

    Here the rehearsal as the caller has the final version, not '1' as elsewhere.
    """
    scope = service.scope(request, "storage.object.move")
    body = await read_body(request, _MoveBody)
    source, target = body.source, body.target
    version = str(uuid4())
    owner = scope.caller.owner
    async with service.database.rehearsal(scope) as connection:
        await require_object(connection, *source)
        await move_object(connection, source, target, version=version, owner_id=owner)
    if source != target:
        await _move(service, scope, source, target, version=version)
    return JSONResponse({"message": "Successfully moved"})


async def copy(service: StorageService, request: Request) -> Response:
    """Copy the bytes into another object: new id, new version, owned by the caller."""
    scope = service.scope(request, "storage.object.copy")
    body = await read_body(request, _MoveBody)
    (bucket_id, name), owner = body.target, scope.caller.owner
    async with service.database.reading(scope) as connection:
        origin = await require_object(connection, *body.source)
    metadata, user_metadata = origin["metadata"] or {}, origin["user_metadata"]
    asked = ObjectValues(bucket_id, name, REHEARSED_VERSION, owner, metadata, user_metadata)
    await rehearse(service, scope, asked, upsert=False)
    version = str(uuid4())
    modified = await service.store.duplicate(origin["version"], version)
    metadata = {**metadata, "lastModified": iso(modified)}
    values = ObjectValues(bucket_id, name, version, owner, metadata, user_metadata)
    row = await complete(service, scope, values)
    return JSONResponse({"Id": str(row["id"]), "Key": f"{bucket_id}/{name}", **_rendered(row)})


async def remove(service: StorageService, request: Request) -> Response:
    """Delete as the caller. The answer leaves out objects that the caller cannot delete."""
    scope = service.scope(request, "storage.object.delete_many")
    bucket_id = bucket_of(request)
    names = (await read_body(request, _RemoveBody)).prefixes
    removed: list[Row] = []
    for start in range(0, len(names), DELETE_BATCH):
        async with service.database.transaction(scope) as connection:
            rows = await delete_names(connection, bucket_id, names[start : start + DELETE_BATCH])
            # The bytes are removed before the commit, as in Storage: for a moment the row has no
            # bytes.
            await service.store.remove(row["version"] for row in rows)
        removed += rows
    return JSONResponse([_rendered(row) for row in removed])


def _rendered(row: Row) -> dict[str, Any]:
    """A row in the form of Storage's serialiser: a null owner is an empty string."""
    return {
        "name": row["name"],
        "bucket_id": row["bucket_id"],
        "owner": str(row["owner"] or ""),
        "owner_id": row["owner_id"] or "",
        "version": row["version"] or "",
        "id": str(row["id"]),
        "updated_at": iso(row["updated_at"]),
        "created_at": iso(row["created_at"]),
        "last_accessed_at": iso(row["last_accessed_at"]),
        "metadata": row["metadata"],
        "user_metadata": row["user_metadata"],
    }


async def _move(
    service: StorageService,
    scope: Scope,
    source: tuple[str, str],
    target: tuple[str, str],
    *,
    version: str,
) -> None:
    async with service.database.unscoped() as connection:
        found = await require_object(connection, *source)
    modified = await service.store.duplicate(found["version"], version)
    try:
        async with service.database.transaction(scope.as_service()) as connection:
            await lock_object(connection, source[0], target[1])
            current = await require_object(connection, *source, for_update=True)
            await move_object(
                connection,
                source,
                target,
                version=version,
                owner_id=scope.caller.owner,
                metadata={**(found["metadata"] or {}), "lastModified": iso(modified)},
            )
    except BaseException:
        await service.store.remove([version])
        raise
    await service.store.remove([found["version"], current["version"]])
