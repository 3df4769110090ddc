"""Compound files: old Office files and Outlook messages, in time that grows as they do."""

from typing import Any, BinaryIO

from olefile import OleFileIO  # type: ignore[import-untyped]  # ships no types
from olefile.olefile import STGTY_STORAGE, STGTY_STREAM  # type: ignore[import-untyped]
from oxmsg.storage import Storage, Stream


class CompoundFile(OleFileIO):  # type: ignore[misc]  # a class without types
    """olefile's reader without its search for streams that are referenced twice.

    Such streams are no reason to refuse a file, and the search compares each stream with all
    others.
    """

    def _check_duplicate_stream(self, first_sect: int, minifat: bool = False) -> None:
        pass


def storage_of(file: BinaryIO) -> Storage:
    """All streams of a compound file. Raises OSError for a damaged one.

    oxmsg looks for the path of each stream from the root, which takes as long as its siblings are
    many.
    """
    file.seek(0)
    with CompoundFile(file) as compound:
        return _storage(compound, compound.root, "")


def _storage(compound: CompoundFile, node: Any, path: str) -> Storage:
    below = f"{path}/" if path else ""
    return Storage(
        path,
        tuple(
            Stream(below + kid.name, compound._open(kid.isectStart, kid.size).read())  # noqa: SLF001
            for kid in node.kids
            if kid.entry_type == STGTY_STREAM
        ),
        tuple(
            _storage(compound, kid, below + kid.name)
            for kid in node.kids
            if kid.entry_type == STGTY_STORAGE
        ),
    )
