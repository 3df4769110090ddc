"""The statements on storage.buckets and storage.objects; they run under the current role."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, LiteralString
from uuid import UUID

from psycopg.types.json import Jsonb

from docmill.embedded.part import Connection, Row
from docmill.embedded.storage.errors import no_such_key

#: Storage deletes at most this many rows in one statement.
DELETE_BATCH: Final = 500

_FIND_OBJECT: Final[LiteralString] = """
    select * from storage.objects where bucket_id = %s and name = %s
"""
_INSERT: Final[LiteralString] = """
    insert into storage.objects
           (bucket_id, name, version, owner, owner_id, metadata, user_metadata)
    values (%(bucket_id)s, %(name)s, %(version)s, %(owner)s, %(owner_id)s, %(metadata)s,
            %(user_metadata)s)
"""
#: Only another owner replaces an owner: an upsert with the secret key keeps it.
_OR_UPDATE: Final[LiteralString] = """
    on conflict (name, bucket_id) do update
       set metadata = excluded.metadata, version = excluded.version,
           user_metadata = excluded.user_metadata,
           owner = coalesce(excluded.owner, objects.owner),
           owner_id = coalesce(excluded.owner_id, objects.owner_id)
    returning *
"""
_MOVE: Final[LiteralString] = """
    update storage.objects
       set bucket_id = %s, name = %s, version = %s, owner = coalesce(%s, owner),
           owner_id = coalesce(%s, owner_id), metadata = coalesce(%s, metadata)
     where bucket_id = %s and name = %s
    returning *
"""
_DELETE: Final[LiteralString] = """
    delete from storage.objects where bucket_id = %s and name = any(%s) returning *
"""
#: Only one transaction at a time completes an object. The timeout is for this wait only: a target
#: list is evaluated from left to right.
_LOCK: Final[LiteralString] = """
    select set_config('lock_timeout', '5s', true),
           pg_advisory_xact_lock(hashtextextended(%s, 0)),
           set_config('lock_timeout', '0', true)
"""


@dataclass(frozen=True)
class ObjectValues:
    """The values that an upload, a copy or its rehearsal writes into a row."""

    bucket_id: str
    name: str
    version: str
    owner_id: str | None
    metadata: dict[str, Any]
    user_metadata: dict[str, Any] | None

    def parameters(self) -> dict[str, Any]:
        """Parameters of an insert."""
        return {
            "bucket_id": self.bucket_id,
            "name": self.name,
            "version": self.version,
            "owner": as_uuid(self.owner_id),
            "owner_id": self.owner_id,
            "metadata": Jsonb(self.metadata),
            "user_metadata": None if self.user_metadata is None else Jsonb(self.user_metadata),
        }


def as_uuid(owner_id: str | None) -> UUID | None:
    """The value of the deprecated column `owner`: a `sub` only if it is a uuid."""
    try:
        return UUID(owner_id) if owner_id else None
    except ValueError:
        return None


def iso(moment: datetime | None) -> str | None:
    """A time in JavaScript's format, which Storage uses."""
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


async def find_bucket(connection: Connection, bucket_id: str) -> Row | None:
    """The bucket, if the role sees it."""
    query: LiteralString = "select * from storage.buckets where id = %s"
    return await (await connection.execute(query, [bucket_id])).fetchone()


async def find_object(
    connection: Connection, bucket_id: str, name: str, *, for_update: bool = False
) -> Row | None:
    """The object, if the role sees it; if asked, locked until the end of the transaction."""
    statement: LiteralString = _FIND_OBJECT + "for update" if for_update else _FIND_OBJECT
    return await (await connection.execute(statement, [bucket_id, name])).fetchone()


async def require_object(
    connection: Connection, bucket_id: str, name: str, *, for_update: bool = False
) -> Row:
    """As `find_object`. Raises NoSuchKey if the role sees no such object."""
    row = await find_object(connection, bucket_id, name, for_update=for_update)
    if row is None:
        raise no_such_key()
    return row


async def insert_object(connection: Connection, values: ObjectValues) -> None:
    """Insert, without upsert. Raises UniqueViolation if the name is taken."""
    await connection.execute(_INSERT, values.parameters())


async def upsert_object(connection: Connection, values: ObjectValues) -> Row:
    """Insert, or set the existing row of that name to these values; its id stays."""
    row = await (await connection.execute(_INSERT + _OR_UPDATE, values.parameters())).fetchone()
    assert row is not None  # a conflict that may not be updated raises an error
    return row


async def move_object(
    connection: Connection,
    source: tuple[str, str],
    target: tuple[str, str],
    *,
    version: str,
    owner_id: str | None,
    metadata: dict[str, Any] | None = None,
) -> None:
    """Give the row another (bucket, name). Raises NoSuchKey if the role may not update it."""
    json = None if metadata is None else Jsonb(metadata)
    parameters = [*target, version, as_uuid(owner_id), owner_id, json, *source]
    if (await connection.execute(_MOVE, parameters)).rowcount == 0:
        raise no_such_key()


async def delete_names(connection: Connection, bucket_id: str, names: Sequence[str]) -> list[Row]:
    """Delete those of the names that the role may delete; return only these."""
    return await (await connection.execute(_DELETE, [bucket_id, list(names)])).fetchall()


async def lock_object(connection: Connection, bucket_id: str, name: str) -> None:
    """Wait for a transaction that completes this object now. Raises LockNotAvailable after 5 s."""
    await connection.execute(_LOCK, [f"{bucket_id}/{name}"])
