"""The statements on storage.buckets and storage.objects, under whatever role is set."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, LiteralString
from uuid import UUID

from psycopg.types.json import Jsonb

from docmill.embedded.storage.database import Connection, Row
from docmill.embedded.storage.errors import no_such_key

#: Storage deletes rows in statements of at most this many.
DELETE_BATCH: Final = 500

FIND_BUCKET: Final[LiteralString] = "select * from storage.buckets where id = %s"

FIND_OBJECT: Final[LiteralString] = """
    select * from storage.objects where bucket_id = %s and name = %s
"""

FIND_NAMES: Final[LiteralString] = """
    select name from storage.objects where bucket_id = %s and name = any(%s)
"""

INSERT_OBJECT: Final[LiteralString] = """
    insert into storage.objects
           (bucket_id, name, version, owner, owner_id, metadata, user_metadata)
    values (%(bucket_id)s, %(name)s, %(version)s, %(owner)s, %(owner_id)s, %(metadata)s,
            %(user_metadata)s)
"""

#: An owner is replaced only by another owner: an upsert with the secret key keeps it. So is
#: user_metadata when the request says nothing about it (in the rehearsal only).
UPSERT_OBJECT: Final[LiteralString] = (
    INSERT_OBJECT
    + """
    on conflict (name, bucket_id) do update
       set metadata = excluded.metadata,
           version = excluded.version,
           user_metadata = case when %(keep_user_metadata)s
                                then objects.user_metadata else excluded.user_metadata end,
           owner = coalesce(excluded.owner, objects.owner),
           owner_id = coalesce(excluded.owner_id, objects.owner_id)
    returning *
"""
)

MOVE_OBJECT: Final[LiteralString] = """
    update storage.objects
       set name = %(new_name)s, bucket_id = %(new_bucket_id)s, version = %(version)s,
           owner = coalesce(%(owner)s, owner), owner_id = coalesce(%(owner_id)s, owner_id),
           metadata = coalesce(%(metadata)s, metadata)
     where bucket_id = %(bucket_id)s and name = %(name)s
    returning *
"""

DELETE_NAMES: Final[LiteralString] = """
    delete from storage.objects where bucket_id = %s and name = any(%s) returning *
"""

DELETE_OLDEST: Final[LiteralString] = """
    delete from storage.objects
     where id = any(array(select id from storage.objects
                           where bucket_id = %s and created_at < %s
                           order by name collate "C" limit %s))
    returning version
"""

#: One transaction at a time completes an object. The timeout is for this wait alone; a target
#: list is evaluated from left to right.
LOCK_OBJECT: Final[LiteralString] = """
    select set_config('lock_timeout', '5s', true),
           pg_advisory_xact_lock(hashtextextended(%s, 0)),
           set_config('lock_timeout', '0', true)
"""


@dataclass(frozen=True)
class ObjectValues:
    """What an upload, a copy or its rehearsal writes into a row."""

    bucket_id: str
    name: str
    version: str
    owner_id: str | None
    metadata: dict[str, Any]
    user_metadata: dict[str, Any] | None
    keep_user_metadata: bool = False

    def parameters(self) -> dict[str, Any]:
        """Parameters of INSERT_OBJECT and UPSERT_OBJECT."""
        return {
            "bucket_id": self.bucket_id,
            "name": self.name,
            "version": self.version,
            "owner": as_uuid(self.owner_id),
            "owner_id": self.owner_id,
            "metadata": Jsonb(self.metadata),
            "user_metadata": None if self.user_metadata is None else Jsonb(self.user_metadata),
            "keep_user_metadata": self.keep_user_metadata,
        }


def as_uuid(owner_id: str | None) -> UUID | None:
    """The deprecated column `owner` holds a `sub` only when that is a uuid."""
    try:
        return UUID(owner_id) if owner_id else None
    except ValueError:
        return None


def iso(moment: datetime | None) -> str | None:
    """A time as JavaScript prints it, which is how Storage does."""
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


async def find_bucket(connection: Connection, bucket_id: str) -> Row | None:
    """The bucket, if the role sees it."""
    return await (await connection.execute(FIND_BUCKET, [bucket_id])).fetchone()


async def find_object(
    connection: Connection, bucket_id: str, name: str, *, for_update: bool = False
) -> Row | None:
    """The object, if the role sees it; locked until the end of the transaction when asked."""
    statement: LiteralString = FIND_OBJECT + "for update" if for_update else FIND_OBJECT
    return await (await connection.execute(statement, [bucket_id, name])).fetchone()


async def require_object(
    connection: Connection, bucket_id: str, name: str, *, for_update: bool = False
) -> Row:
    """The same. Raises NoSuchKey when the role sees no such object."""
    row = await find_object(connection, bucket_id, name, for_update=for_update)
    if row is None:
        raise no_such_key()
    return row


async def insert_object(connection: Connection, values: ObjectValues) -> None:
    """Insert, no upsert. Raises UniqueViolation when the name is taken."""
    await connection.execute(INSERT_OBJECT, values.parameters())


async def upsert_object(connection: Connection, values: ObjectValues) -> Row:
    """Insert, or bring the row of that name to these values; its id stays."""
    row = await (await connection.execute(UPSERT_OBJECT, values.parameters())).fetchone()
    assert row is not None  # a conflict that may not be updated is an error, not an empty result
    return row


async def move_object(
    connection: Connection,
    source: tuple[str, str],
    target: tuple[str, str],
    *,
    version: str,
    owner_id: str | None,
    metadata: dict[str, Any] | None = None,
) -> Row:
    """Give the row another (bucket, name). Raises NoSuchKey when the role may not update it."""
    parameters = {
        **dict(zip(("bucket_id", "name"), source, strict=True)),
        **dict(zip(("new_bucket_id", "new_name"), target, strict=True)),
        "version": version,
        "owner": as_uuid(owner_id),
        "owner_id": owner_id,
        "metadata": None if metadata is None else Jsonb(metadata),
    }
    row = await (await connection.execute(MOVE_OBJECT, parameters)).fetchone()
    if row is None:
        raise no_such_key()
    return row


async def delete_names(connection: Connection, bucket_id: str, names: Sequence[str]) -> list[Row]:
    """Delete what the role may delete of these; the rest is left out of the result."""
    return await (await connection.execute(DELETE_NAMES, [bucket_id, list(names)])).fetchall()


async def lock_object(connection: Connection, bucket_id: str, name: str) -> None:
    """Wait for whoever completes this object now. Raises LockNotAvailable after 5 s."""
    await connection.execute(LOCK_OBJECT, [f"{bucket_id}/{name}"])
