"""From bytes to text: marks and escapes first, then UTF-8, the declared encoding, a guess."""

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import BinaryIO

from docmill.worker.extraction.child.guessing import best_guess, reads_as_text

#: UTF-32 before UTF-16: the mark of one begins with the mark of the other.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_START_BYTES = 64 * 1024
#: This many bytes around non-ASCII characters are enough for a good guess.
_SAMPLE_BYTES = 16 * 1024
#: How much is looked at around a non-ASCII byte, in a text with long lines.
_AROUND_BYTES = 256
_CONTROLS = bytes(set(range(0x20)) - set(b"\t\n\r\f\x1b")) + b"\x7f"
#: With a larger share of control bytes, a file is not text. For valid UTF-8 the share may be
#: higher: few binary files are valid UTF-8, and a text with some NULs is still worth reading.
_MAX_CONTROLS, _MAX_CONTROLS_UTF8 = 0.02, 0.2
_NOT_ASCII = re.compile(rb"[\x80-\xff]")
#: Bytes that are never the second byte of a character.
_BETWEEN_CHARACTERS = re.compile(rb"[\t\n\r !-/:-?]")
_BLOCK_BYTES = 1024 * 1024
#: Escapes to a Japanese, Chinese or Korean set of characters. All bytes are ASCII.
_ESCAPES = re.compile(rb"\x1b\$[@B]|\x1b\$\([A-DOPQ]|\x1b\$\)[AC]|\x1b\([JI]")
_ESCAPED = ("hz", "iso2022_kr", "iso2022_jp_ext", "iso2022_jp_2", "iso2022_jp_2004")
_HZ = re.compile(rb"~\{(?:[!-w][!-~]){2,}~\}")
_DECLARED = re.compile(
    rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([\w:.-]{2,40})"
    rb"|^\s*<\?xml[^>]{0,200}?encoding\s*=\s*[\"']([\w:.-]{2,40})",
    re.IGNORECASE,
)
#: Encodings that are read as a larger one, as browsers do: files that declare the first usually use
#: the second. See the labels of the WHATWG's Encoding Standard.
_LARGER = {
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "tis-620": "cp874",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "big5": "big5hkscs",
}
#: The bytes do not show these encodings, so they count only if they are declared.
_ALL_ASCII = frozenset({"utf-7", "utf7", "unicode-1-1-utf-7", "hz-gb-2312"})
_LABELS = {
    "unicode-1-1-utf-7": "utf-7",
    "hz-gb-2312": "hz",
    "iso-8859-8-i": "iso8859-8",
    "ks_c_5601-1987": "cp949",
    "x-sjis": "cp932",
}
#: A declared encoding is accepted if at most one character in this many is broken.
_LEAST_PER_BROKEN = 200
#: Mostly UTF-8: at most one byte in this many characters is not valid UTF-8.
_LEAST_PER_STRANGER = 10
_TAG = re.compile(rb"<[^<>]*>")
#: The scripts, by encodings that hold each.
_ALPHABETS = (
    *("cp1250", "cp1251", "cp1252", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp874"),
    "iso8859-16",
)
_WRITTEN_SETS = (*_ALPHABETS, "gb2312", "big5", "cp932", "euc_kr")
#: Every Chinese, Japanese or Korean sentence has one of these. Two bytes of another encoding may
#: look like a rare character of these languages, but not like one of these.
_COMMON_IN_ALL = re.compile("[\t-~\u3000-\u30ff\uff01-\uff5e]")
_LEAST_PAIRS = 4

_ERRORS = "docmill.cp1252"


def _as_windows(error: UnicodeError) -> tuple[str, int]:
    """Reads bytes that are not UTF-8 in the encoding that they most often come from."""
    assert isinstance(error, UnicodeDecodeError)
    wrong = error.object[error.start : error.end]
    return wrong.decode("cp1252", errors="replace"), error.end


codecs.register_error(_ERRORS, _as_windows)


@dataclass(frozen=True)
class Encoding:
    """How a file's bytes become text."""

    name: str  #: Python's name
    mark_bytes: int = 0  #: length of the byte order mark, which is not text
    errors: str = "replace"  #: how to treat bytes that do not fit

    def decode(self, data: bytes) -> str:
        """Text of a part of the file, without the mark. Never raises: see `decode`."""
        return data.decode(self.name, errors=self.errors)


def looks_like_text(start: bytes) -> bool:
    """Whether the first bytes of a file are text in some encoding."""
    if _mark(start) or _unmarked_utf16(start) or _escaped(BytesIO(start)):
        return True
    controls = len(start) - len(start.translate(None, _CONTROLS))
    limit = _MAX_CONTROLS_UTF8 if _is_utf8(BytesIO(start)) else _MAX_CONTROLS
    return controls <= limit * len(start)


def decode_start(start: bytes) -> str:
    """Text of the first bytes, good enough to recognise the kind of text.

    A character that is cut at the end is left out. No encoding is guessed, because the signs of a
    kind are ASCII in all of them.
    """
    encoding = _certain(BytesIO(start)) or Encoding("cp1252")
    return encoding.decode(start[encoding.mark_bytes :])


def decode(data: bytes, *, html: bool = False, declared: str = "") -> str:
    """The text of a file. Never raises: a byte that fits no encoding becomes U+FFFD.

    If there is no mark and UTF-8 does not fit, the declared encoding counts if it is plausible:
    `declared`, or with `html` the one in the head of the page.
    """
    if declared.lower() in _ALL_ASCII and (text := _decoded_as(data, declared)) is not None:
        return text
    file = BytesIO(data)
    encoding = _certain(file)
    if encoding is None:
        names = [declared, _declared_in(data)] if html else [declared]
        for name in filter(None, names):
            if (text := _decoded_as(data, name)) is not None:
                return text
        encoding = _guessed(BytesIO(_TAG.sub(b" ", data[: 64 * _SAMPLE_BYTES])) if html else file)
    return encoding.decode(data[encoding.mark_bytes :])


def encoding_of(file: BinaryIO) -> Encoding:
    """The encoding that `decode` would choose for a file, found without loading the whole file."""
    return _certain(file) or _guessed(file)


def marked_encoding(data: bytes) -> Encoding | None:
    """The encoding whose mark is at the beginning of a file, or UTF-16 without a mark."""
    return _mark(data) or _unmarked_utf16(data)


def plain_newlines(text: str) -> str:
    """The text with newlines for line ends of every other kind."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _certain(file: BinaryIO) -> Encoding | None:
    file.seek(0)
    start = file.read(_START_BYTES)
    found = _mark(start) or _unmarked_utf16(start) or _escaped(file)
    if found is not None:
        return found
    if _is_utf8(file, whole=True):
        return Encoding("utf-8")
    return Encoding("utf-8", errors=_ERRORS) if _is_mostly_utf8(_sample(file)) else None


def _guessed(file: BinaryIO) -> Encoding:
    return Encoding(best_guess(_sample(file)))


def _mark(data: bytes) -> Encoding | None:
    marks = (Encoding(name, len(mark)) for mark, name in _MARKS if data.startswith(mark))
    return next(marks, None)


def _escaped(file: BinaryIO) -> Encoding | None:
    """The encoding whose escapes are in a text; the text after the first escape must fit."""
    file.seek(0)
    while block := file.read(_BLOCK_BYTES):
        if (found := _first_escape(block)) is not None:
            begin = block.rfind(b"\n", 0, found) + 1
            return _escaped_at(block[begin : begin + _START_BYTES])
    return None


def _first_escape(block: bytes) -> int | None:
    """Where the first escape begins. Most texts have no such byte, which is found fast."""
    places = [
        found.start()
        for sign, pattern in ((b"\x1b", _ESCAPES), (b"~{", _HZ))
        if sign in block and (found := pattern.search(block))
    ]
    return min(places, default=None)


def _escaped_at(start: bytes) -> Encoding | None:
    """The encoding of lines that begin with an escape; the last line may be cut."""
    whole = start if len(start) < _START_BYTES else start[: start.rfind(b"\n") + 1] or start
    return next((Encoding(name) for name in _ESCAPED if _fits(whole, name)), None)


def _fits(lines: bytes, name: str) -> bool:
    try:
        text = lines.decode(name)
    except UnicodeError:
        return False
    return not text.isascii() and "\x1b" not in text and reads_as_text(text)


def _is_utf8(file: BinaryIO, *, whole: bool = False) -> bool:
    """Whether it is UTF-8. Unless `whole`, its last character may be cut."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    file.seek(0)
    try:
        while block := file.read(_BLOCK_BYTES):
            decoder.decode(block)
        decoder.decode(b"", final=whole)
    except UnicodeDecodeError:
        return False
    return True


def _is_mostly_utf8(sample: bytes) -> bool:
    """Whether a text is UTF-8 with a few bytes that are broken or from another encoding."""
    text = sample.decode("utf-8", errors="replace")
    broken = text.count("\ufffd")
    beyond_ascii = len(text) - len(text.encode("ascii", errors="ignore")) - broken
    return beyond_ascii > 0 and beyond_ascii >= _LEAST_PER_STRANGER * broken


def _unmarked_utf16(data: bytes) -> Encoding | None:
    """UTF-16 without a mark: with its bytes in the right order, it is in one known script.

    In mostly Latin text every other byte is a NUL.
    """
    sample = data[: min(len(data), 4096) // 2 * 2]
    has_controls = len(sample.translate(None, _CONTROLS)) < len(sample)
    if len(sample) < 2 * _LEAST_PAIRS or not (has_controls or _NOT_ASCII.search(sample)):
        return None
    if not has_controls and _is_utf8(BytesIO(sample)):
        return None
    for name, high, low in (("utf-16-le", 1, 0), ("utf-16-be", 0, 1)):
        if _has_nuls(sample[high::2], sample[low::2]) or _is_written(sample, name):
            return Encoding(name)
    return None


def _has_nuls(high: bytes, low: bytes) -> bool:
    return high.count(0) > 0.7 * len(high) and low.count(0) < 0.05 * len(low)


def _is_written(sample: bytes, name: str) -> bool:
    try:
        text = codecs.getincrementaldecoder(name)().decode(sample)
    except UnicodeError:
        return False
    if not reads_as_text(text):
        return False
    least = len(text) - len(text) // 20
    sets = _WRITTEN_SETS if _COMMON_IN_ALL.search(text) else _ALPHABETS
    return any(_count_in(text, known) >= least for known in sets)


def _count_in(text: str, known: str) -> int:
    return len(text.encode(known, errors="ignore").decode(known, errors="ignore"))


def _declared_in(data: bytes) -> str:
    found = _DECLARED.search(data[:4096])
    return (found[1] or found[2]).decode("ascii", errors="replace") if found else ""


def _decoded_as(data: bytes, declared: str) -> str | None:
    """The text in the declared encoding; None if that is not plausible."""
    try:
        name = codecs.lookup(_LABELS.get(declared.lower(), declared)).name
        text = data.decode(_LARGER.get(name, name), errors="replace")
    except (LookupError, UnicodeError):  # no such encoding, or not a text encoding
        return None
    broken = text.count("\ufffd")
    return text if reads_as_text(text) and broken * _LEAST_PER_BROKEN <= len(text) else None


def _sample(file: BinaryIO) -> bytes:
    """Lines of the file with non-ASCII bytes, from the beginning; other lines do not help."""
    pieces, size = [], 0
    for piece in _not_ascii(file):
        pieces.append(piece)
        size += len(piece)
        if size >= _SAMPLE_BYTES:
            break
    return b"\n".join(pieces)


def _not_ascii(file: BinaryIO) -> Iterator[bytes]:
    """Pieces of lines around non-ASCII bytes."""
    file.seek(0)
    while block := file.read(_BLOCK_BYTES):
        done = 0
        while found := _NOT_ASCII.search(block, done):
            begin = max(done, found.start() - _AROUND_BYTES)
            begin = max(begin, block.rfind(b"\n", begin, found.start()) + 1)
            after = _BETWEEN_CHARACTERS.search(block, found.end() + _AROUND_BYTES)
            done = after.end() if after else len(block)
            line_end = block.find(b"\n", found.end(), done)
            done = line_end + 1 if line_end >= 0 else done
            yield block[begin:done].rstrip(b"\r\n")
