"""Which object of Storage may have changed, and the one call that checks it."""

from dataclasses import dataclass
from typing import Final, LiteralString
from uuid import UUID

SYNC_OBJECT: Final[LiteralString] = """
    select ingest_private.sync_object(%(object_id)s, %(bucket_id)s, %(name)s)
"""
SYNC_HINTS: Final[LiteralString] = """
    select ingest_private.sync_hints(%(object_ids)s::uuid[], %(bucket_ids)s, %(names)s)
"""
#: The traces that the runs of jobs continue: given, unless they have some, and asked for.
TRACE_JOBS: Final[LiteralString] = """
    select ingest_private.trace_jobs(%(job_ids)s::uuid[], %(traceparents)s::text[])
"""
#: The receiver's note that it is running.
NOTE_TICK: Final[LiteralString] = "select ingest_private.note_tick('receiver')"
FORGET_TICK: Final[LiteralString] = "select ingest_private.forget_tick('receiver')"


@dataclass(frozen=True)
class ObjectHint:
    """The object that changed, according to an event. Nothing of it is trusted."""

    object_id: UUID | None
    bucket_id: str
    name: str
