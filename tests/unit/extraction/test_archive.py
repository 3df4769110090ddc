"""Archives are checked before they are unpacked."""

import io
import struct
import zipfile

import pytest

from docmill.worker.errors import JobError
from docmill.worker.extraction.child import archive


def zipped(entries, compression=zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as made:
        for name, content in entries:
            made.writestr(name, content)
    return out.getvalue()


def code_of(content: bytes) -> str | None:
    try:
        archive.check_archive(io.BytesIO(content))
    except JobError as error:
        return error.code
    return None


def test_an_ordinary_archive_passes():
    assert code_of(zipped([("a", b"text" * 1000), ("b", b"")])) is None


def test_too_many_entries_are_refused():
    names = ((str(n), b"") for n in range(archive.MAX_ENTRIES + 1))
    assert code_of(zipped(names, zipfile.ZIP_STORED)) == "archive_too_large"


def test_a_bomb_is_refused():
    assert code_of(zipped([("a", bytes(50 * 1024 * 1024))])) == "archive_too_large"


def test_small_repetitive_files_pass():
    assert code_of(zipped([("a", bytes(archive.RATIO_FREE_BYTES - 1))])) is None


@pytest.mark.parametrize("size", [100, 11_000_000])
def test_entries_that_share_bytes_are_refused(size: int):
    content = bytearray(zipped([("a", b"x" * size), ("b", b"y" * size)], zipfile.ZIP_STORED))
    # The directory says that the second entry is at the place of the first.
    directory = content.rindex(b"PK\x01\x02")
    struct.pack_into("<I", content, directory + 42, 0)
    # Such a small overlap is damage, not an attack.
    assert code_of(bytes(content)) == ("archive_too_large" if size > 1000 else "corrupt")


def test_an_encrypted_archive_is_encrypted():
    content = bytearray(zipped([("a", b"x")]))
    content[content.rindex(b"PK\x01\x02") + 8] |= 1
    assert code_of(bytes(content)) == "encrypted"


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no archive at all"])
def test_what_is_no_archive_is_corrupt(content):
    assert code_of(content) == "corrupt"
