"""`docmill erase`: remove all data of a person."""

from datetime import UTC, datetime
from itertools import groupby

from docmill.cli.admin import admin_connection, owner_id
from docmill.cli.confirm import require_yes
from docmill.cli.context import settings_in_use
from docmill.cli.exit_code import ExitCode
from docmill.cli.output import Row, cell, console, count_of, print_json
from docmill.worker.admin.erasing import Erased, erase_owner, owned
from docmill.worker.clients.uploads import Uploader
from docmill.worker.errors import RefusedError
from docmill.worker.settings.processes import Settings


def erase(owner: str, *, objects: bool, dry_run: bool, is_sure: bool, as_json: bool) -> int:
    """Erase everything of an owner, and print a receipt."""
    settings = settings_in_use()
    subject = owner_id(settings, owner) or ""
    with admin_connection(settings) as connection:
        found = owned(connection, subject)
        if not any(found.values()):
            raise RefusedError(f"nothing belongs to {cell(subject)}")
        if not dry_run:
            said = f"{_counted(found)}, for good"
            require_yes(said, "erase them", is_sure=is_sure, can_ask=not as_json)
            erased = erase_owner(connection, subject)
    if dry_run:
        print_json({"owner": subject, **found}) if as_json else console().print(_counted(found))
        return ExitCode.DONE
    if objects:
        _remove_files(settings, erased)
    _print_receipt(_receipt(subject, erased, removed=objects), as_json=as_json)
    return ExitCode.DONE


def _counted(found: Row) -> str:
    return ", ".join(count_of(number, what.removesuffix("s")) for what, number in found.items())


def _remove_files(settings: Settings, erased: Erased) -> None:
    url, key = settings.require("supabase_url"), settings.require("supabase_secret_key")
    storage = Uploader(url, key, user_token=None)
    for bucket, files in groupby(erased.objects, key=lambda file: file[0]):
        storage.remove(bucket, [name for _, name in files])


def _receipt(owner: str, erased: Erased, *, removed: bool) -> Row:
    return {
        "owner": owner,
        "erased_at": datetime.now(UTC),
        "documents": erased.documents,
        "drained_rows": erased.drained,
        "rows": erased.rows,
        "files": len(erased.objects),
        "files_removed": removed,
    }


def _print_receipt(receipt: Row, *, as_json: bool) -> None:
    if as_json:
        print_json(receipt)
        return
    out = console()
    out.print(f"erased {receipt['owner']} at {receipt['erased_at']:%Y-%m-%d %H:%M:%S} UTC")
    out.print(f"documents: {receipt['documents']}")
    out.print(f"rows of chunks, positions and what was read: {receipt['drained_rows']}")
    for table, number in receipt["rows"].items():
        out.print(f"{table}: {number}")
    if receipt["files_removed"]:
        out.print(f"files removed from Storage: {receipt['files']}")
    elif receipt["files"]:
        out.print(
            f"files that stay in Storage but are not ingested again: {receipt['files']} "
            "(--objects removes them)"
        )
