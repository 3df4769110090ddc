"""Cuts the stream of elements into windows that fit into memory."""

from collections.abc import Iterable, Iterator

from docmill.worker.extraction.shared.parts import PageEnd, RawLines, Summary, WindowPart
from docmill.worker.extraction.shared.sanitize import count_hidden
from docmill.worker.models import Chunk, Element
from docmill.worker.ports import Window

#: From this size on, a window ends at the next end of a page or title; at twice this size it ends
#: anywhere. The windows in which a document is read are smaller: see child.kinds.cuts.
WINDOW_CHARACTERS = 2_000_000
#: Shorter elements count as this long, because they take as much memory: millions of tiny elements
#: are a large document too.
LEAST_CHARACTERS = 50


def windows_of(
    parts: Iterable[WindowPart],
    *,
    pages_done: int = 0,
    window_characters: int = WINDOW_CHARACTERS,
) -> Iterator[Window]:
    """Windows in order. Only the elements decide where they end, so a second run cuts alike.

    `pages_done` is the number of pages that were read before.
    """
    window = _Open()
    for part in parts:
        full = window.size >= window_characters
        if full and (_is_title(part) or window.size >= 2 * window_characters):
            yield window.closed(pages_done)
            window, full = _Open(), False
        window.add(part)
        if isinstance(part, PageEnd):
            pages_done = part.number
            if full:
                yield window.closed(pages_done)
                window = _Open()
    if window.holds_something:
        yield window.closed(pages_done)


class _Open:
    """A window to which parts are added."""

    def __init__(self) -> None:
        self.size = 0
        self._elements: list[Element] = []
        self._chunks: list[Chunk] = []
        self._unread: list[int] = []
        self._uncomputed = 0
        self._summaries: list[Summary] = []

    @property
    def holds_something(self) -> bool:
        parts = (self._elements, self._chunks, self._unread, self._summaries)
        return any(parts) or self._uncomputed > 0

    def add(self, part: WindowPart) -> None:
        match part:
            case Element():
                self._elements.append(part)
                self.size += size_of(part)
            case Chunk():
                self._chunks.append(part)
                self.size += size_of(part)
            case Summary():
                self._summaries.append(part)
            case PageEnd():
                self._unread += [] if part.has_text else [part.number]
                self._uncomputed += part.uncomputed_formulas

    def closed(self, pages_done: int) -> Window:
        hidden = sum(count_hidden(element.text) for element in self._elements)
        titles = (summary.title for summary in self._summaries if summary.title)
        return Window(
            elements=self._elements,
            chunks=self._chunks,
            pages_done=pages_done,
            unread_pages=self._unread,
            uncomputed_formulas=self._uncomputed,
            hidden_characters=hidden + sum(said.hidden_characters for said in self._summaries),
            title=next(titles, None),
        )


def _is_title(part: WindowPart) -> bool:
    return isinstance(part, Element) and part.category == "Title"


def size_of(part: WindowPart) -> int:
    """Size of a part in characters, by the memory that it takes."""
    match part:
        case RawLines(data):
            return len(data)
        case Element(text=text):
            length = len(text) + sum(len(str(value)) for value in part.metadata.values())
        case Chunk(content=text):
            length = len(text) + sum(map(len, part.metadata.get("links", ())))
        case _:
            length = 0
    return max(length, LEAST_CHARACTERS)
