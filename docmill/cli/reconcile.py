"""`docmill reconcile`: all of Storage against all documents."""

from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict
from typing import Final

from docmill.cli.admin import admin_connection
from docmill.cli.context import settings_in_use
from docmill.cli.exit_code import ExitCode
from docmill.cli.output import Row, cell, console, count_of, print_json, table
from docmill.worker.admin.jobs import tokens_per_byte
from docmill.worker.maintenance import sweeps
from docmill.worker.store import maintenance
from docmill.worker.store.maintenance import Difference

#: What is read and embedded anew when it is repaired.
_EMBEDDED: Final = ("missing", "stale", "stuck")
#: Tokens that a byte has before this project's own documents tell: of English text.
TOKENS_PER_BYTE: Final = 0.25
_SHOWN: Final = 50


def reconcile(*, dry_run: bool, as_json: bool) -> int:
    """Print what differs and what bringing it in line costs; bring it there."""
    settings = settings_in_use()
    with admin_connection(settings) as connection:
        found = list(
            sweeps.reconcile(lambda: nullcontext(connection), newest=None, repair=not dry_run)
        )
        chunks = maintenance.orphaned_chunks(connection, repair=not dry_run)
        rate = tokens_per_byte(connection) or TOKENS_PER_BYTE
        index = maintenance.active_index_version(connection)
    price = settings.usd_per_million_tokens(index.provider, index.model) if index else 0
    cost = _cost(found, rate, price)
    summary: Row = {
        **dict.fromkeys(("missing", "stale", "orphaned", "renamed", "changed", "stuck"), 0),
        **Counter(difference.difference for difference in found),
        "orphaned_chunks": chunks,
        **cost,
        "repaired": not dry_run,
    }
    if as_json:
        for difference in found:
            print_json(asdict(difference))
        print_json(summary)
    else:
        _print(found, summary)
    return ExitCode.DONE


def _cost(found: Sequence[Difference], tokens_per_byte: float, usd_per_million: float) -> Row:
    size = sum(one.size_bytes or 0 for one in found if one.difference in _EMBEDDED)
    tokens = round(size * tokens_per_byte)
    return {"bytes": size, "tokens": tokens, "usd": round(tokens * usd_per_million / 1e6, 4)}


def _print(found: Sequence[Difference], summary: Row) -> None:
    out = console()
    rows = [asdict(difference) for difference in found[:_SHOWN]]
    if rows:
        out.print(table(rows, ("difference", "bucket_id", "object_name", "size_bytes")))
    if len(found) > _SHOWN:
        out.print(f"and {len(found) - _SHOWN} more: --json prints all")
    if not found and not summary["orphaned_chunks"]:
        out.print("documents and Storage agree")
        return
    if summary["orphaned_chunks"]:
        out.print(f"{count_of(summary['orphaned_chunks'], 'row')} of chunks without a document")
    done = "brought in line" if summary["repaired"] else "found, nothing was changed"
    out.print(
        f"{count_of(len(found), 'difference')} {done}; about {summary['tokens']} tokens to embed "
        f"({cell(summary['usd'])} USD)"
    )
