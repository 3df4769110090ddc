"""`docmill sources`: which buckets are ingested, and who owns their documents."""

import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Final

import psycopg
from rich.progress import Progress

from docmill.cli.admin import admin_connection
from docmill.cli.context import settings_in_use
from docmill.cli.costs import rough_cost
from docmill.cli.exit_code import ExitCode
from docmill.cli.output import Row, cell, console, count_of, print_json, print_rows
from docmill.worker.admin.sources import (
    add_source,
    backfill,
    bucket_exists,
    count_source,
    find_source,
    list_sources,
    remove_source,
)
from docmill.worker.errors import RefusedError, UsageError
from docmill.worker.store.database import Connection

_COLUMNS: Final = (
    *("bucket_id", "prefix", "owner_from", "access", "priority", "weight", "max_bytes"),
    *("documents", "retired_at"),
)
#: What is wrong with an option, by the constraint that refuses it.
_REFUSALS: Final = {
    "sources_owner_from_check": (
        "--owner-from is not one of uploader, folder:N (N from 1 to 99), fixed:SUB"
    ),
    "sources_access_check": "--access is neither owner nor inherit",
    "sources_priority_check": "--priority is not from 0 (first) to 9",
    "sources_weight_check": "--weight is not above 0 and at most 1000",
    "sources_max_bytes_check": "--max-bytes is not at least 1",
}


@dataclass(frozen=True)
class Source:
    """What `sources add` takes; fields named like the columns."""

    bucket_id: str
    prefix: str
    owner_from: str
    access: str
    priority: int
    weight: float
    max_bytes: int | None


def add(source: Source, *, is_bulk: bool, dry_run: bool, as_json: bool) -> int:
    """Say what is there already, ingest it, and everything that comes.

    `is_bulk`: what is there already, through batches of the provider.
    """
    settings = settings_in_use()
    with admin_connection(settings) as connection:
        if not bucket_exists(connection, source.bucket_id):
            print(
                f"docmill: there is no bucket {source.bucket_id!r} yet; its files are "
                "ingested once it exists",
                file=sys.stderr,
            )
        with connection.transaction(force_rollback=dry_run):
            row = _added(connection, source)
            found = count_source(connection, row["id"])
        found |= rough_cost(connection, settings, found["fresh_bytes"], is_bulk=is_bulk)
        if not as_json:
            _print_count(found)
        pages = () if dry_run else backfill(connection, row["id"], is_bulk=is_bulk)
        queued = _backfill(pages, found, quiet=as_json)
    if as_json:
        print_json(row | found | {"queued": queued})
    elif not dry_run:
        console().print(f"ingesting {source.bucket_id}/{source.prefix}, {queued} jobs are queued")
    return ExitCode.DONE


def _added(connection: Connection, source: Source) -> Row:
    try:
        return add_source(connection, asdict(source))
    except psycopg.errors.CheckViolation as error:
        raise UsageError(_REFUSALS[error.diag.constraint_name or ""]) from None
    except psycopg.errors.NumericValueOutOfRange:
        raise UsageError(_REFUSALS["sources_priority_check"]) from None


def _print_count(found: Row) -> None:
    out = console()
    mebibytes = found["bytes"] / 1024**2
    out.print(f"{found['objects']} files found ({mebibytes:,.1f} MiB), {found['fresh']} new")
    if found["fresh"]:
        out.print(
            f"about {count_of(found['chunks'], 'chunk')}, {found['tokens']} tokens to embed "
            f"({cell(found['usd'])} USD)"
        )
    if found["unowned"]:
        out.print(
            f"{found['unowned']} of them have no owner under this rule: only the secret key can "
            "find them (see --owner-from)"
        )


def _backfill(pages: Iterable[int], found: Row, *, quiet: bool) -> int:
    queued = 0
    with Progress(disable=quiet or not sys.stdout.isatty(), transient=True) as progress:
        task = progress.add_task("queueing", total=found["fresh"])
        for page in pages:
            queued += page
            progress.update(task, completed=queued)
    return queued


def remove(bucket: str, *, prefix: str, forget: bool, as_json: bool) -> int:
    """Stop ingesting a bucket or a prefix of it."""
    with admin_connection(settings_in_use()) as connection:
        source_id = find_source(connection, bucket, prefix)
        if source_id is None:
            raise RefusedError(
                f"{bucket}/{prefix} is not a source: docmill sources list shows the sources"
            )
        removed = remove_source(connection, source_id, forget=forget)
    if as_json:
        print_json({"id": source_id, "bucket_id": bucket, "prefix": prefix} | removed)
    else:
        console().print(
            f"{bucket}/{prefix} is no longer ingested: {removed['kept']} documents stay searchable "
            f"until their files change, {removed['forgotten']} are gone"
        )
    return ExitCode.DONE


def list_all(*, as_json: bool) -> int:
    """List the sources."""
    with admin_connection(settings_in_use()) as connection:
        rows = list_sources(connection)
    print_rows(rows, _COLUMNS, as_json=as_json)
    return ExitCode.DONE
