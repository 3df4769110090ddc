"""Pauses and open breakers, which keep jobs from starting; over the admin connection."""

from typing import Final, LiteralString

from docmill.worker.admin.rows import Row, fetch_rows
from docmill.worker.store.database import Connection

PAUSE: Final[LiteralString] = """
    insert into ingest_private.pauses (scope, key) values (%(scope)s, %(key)s)
        on conflict do nothing
"""
RESUME: Final[LiteralString] = """
    delete from ingest_private.pauses where scope = %(scope)s and key = %(key)s
"""
LIST_PAUSES: Final[LiteralString] = """
    select pause.scope, pause.key, source.bucket_id, source.prefix, pause.created_at
      from ingest_private.pauses as pause
           left join ingest_private.sources as source
             on pause.scope = 'source' and source.id::text = pause.key
     order by pause.created_at
"""
LIST_BREAKERS: Final[LiteralString] = """
    select breaker.error_code, breaker.opened_at, breaker.open_until, code.message, code.remedy
      from ingest_private.breakers as breaker
           left join ingest_private.error_codes as code on code.code = breaker.error_code
     order by breaker.opened_at
"""


def pause(connection: Connection, scope: str, key: str) -> bool:
    """Pause this scope: its jobs do not start. False: it was already paused."""
    return connection.execute(PAUSE, {"scope": scope, "key": key}).rowcount > 0


def resume(connection: Connection, scope: str, key: str) -> bool:
    """End a pause. False: there was none."""
    return connection.execute(RESUME, {"scope": scope, "key": key}).rowcount > 0


def list_pauses(connection: Connection) -> list[Row]:
    """The pauses, oldest first."""
    return fetch_rows(connection, LIST_PAUSES, {})


def list_breakers(connection: Connection) -> list[Row]:
    """Configuration errors that hold every job."""
    return fetch_rows(connection, LIST_BREAKERS, {})
