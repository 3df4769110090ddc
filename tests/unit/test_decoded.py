"""Compressed answers are decoded in small pieces, whatever they grow to."""

import asyncio
import gzip
import zlib

import httpx
import pytest

from docmill.worker.clients.decoded import PIECE_BYTES, async_pieces, pieces

TEXT = b"What was sent. " * 20_000


def gzipped(content: bytes) -> bytes:
    """`content` without the moment of the compression, which would change the names of tests."""
    return gzip.compress(content, mtime=0)


def answer(content: bytes, encoding: str) -> httpx.Response:
    return httpx.Response(
        200, headers={"content-encoding": encoding}, stream=httpx.ByteStream(content)
    )


async def collected(response: httpx.Response) -> list[bytes]:
    return [piece async for piece in async_pieces(response)]


@pytest.mark.parametrize(
    ("content", "encoding", "expected"),
    [
        (TEXT, "", TEXT),
        (TEXT, "identity", TEXT),
        (gzipped(TEXT), "gzip", TEXT),
        (gzipped(TEXT), "X-GZIP", TEXT),
        (gzipped(TEXT), "identity, gzip", TEXT),
        (zlib.compress(TEXT), "deflate", TEXT),
        (gzipped(b""), "gzip", b""),
        # Not asked for, and not known: it is what it is.
        (TEXT, "br", TEXT),
        # What is missing is seen by whoever reads the text.
        (gzipped(TEXT)[:200], "gzip", TEXT),
    ],
)
def test_what_was_compressed_comes_back(content: bytes, encoding: str, expected: bytes) -> None:
    got = b"".join(pieces(answer(content, encoding)))
    assert got == expected or (len(content) == 200 and expected.startswith(got))
    assert b"".join(asyncio.run(collected(answer(content, encoding)))) == got


def test_nothing_is_decoded_beyond_a_piece_before_it_is_counted() -> None:
    bomb = gzipped(bytes(64 * 1024 * 1024))
    assert len(bomb) < 70_000  # one block of the network
    taken = 0
    for piece in pieces(answer(bomb, "gzip")):
        assert len(piece) <= PIECE_BYTES
        taken += len(piece)
        if taken > 1_000_000:
            break
    assert taken < 1_000_000 + PIECE_BYTES


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        (gzipped(gzipped(TEXT)), "gzip, gzip"),
        (gzipped(zlib.compress(TEXT)), "deflate,gzip"),
        (b"not compressed", "gzip"),
        (gzipped(TEXT)[:20] + b"damage" * 99, "gzip"),
    ],
)
def test_what_cannot_be_decoded_is_refused(content: bytes, encoding: str) -> None:
    with pytest.raises(httpx.DecodingError):
        list(pieces(answer(content, encoding)))
    with pytest.raises(httpx.DecodingError):
        asyncio.run(collected(answer(content, encoding)))
