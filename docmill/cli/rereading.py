"""`docmill reindex documents`: read documents again, in the index version that answers searches."""

import re
import time
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Final
from uuid import UUID

from docmill.cli.admin import admin_connection, owner_id
from docmill.cli.confirm import require_yes
from docmill.cli.context import settings_in_use
from docmill.cli.costs import TOKENS_PER_BYTE
from docmill.cli.exit_code import ExitCode
from docmill.cli.output import Row, cell, console, count_of, print_json
from docmill.cli.stopping import interruptible
from docmill.worker.admin import rereading
from docmill.worker.admin.jobs import tokens_per_byte
from docmill.worker.admin.reindex import active
from docmill.worker.errors import UsageError
from docmill.worker.maintenance import sweeps
from docmill.worker.store.database import Connection

_AGE: Final = re.compile(r"[1-9][0-9]{0,4}[hdw]")
_POLL_SECONDS: Final = 0.5


def choice_of(wanted: Row) -> Row:
    """The choice of documents as read_again takes it. Raises UsageError."""
    choice = {name: value for name, value in wanted.items() if value not in (None, False)}
    if not choice:
        raise UsageError(
            "say which documents: --outdated, --failed, --unread-pages, --older-than, --source or "
            "--owner"
        )
    if "outdated" in choice and "failed" in choice:
        raise UsageError("--outdated chooses searchable documents, --failed the others")
    if "older_than" in choice and not _AGE.fullmatch(choice["older_than"]):
        raise UsageError("--older-than takes hours, days or weeks: 12h, 30d, 8w")
    if "source" in choice:
        choice["bucket"], _, prefix = choice.pop("source").partition("/")
        choice |= {"prefix": prefix} if prefix else {}
    return choice


def documents(
    wanted: Row, *, limit: int | None, is_dry: bool, is_sure: bool, wait: bool, as_json: bool
) -> int:
    """Show the cost, ask, and make a job for each chosen document."""
    settings = settings_in_use()
    choice = choice_of(wanted)
    if "owner" in choice:
        choice["owner"] = owner_id(settings, choice["owner"])
    with admin_connection(settings) as connection:
        if "failed" in choice and not rereading.is_error_code(connection, choice["failed"]):
            raise UsageError(f"there is no error code {cell(choice['failed'])}: see docs/errors.md")
        report = _estimate(connection, choice, limit)
        index = active(connection)
        price = settings.usd_per_million_tokens(index["provider"], index["model"])
        report["max_usd"] = report["tokens"] * price / 1e6
        if report["documents"] and not is_dry:
            said, can_ask = _cost(report), not as_json
            require_yes(said, "read them again", is_sure=is_sure, can_ask=can_ask)
        job_ids = [] if is_dry else _queue(connection, choice, limit)
        report["jobs"] = len(job_ids)
        if wait:
            with interruptible("the jobs go on all the same, docmill jobs shows them"):
                report |= _ends(connection, job_ids)
    if as_json:
        print_json(report)
    else:
        _print(report, is_dry=is_dry)
    return ExitCode.FAILED if report.get("failed") else ExitCode.DONE


def _estimate(connection: Connection, choice: Row, limit: int | None) -> Row:
    found = rereading.count_chosen(connection, choice, limit)
    unknown = found.pop("unknown_bytes")
    rate = (tokens_per_byte(connection) or TOKENS_PER_BYTE) if unknown else 0
    found["tokens"] += round(unknown * rate)
    return found


def _queue(connection: Connection, choice: Row, limit: int | None) -> list[UUID]:
    pages = sweeps.read_again(lambda: nullcontext(connection), choice, limit=limit)
    return [job for page in pages for job in page]


def _ends(connection: Connection, job_ids: Sequence[UUID]) -> Row:
    while True:
        ends = rereading.ends_of(connection, job_ids)
        if not ends.pop("unfinished"):
            return ends
        time.sleep(_POLL_SECONDS)


def _cost(report: Row) -> str:
    unread = report["unread_pages"]
    return (
        f"{count_of(report['documents'], 'document')}, {report['chunks']} chunks, "
        f"{report['tokens']} tokens, ${report['max_usd']:.2f} if every chunk changes"
        + (f", and what is on {count_of(unread, 'page')} not read so far" if unread else "")
    )


def _print(report: Row, *, is_dry: bool) -> None:
    out = console()
    if is_dry or not report["documents"]:
        out.print(_cost(report))
    elif "succeeded" not in report:
        out.print(f"queued {count_of(report['jobs'], 'document')}: docmill jobs shows them")
    else:
        out.print(
            f"{report['succeeded']} read again, {report['failed']} failed and stay as they were, "
            f"{report['dropped']} changed or cancelled meanwhile"
        )
        out.print(
            f"{count_of(report['chunks_embedded'], 'chunk')} embedded, "
            f"{report['chunks_reused']} unchanged, {report['tokens_used']} tokens, "
            f"${float(report['cost_usd']):.4f}"
        )
