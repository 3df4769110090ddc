"""Files inside a file: each is read by its own kind, under the name of its part."""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from io import BytesIO

from docmill.worker.errors import JobError
from docmill.worker.extraction.child import sniff
from docmill.worker.extraction.child.kinds.base import ProfileNeededError, Reading, Source
from docmill.worker.extraction.child.kinds.pdf.scans import has_pictures_of_text
from docmill.worker.extraction.shared import media_types, profiles
from docmill.worker.extraction.shared.parts import PageEnd
from docmill.worker.extraction.shared.protocol import MAX_FORMULAS
from docmill.worker.models import Element

#: Mail in mail in mail is read; files inside the last one are not.
_MAX_NESTING = 3
#: Headings of a part are below its name, and the name is below the subject.
_NAME_DEPTH = 1
#: Types for which a page number within the part means nothing.
_UNPAGED = frozenset(
    {
        media_types.EML,
        media_types.MBOX,
        media_types.MSG,
        media_types.XLSX,
        media_types.XLSB,
        media_types.XLS,
    }
)


@dataclass(frozen=True)
class Part:
    """A file inside a file. `data` is None if its bytes are not available."""

    name: str  #: written by the sender; shown, and never opened
    data: bytes | None


#: Finds the type of a file and reads it. A part may be mail again, whose reader imports this
#: module. So the function is passed in by the module that knows all readers.
OpenPart = Callable[[Source], tuple[str, Reading]]


class Attached:
    """The files inside one message."""

    def __init__(self, parts: Sequence[Part], source: Source, open_part: OpenPart) -> None:
        """`source` is the message."""
        self._parts = parts
        self._source = source
        self._open_part = open_part

    @property
    def names(self) -> list[str]:
        """The names of the files."""
        return [part.name for part in self._parts]

    @property
    def page_count(self) -> int | None:
        """The number of pages of `after`."""
        return len(self._parts) + 1 if self._parts else None

    def ask_for_recognition(self, media_type: str) -> None:
        """Raise ProfileNeededError if a file shows text in pictures and recognition is installed.

        Call this before anything of the message is returned. `media_type` is the message's.
        """
        plain = self._source.profile == profiles.PLAIN
        if not plain or not profiles.is_available(profiles.OCR):
            return
        inner = (self._inner(part) for part in self._parts if part.data is not None)
        if self._source.nesting < _MAX_NESTING and any(map(self._shows_pictures, inner)):
            raise ProfileNeededError(profiles.OCR, media_type)

    def after(self, body: Iterable[Element]) -> Iterator[Element | PageEnd]:
        """The body as page 1, then each file as a page. An unreadable file is a page without text.

        Without files there are no pages.
        """
        if not self._parts:
            yield from body
            return
        yield from (replace(element, page=1) for element in body)
        yield PageEnd(1, has_text=True)
        for number, part in enumerate(self._parts, start=2):
            yield (yield from self._read(part, number))

    def _inner(self, part: Part) -> Source:
        return Source(
            file=BytesIO(part.data or b""),
            file_name=part.name,
            nesting=self._source.nesting + 1,
            budget=self._source.budget,
            profile=self._source.profile,
            word_comments=self._source.word_comments,
        )

    def _shows_pictures(self, inner: Source) -> bool:
        media_type = sniff.sniff(inner.file, inner.file_name)
        if media_type in profiles.IMAGES:
            return True
        if media_type == media_types.PDF:
            return has_pictures_of_text(inner)
        if media_type in (media_types.EML, media_types.MBOX, media_types.MSG):
            try:
                self._open_part(inner)
            except ProfileNeededError:
                return True
            except MemoryError:
                raise
            except Exception:  # parsers raise whatever they like
                return False
        return False

    def _read(self, part: Part, number: int) -> Generator[Element, None, PageEnd]:
        """Elements of one file; returns the end of its page. A failure affects only it."""
        unread = PageEnd(number, has_text=False)
        source = self._source
        if part.data is None or source.nesting >= _MAX_NESTING or not source.budget.take():
            return unread
        try:
            return (yield from self._named(part, number))
        except MemoryError:
            raise
        except JobError as error:
            # An empty file is not an unread file.
            return replace(unread, has_text=error.code == "empty_document")
        except Exception:  # parsers raise whatever they like
            return unread

    def _named(self, part: Part, number: int) -> Generator[Element, None, PageEnd]:
        """The file's elements under a title with its name. Returns the end of its page."""
        media_type, reading = self._open_part(self._inner(part))
        ends: list[PageEnd] = []
        is_first = True
        for found in reading.parts:
            if isinstance(found, PageEnd):
                ends.append(found)
                continue
            if is_first:
                yield Element("Title", part.name, page=number, depth=_NAME_DEPTH)
            is_first = False
            depth = None if found.depth is None else found.depth + _NAME_DEPTH + 1
            metadata = {**found.metadata, "page_name": _place(part.name, found, media_type)}
            yield replace(found, page=number, depth=depth, metadata=metadata)
        return joined_ends(number, ends)


def _place(name: str, element: Element, media_type: str) -> str:
    """Name of the part, and the place of the element in it."""
    inner = element.metadata.get("page_name")
    if inner is None and element.page is not None and media_type not in _UNPAGED:
        inner = f"page {element.page}"
    return f"{name}, {inner}" if inner else name


def joined_ends(number: int, ends: Iterable[PageEnd]) -> PageEnd:
    """One end for all pages of a file inside a file."""
    uncomputed, has_text = 0, True
    for end in ends:
        uncomputed += end.uncomputed_formulas
        has_text = has_text and end.has_text
    return PageEnd(number, has_text, uncomputed_formulas=min(uncomputed, MAX_FORMULAS))


def joined(readings: Iterable[Reading]) -> Iterator[Element]:
    """The elements of several readings, one after the other, without their pages."""
    for reading in readings:
        for found in reading.parts:
            if isinstance(found, Element):
                yield found
