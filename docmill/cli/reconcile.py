"""`docmill reconcile`: compare all of Storage with all documents."""

from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict
from typing import Final

from docmill.cli.admin import admin_connection
from docmill.cli.context import settings_in_use
from docmill.cli.costs import rough_cost
from docmill.cli.exit_code import ExitCode
from docmill.cli.output import Row, cell, console, count_of, print_json, table
from docmill.worker.maintenance import sweeps
from docmill.worker.store import maintenance
from docmill.worker.store.maintenance import Difference

#: Differences whose repair reads and embeds files again.
_EMBEDDED: Final = ("missing", "stale", "stuck")
_SHOWN: Final = 50


def reconcile(*, dry_run: bool, as_json: bool) -> int:
    """Print the differences and the cost of repairing them; repair them unless it is a dry run."""
    settings = settings_in_use()
    with admin_connection(settings) as connection:
        found = list(
            sweeps.reconcile(lambda: nullcontext(connection), newest=None, repair=not dry_run)
        )
        chunks = maintenance.orphaned_chunks(connection, repair=not dry_run)
        size = sum(one.size_bytes or 0 for one in found if one.difference in _EMBEDDED)
        cost = {"bytes": size, **rough_cost(connection, settings, size)}
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
    done = "repaired" if summary["repaired"] else "found; nothing was changed"
    out.print(
        f"{count_of(len(found), 'difference')} {done}; about "
        f"{count_of(summary['chunks'], 'chunk')}, {summary['tokens']} tokens to embed "
        f"({cell(summary['usd'])} USD)"
    )
