"""Cut the stream of elements into windows that fit into memory."""

from collections.abc import Iterable, Iterator, Sequence

from docmill.worker.extraction.shared.parts import PageEnd, ReadPart
from docmill.worker.extraction.shared.sanitize import count_hidden
from docmill.worker.models import Element
from docmill.worker.ports import Window

#: From this on a window ends at the next page end or title; at twice this, anywhere. Windows that
#: a document is read in have less: see child.kinds.cuts.
WINDOW_CHARACTERS = 2_000_000
#: A shorter element takes as much memory as this: millions of tiny ones are a large document too.
LEAST_CHARACTERS = 50


def windows_of(
    parts: Iterable[ReadPart],
    *,
    pages_done: int = 0,
    window_characters: int = WINDOW_CHARACTERS,
) -> Iterator[Window]:
    """Windows in order. Where they end depends on the elements alone: a second run cuts alike.

    `pages_done` are those that were read before.
    """
    elements: list[Element] = []
    unread: list[int] = []
    size = 0
    for part in parts:
        full = size >= window_characters
        if full and (_is_title(part) or size >= 2 * window_characters):
            yield _window(elements, pages_done, unread)
            elements, unread, size, full = [], [], 0, False
        if isinstance(part, Element):
            elements.append(part)
            size += size_of(part)
            continue
        pages_done = part.number
        if not part.has_text:
            unread.append(part.number)
        if full:
            yield _window(elements, pages_done, unread)
            elements, unread, size = [], [], 0
    if elements or unread:
        yield _window(elements, pages_done, unread)


def _window(elements: Sequence[Element], pages_done: int, unread: Sequence[int]) -> Window:
    hidden = sum(count_hidden(element.text) for element in elements)
    return Window(elements, pages_done, unread, hidden)


def _is_title(part: ReadPart) -> bool:
    return isinstance(part, Element) and part.category == "Title"


def size_of(part: ReadPart) -> int:
    """Characters of a part, as many as it takes memory."""
    if isinstance(part, PageEnd):
        return LEAST_CHARACTERS
    length = len(part.text) + sum(len(str(value)) for value in part.metadata.values())
    return max(length, LEAST_CHARACTERS)
