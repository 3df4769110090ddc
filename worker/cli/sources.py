"""`docmill sources`."""

import psycopg

from worker.cli.context import admin_connection, settings_in_use
from worker.cli.main import ExitCode
from worker.cli.output import print_rows
from worker.errors import UsageError
from worker.store import admin

_COLUMNS = ("bucket_id", "prefix", "owner_from", "access", "priority", "max_bytes", "documents")


def add(bucket: str, *, prefix: str, owner_from: str, as_json: bool) -> int:
    """Ingest a bucket, or what lies under a prefix of it."""
    source = {
        "bucket_id": bucket,
        "prefix": prefix,
        "owner_from": owner_from,
        "access": "owner",
        "priority": 5,
        "max_bytes": None,
    }
    with admin_connection(settings_in_use()) as connection:
        try:
            row = admin.add_source(connection, source)
        except psycopg.errors.CheckViolation:
            raise UsageError(
                f"--owner-from {owner_from!r} is none of uploader, folder:N (N from 1 to 99), "
                "fixed:SUB"
            ) from None
    print_rows([row], _COLUMNS[:-1], as_json=as_json)
    return ExitCode.DONE


def list_all(*, as_json: bool) -> int:
    """List the sources."""
    with admin_connection(settings_in_use()) as connection:
        rows = admin.list_sources(connection)
    print_rows(rows, _COLUMNS, as_json=as_json)
    return ExitCode.DONE
