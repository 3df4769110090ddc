"""Cuts a text file into windows, and reads one of them.

It goes through a file of any size with little memory. The cuts depend only on the bytes, so every
run, and every window, finds the same cuts.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass
from typing import BinaryIO

from docmill.worker.extraction.child.encodings import Encoding, encoding_of
from docmill.worker.extraction.child.kinds.base import Source
from docmill.worker.models import JsonObject

#: Size of a window of text or records; it ends at the next suitable place.
WINDOW_BYTES = 1024 * 1024
#: How far to look for a suitable place; after that a less suitable one is taken.
_SEARCH_BYTES = WINDOW_BYTES // 4
#: If a file would have more windows, the windows are larger.
_MOST_WINDOWS = 256
#: Encodings in which an escape changes the meaning of later bytes; such files are read in one
#: piece.
_WITH_ESCAPES = re.compile(r"iso.?2022|hz|utf.?7", re.IGNORECASE)
_SENTENCE_END = (".", "!", "?")


@dataclass(frozen=True)
class TextFile:
    """A text file with known encoding."""

    file: BinaryIO
    encoding: Encoding
    size: int

    @staticmethod
    def of(source: Source) -> "TextFile":
        """The file of a source. Finds its encoding, unless an earlier window has found it."""
        known = source.context.get("encoding")
        encoding = Encoding(*known) if known else encoding_of(source.file)
        return TextFile(source.file, encoding, source.file.seek(0, 2))

    @property
    def context(self) -> JsonObject:
        """The facts about the file for each of its windows."""
        return {"encoding": list(astuple(self.encoding))}

    @property
    def begin(self) -> int:
        """Where the text begins: after the byte order mark."""
        return self.encoding.mark_bytes

    @property
    def line_end(self) -> bytes:
        """A newline, as the file writes it."""
        return "\n".encode(self.encoding.name)

    @property
    def window_bytes(self) -> int:
        """Least size of a window."""
        return max(WINDOW_BYTES, self.size // _MOST_WINDOWS)

    @property
    def is_cuttable(self) -> bool:
        """Whether a part of it can be read without the text before."""
        return self.size > WINDOW_BYTES and not _WITH_ESCAPES.match(self.encoding.name)

    def text(self, begin: int, end: int | None) -> str:
        """The text between two cuts."""
        return self.encoding.decode(self.part(begin, self.size if end is None else end))

    def part(self, begin: int, end: int) -> bytes:
        """Bytes of the file; fewer at its end."""
        self.file.seek(begin)
        return self.file.read(max(0, end - begin))

    def blocks(self) -> Iterator[bytes]:
        """All of the file, block by block."""
        begin = self.begin
        while data := self.part(begin, begin + WINDOW_BYTES):
            yield data
            begin += len(data)

    def all_lines(self) -> Iterator[tuple[int, bytes]]:
        """All lines, each with the place where it ends."""
        place, rest = self.begin, b""
        for block in self.blocks():
            data, start = rest + block, 0
            while after := _next_line(data, start, self.line_end):
                yield place + after, data[start:after]
                start = after
            place, rest = place + start, data[start:]
        if rest:
            yield place + len(rest), rest

    def lines(self, begin: int, end: int) -> Iterator[tuple[int, bytes]]:
        """Whole lines, each with the place where it ends; the first begins after a line's end."""
        data, line_end = self.part(begin, end), self.line_end
        place = _next_line(data, 0, line_end)
        while place and (after := _next_line(data, place, line_end)):
            yield begin + after, data[place:after]
            place = after


def _next_line(data: bytes, start: int, line_end: bytes) -> int:
    """Where the next line begins, or 0. Two-byte characters begin at even places."""
    width = len(line_end)
    found = data.find(line_end, start)
    while found != -1 and found % width:
        found = data.find(line_end, found + 1)
    return found + width if found != -1 else 0


#: Finds a cut in a stretch of the file, or none.
FindCut = Callable[[TextFile, int, int], int | None]


def starts_of(text: TextFile, *finders: FindCut) -> tuple[int, ...]:
    """Where the windows begin: at the place that the first successful finder returns."""
    starts = [text.begin]
    # The rest of the file after the last searched place is not a window of its own.
    least = text.window_bytes
    while text.is_cuttable and starts[-1] + least + _SEARCH_BYTES < text.size:
        cut = _cut(text, starts[-1] + least, finders)
        if cut is None or cut >= text.size:
            break
        starts.append(cut)
    return tuple(starts)


def _cut(text: TextFile, least: int, finders: tuple[FindCut, ...]) -> int | None:
    least -= (least - text.begin) % len(text.line_end)
    for find in finders:
        if (cut := find(text, least, least + _SEARCH_BYTES)) is not None:
            return cut
    return _after_next_line_end(text, least)


def between_paragraphs(text: TextFile, begin: int, end: int) -> int | None:
    """After a blank line that follows the end of a sentence.

    So the result for the text before does not depend on the text after.
    """
    before = ""
    for after, line in text.lines(begin, end):
        shown = text.encoding.decode(line).strip()
        if not shown and before.endswith(_SENTENCE_END):
            return after
        before = shown or before
    return None


def at_blank_line(text: TextFile, begin: int, end: int) -> int | None:
    """After any blank line."""
    for after, line in text.lines(begin, end):
        if not text.encoding.decode(line).strip():
            return after
    return None


def at_line_end(text: TextFile, begin: int, end: int) -> int | None:
    """After a line."""
    return next((after for after, _line in text.lines(begin, end)), None)


def at_carriage_return(text: TextFile, begin: int, end: int) -> int | None:
    """After the last carriage return, for text in which only carriage returns end lines."""
    return _after_last("\r", text, begin, end)


def at_space(text: TextFile, begin: int, end: int) -> int | None:
    """After the last space, for text without lines."""
    return _after_last(" ", text, begin, end)


def _after_last(sign: str, text: TextFile, begin: int, end: int) -> int | None:
    sought = sign.encode(text.encoding.name)
    data = text.part(begin, end)
    found = data.rfind(sought)
    while found != -1 and found % len(sought):
        # This may be between two characters: the end of one and the beginning of the next.
        found = data.rfind(sought, 0, found + len(sought) - 1)
    return begin + found + len(sought) if found != -1 else None


def _after_next_line_end(text: TextFile, begin: int) -> int | None:
    """At any distance: text with neither lines nor spaces stays in one piece."""
    while begin < text.size:
        data = text.part(begin, begin + WINDOW_BYTES)
        if found := _next_line(data, 0, text.line_end):
            return begin + found
        begin += len(data)
    return None
