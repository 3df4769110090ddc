"""`docmill erase`: remove all data of a person."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from docmill.cli.admin import admin_connection, owner_id
from docmill.cli.confirm import require_yes
from docmill.cli.context import settings_in_use
from docmill.cli.exit_code import ExitCode
from docmill.cli.output import Row, cell, console, count_of, print_json
from docmill.worker.admin.erasing import Erased, StoredFile, erase_owner, owned, owned_files
from docmill.worker.clients.uploads import Uploader, UploadError
from docmill.worker.errors import RefusedError, ServiceError
from docmill.worker.settings.processes import Settings
from docmill.worker.store.database import Connection

#: Files that Storage is asked to remove at once. Whose they are is looked up before each request.
BATCH: Final = 500
#: How often rows and files are gone through while the person goes on uploading.
ROUNDS: Final = 5


def erase(owner: str, *, objects: bool, dry_run: bool, is_sure: bool, as_json: bool) -> int:
    """Erase everything of an owner, and print a receipt."""
    settings = settings_in_use()
    # Before anything is erased: it may say that a setting is missing.
    storage = _storage(settings) if objects and not dry_run else None
    subject = owner_id(settings, owner) or ""
    with admin_connection(settings) as connection:
        found = owned(connection, subject)
        if not any(found.values()):
            raise RefusedError(f"there is nothing of {cell(subject)} to erase")
        if dry_run:
            counted = {"owner": subject, **found}
            print_json(counted) if as_json else console().print(_counted(found))
            return ExitCode.DONE
        said = f"{_counted(found)}, for good"
        require_yes(said, "erase them", is_sure=is_sure, can_ask=not as_json)
        run = _Run(connection, storage, subject, Erased(0, 0, {}), found["files"])
        try:
            run.erase()
        finally:
            # Whatever stops it: what is gone is gone, and has to be on paper.
            if run.began:
                _print_receipt(run.receipt(), as_json=as_json)
    return ExitCode.DONE


def _counted(found: Row) -> str:
    return ", ".join(count_of(number, what.removesuffix("s")) for what, number in found.items())


def _storage(settings: Settings) -> Uploader:
    url, key = settings.require("supabase_url"), settings.require("supabase_secret_key")
    return Uploader(url, key, user_token=None)


@dataclass
class _Run:
    """One run of the command. Safe to break off anywhere: another one finds what is left."""

    connection: Connection
    storage: Uploader | None  #: None: files stay
    owner: str
    erased: Erased
    files: int
    began: bool = False
    files_removed: int = 0

    def erase(self) -> None:
        """Rows first, so that nobody finds anything from then on; then files.

        What is uploaded meanwhile makes rows again. Raises ServiceError if that does not end.
        """
        for _ in range(ROUNDS):
            self.erased += erase_owner(self.connection, self.owner)
            self.began = True
            if self.storage is None:
                return
            self._remove_files(self.storage)
            if not any(owned(self.connection, self.owner).values()):
                return
        raise ServiceError(
            f"{cell(self.owner)} goes on uploading: ban the user in Supabase's Auth, then run the "
            "same command again"
        )

    def receipt(self) -> Row:
        """What is gone; it names no text and no file."""
        return {
            "owner": self.owner,
            "erased_at": datetime.now(UTC),
            "documents": self.erased.documents,
            "drained_rows": self.erased.drained,
            "rows": self.erased.rows,
            "files": max(self.files, self.files_removed),
            "files_removed": self.files_removed,
        }

    def _remove_files(self, storage: Uploader) -> None:
        # As many requests as there are files would do. What comes meanwhile is of the next round.
        for _ in range(owned(self.connection, self.owner)["files"]):
            files = self._next_files()
            if not files:
                return
            try:
                storage.remove(files[0].bucket_id, [file.name for file in files])
            except UploadError as error:
                self._count_removed(files)
                raise ServiceError(f"{error}. The rows are erased; {self._again()}") from None
            if not self._count_removed(files):
                raise ServiceError(
                    f"Storage answered, and kept {count_of(len(files), 'file')} of "
                    f"{cell(self.owner)}: see its log. The rows are erased; {self._again()}"
                )

    def _next_files(self) -> list[StoredFile]:
        """Files of one bucket, that are this person's at this moment."""
        files = owned_files(self.connection, self.owner, at_most=BATCH)
        return [file for file in files if file.bucket_id == files[0].bucket_id]

    def _count_removed(self, files: list[StoredFile]) -> int:
        left = owned_files(self.connection, self.owner, at_most=BATCH)
        removed = len({file.object_id for file in files} - {file.object_id for file in left})
        self.files_removed += removed
        return removed

    def _again(self) -> str:
        return "mend it, then run the same command again for the files that are left"


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
        out.print(f"files removed from Storage: {receipt['files_removed']}")
    if left := receipt["files"] - receipt["files_removed"]:
        out.print(
            f"files that Storage keeps, and that are not ingested again: {left} "
            "(--objects removes them)"
        )
