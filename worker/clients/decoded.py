"""Answers as they were before they were compressed, in pieces of bounded size.

httpx decodes each block that arrives as a whole: 64 KiB of a hostile answer become 64 MiB, and the
square of that if it is compressed twice, before anybody can count them.
"""

import zlib
from collections.abc import AsyncIterator, Iterator
from typing import Final

import httpx

#: The most that is decoded at once.
PIECE_BYTES: Final = 64 * 1024
#: zlib finds out by itself which of both it is.
_KNOWN: Final = ("gzip", "x-gzip", "deflate")
_GZIP_OR_ZLIB: Final = 32 + zlib.MAX_WBITS


class _Decoder:
    """Decodes one answer. Raises httpx.DecodingError if it cannot be decoded."""

    def __init__(self, response: httpx.Response) -> None:
        """An answer that is compressed twice is refused: nobody does that but to do harm."""
        named = response.headers.get("content-encoding", "").lower().split(",")
        known = [name for name in map(str.strip, named) if name in _KNOWN]
        if len(known) > 1:
            raise httpx.DecodingError("compressed more than once")
        self._zlib = zlib.decompressobj(_GZIP_OR_ZLIB) if known else None

    def pieces(self, block: bytes) -> Iterator[bytes]:
        """What a block that has arrived brings."""
        if self._zlib is None:
            yield block
            return
        try:
            while block and not self._zlib.eof:
                # When it returns less than is allowed, it needs more input.
                piece = self._zlib.decompress(block, PIECE_BYTES)
                block = self._zlib.unconsumed_tail
                if piece:
                    yield piece
        except zlib.error as error:
            raise httpx.DecodingError(str(error)) from error


def pieces(response: httpx.Response) -> Iterator[bytes]:
    """The content of a streamed answer as it arrives. Raises httpx.HTTPError."""
    decoder = _Decoder(response)
    for block in response.iter_raw():
        yield from decoder.pieces(block)


async def async_pieces(response: httpx.Response) -> AsyncIterator[bytes]:
    """The content of a streamed answer as it arrives. Raises httpx.HTTPError."""
    decoder = _Decoder(response)
    async for block in response.aiter_raw():
        for piece in decoder.pieces(block):
            yield piece
