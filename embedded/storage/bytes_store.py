"""The bytes of objects: one file for each version, never changed.

The path is the version, a uuid made here. It never contains an object's name.
"""

import asyncio
import hashlib
import os
import shutil
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final
from uuid import UUID, uuid4

from docmill.embedded.storage.errors import BytesMissingError, too_large

#: Bytes of a file that are held in memory at a time.
BLOCK_BYTES: Final = 512 * 1024


@dataclass(frozen=True)
class StoredBytes:
    """One version on disk."""

    version: str
    size: int
    etag: str  #: md5 in double quotes
    modified: datetime


class ByteStore:
    """A folder of versions. Safe for many uploads at once; readers never see part of a file."""

    def __init__(self, folder: Path) -> None:
        self._versions = folder / "versions"
        self._incoming = folder / "incoming"

    def prepare(self) -> None:
        """Make the folders, and remove unfinished uploads of a killed process."""
        shutil.rmtree(self._incoming, ignore_errors=True)
        for path in (self._versions, self._incoming):
            path.mkdir(parents=True, exist_ok=True, mode=0o700)

    async def write(self, chunks: AsyncIterator[bytes], *, max_bytes: int) -> StoredBytes:
        """Store a stream as a new version. Raises EntityTooLarge as soon as it is too long.

        After any error the disk is as before.
        """
        version = str(uuid4())
        temporary = self._incoming / version
        digest = hashlib.md5(usedforsecurity=False)
        size = 0
        try:
            with await asyncio.to_thread(temporary.open, "wb") as file:
                async for block in chunks:
                    size += len(block)
                    if size > max_bytes:
                        raise too_large()
                    await asyncio.to_thread(_append, file, digest, block)
            await asyncio.to_thread(self._publish, temporary, version)
        finally:
            temporary.unlink(missing_ok=True)
        return StoredBytes(version, size, f'"{digest.hexdigest()}"', datetime.now(UTC))

    async def duplicate(self, version: str, new_version: str) -> datetime:
        """Give the same bytes to another version. Raises BytesMissingError."""
        await asyncio.to_thread(self._link, version, new_version)
        return datetime.now(UTC)

    async def open(self, version: str | None) -> tuple[BinaryIO, int]:
        """The bytes and their number; the file stays readable when the version is removed.

        Raises BytesMissingError.
        """
        return await asyncio.to_thread(self._open, version)

    async def remove(self, versions: Iterable[str | None]) -> None:
        """Remove these versions. Repeatable."""
        await asyncio.to_thread(self._remove, list(versions))

    def _path(self, version: str | None) -> Path:
        # A row written by SQL may hold any text: only a uuid may become a path.
        try:
            name = str(UUID(version))
        except (ValueError, TypeError, AttributeError):
            raise BytesMissingError("the row's version is not one of ours") from None
        return self._versions / name[:2] / name

    def _publish(self, temporary: Path, version: str) -> None:
        target = self._path(version)
        target.parent.mkdir(exist_ok=True)
        temporary.rename(target)

    def _link(self, version: str, new_version: str) -> None:
        source, target = self._path(version), self._path(new_version)
        target.parent.mkdir(exist_ok=True)
        try:
            os.link(source, target)
        except FileNotFoundError:
            raise BytesMissingError(version) from None
        except OSError:  # a file system without hard links
            shutil.copyfile(source, target)

    def _open(self, version: str | None) -> tuple[BinaryIO, int]:
        try:
            file = self._path(version).open("rb")
        except FileNotFoundError:
            raise BytesMissingError(version) from None
        return file, os.fstat(file.fileno()).st_size

    def _remove(self, versions: list[str | None]) -> None:
        for version in versions:
            try:
                self._path(version).unlink(missing_ok=True)
            except BytesMissingError:
                continue  # such a version never had bytes


async def read_blocks(file: BinaryIO) -> AsyncIterator[bytes]:
    """Read all of a file, then close it."""
    with file:
        while block := await asyncio.to_thread(file.read, BLOCK_BYTES):
            yield block


def _append(file: BinaryIO, digest: "hashlib._Hash", block: bytes) -> None:
    digest.update(block)
    file.write(block)
