"""Checks the directory of a zip container before anything in it is unpacked."""

import zipfile
from typing import BinaryIO

from docmill.worker.errors import JobError

MAX_ENTRIES = 10_000
MAX_UNPACKED_BYTES = 500 * 1024 * 1024
#: Office files unpack to 5 to 20 times their size, rarely more; a zip bomb to 1,000 times.
MAX_RATIO = 200
#: Small files of repetitive XML may pack better than that, and are harmless.
RATIO_FREE_BYTES = 20 * 1024 * 1024
_MANIFEST = "META-INF/manifest.xml"
#: Fixed part of the header that precedes an entry's data.
_LOCAL_HEADER_BYTES = 30


def check_archive(file: BinaryIO) -> None:
    """Raise JobError: archive_too_large if it would unpack to too much, corrupt if it is wrong.

    The sizes are those that the directory declares. Readers stop at the declared size, so a wrong
    size can only make the file unreadable. A small file can declare much if its entries share
    bytes.
    """
    file.seek(0)
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise JobError("corrupt", type(error).__name__) from None
    _check_sizes(entries)
    _check_overlaps(entries)
    if any(entry.flag_bits & 1 for entry in entries):
        raise JobError("encrypted")
    file.seek(0)


def check_unlocked(file: BinaryIO) -> None:
    """Raise JobError for a book or OpenDocument that is encrypted."""
    with zipfile.ZipFile(file) as archive:
        names = set(archive.namelist())
        manifest = _MANIFEST in names and archive.read(_MANIFEST)
    if "META-INF/rights.xml" in names or (manifest and b"encryption-data" in manifest):
        raise JobError("encrypted")
    file.seek(0)


def _check_sizes(entries: list[zipfile.ZipInfo]) -> None:
    unpacked = sum(entry.file_size for entry in entries)
    packed = sum(entry.compress_size for entry in entries)
    if len(entries) > MAX_ENTRIES:
        raise JobError("archive_too_large", f"{len(entries)} entries")
    if unpacked > MAX_UNPACKED_BYTES:
        raise JobError("archive_too_large", f"{unpacked} bytes unpacked")
    if unpacked > RATIO_FREE_BYTES and unpacked > MAX_RATIO * packed:
        raise JobError("archive_too_large", f"{unpacked} bytes from {packed}")


def _check_overlaps(entries: list[zipfile.ZipInfo]) -> None:
    end = 0
    # A few damaged bytes can also make entries overlap, but then they do not unpack to much.
    is_large = sum(entry.file_size for entry in entries) > RATIO_FREE_BYTES
    for entry in sorted(entries, key=lambda entry: entry.header_offset):
        if entry.header_offset < end:
            raise JobError("archive_too_large" if is_large else "corrupt", "entries overlap")
        end = entry.header_offset + _LOCAL_HEADER_BYTES + entry.compress_size
