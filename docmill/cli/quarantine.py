"""`docmill quarantine`: list the chunks that the embedding provider refused, or retry them."""

from typing import Final

from docmill.cli.admin import admin_connection, owner_id
from docmill.cli.context import settings_in_use
from docmill.cli.exit_code import ExitCode
from docmill.cli.output import Row, console, count_of, print_json, print_rows, short_id, short_name
from docmill.worker.admin.jobs import retry_job
from docmill.worker.admin.quarantine import list_quarantine

_COLUMNS: Final = ("job", "object_name", "before chunk", "pages", "error_code", "created_at")


def quarantine(*, owner: str | None, limit: int, as_json: bool) -> int:
    """List the refused chunks; their documents are searchable without them."""
    settings = settings_in_use()
    owner = owner_id(settings, owner)
    with admin_connection(settings) as connection:
        rows = list_quarantine(connection, owner=owner, limit=limit)
    if not as_json:
        rows = [_for_table(row) for row in rows]
    print_rows(rows, _COLUMNS, as_json=as_json)
    return ExitCode.DONE


def retry(*, owner: str | None, as_json: bool) -> int:
    """Make a new job for each document with chunks in quarantine."""
    settings = settings_in_use()
    owner = owner_id(settings, owner)
    with admin_connection(settings) as connection:
        rows = list_quarantine(connection, owner=owner, limit=None)
        documents = {row["document_id"]: row for row in rows if row["job_id"]}
        queued = [
            {**_named(row), "id": retry_job(connection, row["job_id"])}
            for row in documents.values()
        ]
    for row in queued if as_json else ():
        print_json(row)
    if not as_json:
        console().print(f"queued {count_of(len(queued), 'document')}")
    return ExitCode.DONE


def _named(row: Row) -> Row:
    return {name: row[name] for name in ("bucket_id", "object_name", "owner_id", "document_id")}


def _for_table(row: Row) -> Row:
    pages = sorted({page for page in (row["page_start"], row["page_end"]) if page is not None})
    return row | {
        "job": short_id(row["job_id"]),
        "object_name": short_name(row),
        "before chunk": row["ordinal"],
        "pages": "-".join(map(str, pages)) or "-",
    }
