"""Where a file of text is cut into windows, and how one of them is read.

A file of any size is looked through in little memory. The cuts depend on the bytes alone: every
run, and every window, finds the same ones.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass
from typing import BinaryIO

from docmill.worker.extraction.child.encodings import Encoding, encoding_of
from docmill.worker.extraction.child.kinds.base import Source
from docmill.worker.models import JsonObject

#: Size of a window of text or records; it ends at the next place where it may.
WINDOW_BYTES = 1024 * 1024
#: Such a place is looked for this far; then a worse one is taken.
_SEARCH_BYTES = WINDOW_BYTES // 4
#: In a file that would have more, they are larger.
_MOST_WINDOWS = 256
#: Encodings in which a byte means something else after an escape: they are read in one piece.
_WITH_ESCAPES = re.compile(r"iso.?2022|hz|utf.?7", re.IGNORECASE)
_SENTENCE_END = (".", "!", "?")


@dataclass(frozen=True)
class TextFile:
    """A file of text, its encoding known."""

    file: BinaryIO
    encoding: Encoding
    size: int

    @staticmethod
    def of(source: Source) -> "TextFile":
        """The file of a source. Its encoding is found out where no window before has done so."""
        known = source.context.get("encoding")
        encoding = Encoding(*known) if known else encoding_of(source.file)
        return TextFile(source.file, encoding, source.file.seek(0, 2))

    @property
    def context(self) -> JsonObject:
        """What is known of the file in each of its windows."""
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
        """Whether a part of it can be read without what stands before."""
        return self.size > WINDOW_BYTES and not _WITH_ESCAPES.match(self.encoding.name)

    def text(self, begin: int, end: int | None) -> str:
        """The text between two cuts."""
        return self.encoding.decode(self.part(begin, self.size if end is None else end))

    def part(self, begin: int, end: int) -> bytes:
        """Bytes of the file; fewer where it ends."""
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
    """Where the next line begins; 0 where none does. Characters of two bytes begin at even ones."""
    width = len(line_end)
    found = data.find(line_end, start)
    while found != -1 and found % width:
        found = data.find(line_end, found + 1)
    return found + width if found != -1 else 0


#: Finds a cut in a stretch of the file, or none.
FindCut = Callable[[TextFile, int, int], int | None]


def starts_of(text: TextFile, *finders: FindCut) -> tuple[int, ...]:
    """Where the windows begin: at the first place that one of the finders likes, in their order."""
    starts = [text.begin]
    # What is left after the last place that was looked at is no window of its own.
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

    Nothing that is made of the text before then depends on the text behind.
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
    """After the last carriage return: in text whose lines end in nothing else."""
    return _after_last("\r", text, begin, end)


def at_space(text: TextFile, begin: int, end: int) -> int | None:
    """After the last space: in text without lines."""
    return _after_last(" ", text, begin, end)


def _after_last(sign: str, text: TextFile, begin: int, end: int) -> int | None:
    sought = sign.encode(text.encoding.name)
    data = text.part(begin, end)
    found = data.rfind(sought)
    while found != -1 and found % len(sought):
        # Between two characters: the end of one, and the beginning of the next.
        found = data.rfind(sought, 0, found + len(sought) - 1)
    return begin + found + len(sought) if found != -1 else None


def _after_next_line_end(text: TextFile, begin: int) -> int | None:
    """However far it is: what has neither lines nor spaces is held in one piece."""
    while begin < text.size:
        data = text.part(begin, begin + WINDOW_BYTES)
        if found := _next_line(data, 0, text.line_end):
            return begin + found
        begin += len(data)
    return None
