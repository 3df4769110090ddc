"""Chunks in quarantine: documents are searchable without them."""

from typing import Final, LiteralString

from docmill.worker.admin.rows import Row, fetch_rows
from docmill.worker.store.database import Connection

LIST: Final[LiteralString] = """
    select document.latest_job_id as job_id, document.id as document_id, document.bucket_id,
           document.object_name, document.owner_id, quarantine.ordinal, quarantine.page_start,
           quarantine.page_end, quarantine.error_code, code.message, quarantine.created_at
      from ingest_private.quarantine
           join ingest.documents as document on document.id = quarantine.document_id
           join ingest.index_versions as version
             on version.id = quarantine.index_version and version.state = 'active'
           left join ingest_private.error_codes as code on code.code = quarantine.error_code
     where %(owner)s::text is null or document.owner_id = %(owner)s
     order by document.bucket_id, document.object_name, quarantine.ordinal
     limit %(limit)s
"""


def list_quarantine(connection: Connection, *, owner: str | None, limit: int | None) -> list[Row]:
    """The chunks that the provider refused, each with the job of its document."""
    return fetch_rows(connection, LIST, {"owner": owner, "limit": limit})
