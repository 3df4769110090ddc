"""Objects in Storage for documents with access `inherit`, and their readers."""

from collections.abc import Mapping
from typing import Final, LiteralString

import psycopg
from psycopg import sql

from docmill.worker.admin.verify_rls.findings import Finding
from docmill.worker.admin.verify_rls.session import Session, with_triggers, without_triggers
from docmill.worker.admin.verify_rls.tenants import Cast, Item
from docmill.worker.store.database import Connection

# A rollback does not undo every action of a project's own trigger, for example a mail. The
# platform's triggers only write rows.
FOREIGN_TRIGGERS: Final[LiteralString] = """
    select string_agg(t.tgname::text, ', ') from pg_trigger as t
           join pg_proc as p on p.oid = t.tgfoid
     where t.tgrelid = 'storage.objects'::regclass and not t.tgisinternal
       and p.pronamespace::regnamespace::text
           not in ('storage', 'ingest_private', 'supabase_functions')
"""
BUCKETS: Final[LiteralString] = """
    select bucket_id, prefix from ingest_private.sources
     where access = 'inherit' and retired_at is null
       and bucket_id in (select id from storage.buckets)
     order by id limit 1
"""
ADD_BUCKET: Final[LiteralString] = """
    insert into storage.buckets (id, name) values (%(bucket)s, %(bucket)s)
"""
# Storage's own permission tests use version '1', which docmill's triggers ignore.
ADD_OBJECT: Final[LiteralString] = """
    insert into storage.objects (id, bucket_id, name, version, owner_id)
    values (%(id)s, %(bucket)s, %(name)s, '1', %(owner)s)
"""

Readable = Mapping[str, frozenset[str]]


def add_objects(connection: Connection, cast: Cast) -> list[Finding]:
    """Insert the object of each shared document beside the real ones; report failures."""
    shared = [item for item in cast.items if item.kind == "shared"]
    quiet = without_triggers(connection)
    foreign = connection.execute(FOREIGN_TRIGGERS).fetchone()
    if not quiet and foreign and foreign[0]:
        return [_not_tried(f"storage.objects has triggers of the project ({foreign[0]})")]
    try:
        with connection.transaction():
            _add(connection, shared)
    except psycopg.Error as error:
        return [_not_tried(error.diag.message_primary or type(error).__name__)]
    finally:
        if quiet:
            with_triggers(connection)
    return []


def _add(connection: Connection, shared: list[Item]) -> None:
    found = connection.execute(BUCKETS).fetchone()
    bucket, prefix = found or (shared[0].marker, "")
    if not found:
        connection.execute(ADD_BUCKET, {"bucket": bucket})
    for item in shared:
        row = {
            "id": item.id("object_id"),
            "bucket": bucket,
            "name": f"{prefix}{item.name}",
            "owner": item.owner,
        }
        connection.execute(ADD_OBJECT, row)


def _not_tried(why: str) -> Finding:
    return Finding("test data", "storage.objects", "warning", f"not tried: {why}")


def who_reads_objects(session: Session, cast: Cast) -> Readable:
    """The objects that the project's policies show to each actor; access `inherit` follows them."""
    wanted = [item.id("object_id") for item in cast.items if item.kind == "shared"]
    statement = sql.SQL(
        "select coalesce(jsonb_agg(id), '[]') from storage.objects where id = any({}::uuid[])"
    ).format(sql.Literal(wanted))
    return {
        actor.name: frozenset(map(str, session.run(actor, [statement])[0].rows or ()))
        for actor in cast.actors
    }
