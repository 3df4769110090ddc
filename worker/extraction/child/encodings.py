"""From bytes to text: byte order marks first, then UTF-8, then the best guess."""

import codecs
import re
from dataclasses import dataclass
from io import SEEK_END, BytesIO
from typing import BinaryIO

from charset_normalizer import from_bytes

#: UTF-32 before UTF-16: the mark of one begins with the mark of the other.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
#: A guess from this much is as good as from all; guessing takes time that grows with the sample.
_SAMPLE_BYTES = 64 * 1024
_CONTROLS = bytes(set(range(0x20)) - set(b"\t\n\r\f\x1b")) + b"\x7f"
#: Shares of control bytes above which something is not text. Few binary files are valid UTF-8,
#: and a text with NULs in it is still worth reading.
_MAX_CONTROLS, _MAX_CONTROLS_UTF8 = 0.02, 0.2
_NOT_ASCII = re.compile(rb"[\x80-\xff]")
_BLOCK_BYTES = 1024 * 1024
_DECLARED = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([\w-]{2,40})", re.IGNORECASE)


@dataclass(frozen=True)
class Encoding:
    """How a file's bytes become text."""

    name: str  #: as Python knows it
    mark_bytes: int = 0  #: length of the byte order mark, which is not text

    def decode(self, data: bytes) -> str:
        """Text of a part of the file, without the mark. Never raises: see `decode`."""
        return data.decode(self.name, errors="replace")


def looks_like_text(start: bytes) -> bool:
    """Whether the first bytes of a file are text in some encoding."""
    if _mark(start) or _unmarked_utf16(start):
        return True
    controls = len(start) - len(start.translate(None, _CONTROLS))
    limit = _MAX_CONTROLS_UTF8 if _is_utf8(BytesIO(start)) else _MAX_CONTROLS
    return controls <= limit * len(start)


def decode_start(start: bytes) -> str:
    """Text of the first bytes; a character that is cut at the end is left out."""
    return decode(start)


def decode(data: bytes, *, html: bool = False) -> str:
    """The text of a file. Never raises: a byte that fits no encoding becomes U+FFFD.

    `html` lets a `<meta charset>` decide where no mark does and UTF-8 does not fit.
    """
    file = BytesIO(data)
    encoding = _certain(file)
    if encoding is None and html and (text := _decoded_as_declared(data)) is not None:
        return text
    encoding = encoding or _guessed(file)
    return encoding.decode(data[encoding.mark_bytes :])


def encoding_of(file: BinaryIO) -> Encoding:
    """What `decode` would take all bytes of a file for, found without holding them all."""
    return _certain(file) or _guessed(file)


def plain_newlines(text: str) -> str:
    """The text with newlines for line ends of every other kind."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _certain(file: BinaryIO) -> Encoding | None:
    file.seek(0)
    start = file.read(_SAMPLE_BYTES)
    marked = _mark(start) or _unmarked_utf16(start)
    return marked or (Encoding("utf-8") if _is_utf8(file) else None)


def _guessed(file: BinaryIO) -> Encoding:
    best = from_bytes(_sample(file)).best()
    return Encoding(best.encoding if best else "cp1252")


def _mark(data: bytes) -> Encoding | None:
    marks = (Encoding(name, len(mark)) for mark, name in _MARKS if data.startswith(mark))
    return next(marks, None)


def _is_utf8(file: BinaryIO) -> bool:
    """Whether it is UTF-8, but for a last character that may have been cut."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    file.seek(0)
    try:
        while block := file.read(_BLOCK_BYTES):
            decoder.decode(block)
    except UnicodeDecodeError:
        return False
    return True


def _unmarked_utf16(data: bytes) -> Encoding | None:
    """UTF-16 of a mostly Latin text shows itself by a NUL in every other byte."""
    sample = data[:4096]
    pairs = len(sample) // 2
    if pairs < 4:
        return None
    if sample[1::2].count(0) > 0.7 * pairs and sample[0::2].count(0) < 0.05 * pairs:
        return Encoding("utf-16-le")
    if sample[0::2].count(0) > 0.7 * pairs and sample[1::2].count(0) < 0.05 * pairs:
        return Encoding("utf-16-be")
    return None


def _decoded_as_declared(data: bytes) -> str | None:
    found = _DECLARED.search(data[:4096])
    if found is None:
        return None
    try:
        return data.decode(found.group(1).decode("ascii"), errors="replace")
    except (LookupError, UnicodeError):  # no such encoding, or one that is not of text
        return None


def _sample(file: BinaryIO) -> bytes:
    """A part of the file around the first byte that is not ASCII: the rest tells nothing."""
    file.seek(0)
    start = 0
    while block := file.read(_BLOCK_BYTES):
        if found := _NOT_ASCII.search(block):
            start += found.start()
            break
        start += len(block)
    is_short = file.seek(0, SEEK_END) <= _SAMPLE_BYTES
    file.seek(0 if is_short else max(0, start - 1024))
    return file.read(_SAMPLE_BYTES)
