"""`docmill ingest`: upload files and, if asked, wait until they are done."""

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from threading import local
from typing import Final

from rich.live import Live

from docmill.cli.admin import admin_connection, owner_id, require_known_owner
from docmill.cli.bulk import require_active_bulk
from docmill.cli.context import running_stack, settings_in_use
from docmill.cli.error_texts import error_texts
from docmill.cli.exit_code import ExitCode
from docmill.cli.observe import FINAL_STATES, progress_table
from docmill.cli.output import Row, cell, console, count_of, part_of, print_json, short_id
from docmill.cli.stopping import interruptible
from docmill.embedded.stack import DEFAULT_OWNER, StackInfo
from docmill.worker.admin.jobs import current_jobs, note_bulk_names
from docmill.worker.admin.sources import list_sources
from docmill.worker.clients.uploads import Uploader, UploadError, storage_name
from docmill.worker.errors import ServiceError, UsageError
from docmill.worker.settings.processes import Settings
from docmill.worker.store.database import Connection

_UPLOADS_AT_ONCE: Final = 4
_POLL_SECONDS: Final = 0.2


@dataclass(frozen=True)
class LocalFile:
    """A file to upload, and the name it gets."""

    path: Path
    object_name: str


@dataclass(frozen=True)
class Uploaded:
    """The result of one upload."""

    file: LocalFile
    error: UploadError | None
    started: float


def find_files(paths: Sequence[Path], *, folder: str) -> list[LocalFile]:
    """The files to upload, without hidden ones, each with its name under `folder`.

    Raises UsageError if there are none, or if two would get the same name.
    """
    found: dict[str, LocalFile] = {}
    for path in paths:
        if not (path.is_file() or path.is_dir()):
            raise UsageError(f"{cell(path)} is neither a file nor a folder")
        for file in [path] if not path.is_dir() else _files_below(path):
            relative = path.name if file == path else file.relative_to(path).as_posix()
            name = storage_name(relative)
            full = f"{folder}/{name}" if folder else name
            if full in found:
                raise UsageError(
                    f"{found[full].path} and {file} would get the same name, {name}: "
                    "upload them one after the other, or a folder that holds both"
                )
            found[full] = LocalFile(file, full)
    if not found:
        raise UsageError(f"there are no files in {', '.join(map(str, paths))}")
    return list(found.values())


def _files_below(root: Path) -> Iterator[Path]:
    """Regular files in order, without hidden ones and without links that leave the folder."""

    def unreadable(error: OSError) -> None:
        print(f"docmill: {error.filename} is left out: {error.strerror}", file=sys.stderr)

    inside = root.resolve()
    for folder, folders, names in os.walk(root, onerror=unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(name for name in names if not name.startswith(".")):
            file = Path(folder, name)
            if file.is_file() and file.resolve().is_relative_to(inside):
                yield file
            else:
                print(
                    f"docmill: {cell(file)} is left out: not a file of this folder", file=sys.stderr
                )


def uploader_factory(
    settings: Settings, stack: StackInfo | None, owner: str | None
) -> Callable[[], Uploader]:
    """Choose the uploader: as the owner on the embedded stack, with the secret key on a project."""
    if stack is None:
        url, key = settings.require("supabase_url"), settings.require("supabase_secret_key")
        return lambda: Uploader(url, key, user_token=None)
    from docmill.embedded.tokens import user_token

    token = user_token(stack, owner or DEFAULT_OWNER)
    return lambda: Uploader(stack.api_url, stack.keys.publishable_key, user_token=token)


def upload_all(
    files: Sequence[LocalFile],
    bucket: str,
    make_uploader: Callable[[], Uploader],
    *,
    max_bytes: int,
) -> Iterator[Uploaded]:
    """Upload a few files at a time; yield each when it is done. Too large files are not sent."""
    threads = local()

    def upload(file: LocalFile) -> Uploaded:
        if file.path.stat().st_size > max_bytes:
            error = UploadError(
                "document_too_large", f"it is larger than DOCMILL_MAX_DOCUMENT_BYTES ({max_bytes})"
            )
            return Uploaded(file, error, time.monotonic())
        if not hasattr(threads, "uploader"):
            threads.uploader = make_uploader()
        started = time.monotonic()
        try:
            threads.uploader.upload(bucket, file.object_name, file.path)
        except UploadError as error:
            return Uploaded(file, error, started)
        return Uploaded(file, None, started)

    pool = ThreadPoolExecutor(_UPLOADS_AT_ONCE)
    try:
        yield from pool.map(upload, files)
    finally:
        # A caller that stops early does not wait for running uploads.
        pool.shutdown(wait=False, cancel_futures=True)


def ingest(
    paths: Sequence[Path],
    *,
    bucket: str,
    owner: str | None,
    is_bulk: bool,
    wait: bool,
    is_sure: bool,
    as_json: bool,
) -> int:
    """Upload, wait if asked, and report each file."""
    settings = settings_in_use()
    owner = owner_id(settings, owner)
    with admin_connection(settings) as connection:
        require_known_owner(
            connection, owner, "make documents theirs", is_sure=is_sure, can_ask=not as_json
        )
    with interruptible("what was uploaded is ingested all the same, docmill jobs shows it"):
        return _ingest(
            settings,
            paths,
            bucket=bucket,
            owner=owner,
            is_bulk=is_bulk,
            wait=wait,
            as_json=as_json,
        )


def _ingest(
    settings: Settings,
    paths: Sequence[Path],
    *,
    bucket: str,
    owner: str | None,
    is_bulk: bool,
    wait: bool,
    as_json: bool,
) -> int:
    stack = running_stack()
    # With a secret key Storage stores no owner; a source with owner_from folder:1 takes it from the
    # path.
    folder = owner or (DEFAULT_OWNER if stack else "")
    files = find_files(paths, folder=folder)
    with admin_connection(settings) as connection:
        _check_watched(connection, bucket)
        if is_bulk:
            require_active_bulk(connection, settings)
            note_bulk_names(connection, bucket, [file.object_name for file in files])
        uploaded = list(
            upload_all(
                files,
                bucket,
                uploader_factory(settings, stack, owner),
                max_bytes=settings.max_document_bytes,
            )
        )
        accepted = [item.file.object_name for item in uploaded if item.error is None]
        found = current_jobs(connection, bucket, accepted)
        if accepted and not found:
            raise ServiceError(
                "Storage took the files and the database does not know them: do SUPABASE_URL and "
                "DOCMILL_ADMIN_DATABASE_URL name the same project?"
            )
        if wait:
            found = _final_jobs(connection, bucket, accepted, quiet=as_json)
    rows = [_report(item, found.get(item.file.object_name)) for item in uploaded]
    for item, row in zip(uploaded, rows, strict=True):
        print_json(row) if as_json else _print_row(row)
        if row["state"] == "failed":
            print(f"docmill: {cell(item.file.path)}: {_why_failed(item, row)}", file=sys.stderr)
    return ExitCode.FAILED if any(row["state"] == "failed" for row in rows) else ExitCode.DONE


def _check_watched(connection: Connection, bucket: str) -> None:
    sources = list_sources(connection)
    if not any(source["bucket_id"] == bucket and not source["retired_at"] for source in sources):
        raise UsageError(f"bucket {bucket!r} is not ingested: docmill sources add {bucket}")


def _final_jobs(
    connection: Connection, bucket: str, names: Sequence[str], *, quiet: bool
) -> dict[str, Row]:
    """Wait until the job of each name's current version has ended."""
    shown = not quiet and sys.stdout.isatty()
    live = Live(console=console(), transient=True, auto_refresh=False) if shown else None
    with live or nullcontext():
        while True:
            found = current_jobs(connection, bucket, names)
            if live is not None:
                waiting = [row for row in found.values() if row["state"] not in FINAL_STATES]
                live.update(progress_table(waiting[:20]), refresh=True)
            if all(_is_final(found.get(name)) for name in names):
                return found
            time.sleep(_POLL_SECONDS)


def _is_final(row: Row | None) -> bool:
    # No row: the object was deleted meanwhile, so there is nothing to wait for.
    return row is None or row["state"] in FINAL_STATES


def _report(item: Uploaded, row: Row | None) -> Row:
    known = row or {}
    refused: Row = {}
    if item.error is not None:
        refused = {"state": "failed", "error_code": item.error.code, "chunk_count": 0}
    return {
        "path": str(item.file.path),
        "object_name": item.file.object_name,
        "document_id": known.get("document_id"),
        "job_id": known.get("job_id"),
        "state": known.get("state"),
        "error_code": known.get("error_code"),
        "page_count": known.get("page_count"),
        "chunk_count": known.get("chunk_count"),
        "seconds": known.get("seconds"),
        **refused,
    }


def _why_failed(item: Uploaded, row: Row) -> str:
    """What happened, and what to do. For stderr, because standard output may be a file."""
    if item.error is not None:
        return str(item.error)
    said = error_texts().get(row["error_code"])
    advice = f"docmill explain {short_id(row['job_id'])} tells more"
    return f"{said.message} {said.remedy}" if said else f"{row['error_code']}: {advice}"


def _print_row(row: Row) -> None:
    parts = [f"{row['state'] or 'gone':10}", cell(row["path"])]
    if row["job_id"]:
        parts.append(f"job {short_id(row['job_id'])}")
    if row["error_code"]:
        parts.append(row["error_code"])
    elif row["state"] == "succeeded":
        pages = (
            f"{count_of(row['page_count'], part_of(row['path']))}, " if row["page_count"] else ""
        )
        parts.append(f"{pages}{count_of(row['chunk_count'], 'chunk')}, {row['seconds']:.2f} s")
    console().print("  ".join(parts))
