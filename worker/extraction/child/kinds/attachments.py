"""Files inside a file: each is read by its own kind and carries the name of its part."""

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from io import BytesIO

from docmill.worker.errors import JobError
from docmill.worker.extraction.child import sniff
from docmill.worker.extraction.child.kinds.base import ProfileNeededError, Reading, Source
from docmill.worker.extraction.shared import media_types, profiles
from docmill.worker.extraction.shared.parts import PageEnd
from docmill.worker.models import Element

#: Mail in mail in mail is read; what is in there stays unread.
_MAX_NESTING = 3
#: Headings of a part stand below its name, which stands below the subject.
_NAME_DEPTH = 1
#: Of these a part's page number says nothing.
_UNPAGED = frozenset({media_types.EML, media_types.MSG, media_types.XLSX, media_types.XLS})


@dataclass(frozen=True)
class Part:
    """A file inside a file. `data` is None where its bytes cannot be had."""

    name: str  #: as its sender wrote it: shown, never opened
    data: bytes | None


def with_parts(
    body: Iterable[Element], parts: Sequence[Part], source: Source
) -> Iterator[Element | PageEnd]:
    """The body as page 1, then each part as a page. Parts that cannot be read have no text.

    Without parts there are no pages.
    """
    if not parts:
        yield from body
        return
    yield from (replace(element, page=1) for element in body)
    yield PageEnd(1, has_text=True)
    for number, part in enumerate(parts, start=2):
        was_read = yield from _read(part, number, source)
        yield PageEnd(number, has_text=was_read)


def ask_for_recognition(parts: Iterable[Part], source: Source, media_type: str) -> None:
    """Raise ProfileNeededError where a part shows text in pictures, and recognition is to be had.

    Called before anything is said of the message. `media_type` is the message's.
    """
    if source.profile != profiles.PLAIN or not profiles.is_available(profiles.OCR):
        return
    inner = (_inner(part, source) for part in parts if part.data is not None)
    if source.nesting < _MAX_NESTING and any(map(_shows_pictures, inner)):
        raise ProfileNeededError(profiles.OCR, media_type)


def _shows_pictures(source: Source) -> bool:
    # The registry knows the readers of mail, which know this module.
    from docmill.worker.extraction.child.kinds.pdf import has_pictures_of_text
    from docmill.worker.extraction.child.kinds.registry import READERS

    media_type = sniff.sniff(source.file, source.file_name)
    if media_type in profiles.IMAGES:
        return True
    if media_type == media_types.PDF:
        return has_pictures_of_text(source)
    if media_type in (media_types.EML, media_types.MSG):
        try:
            READERS[media_type](source)
        except ProfileNeededError:
            return True
        except MemoryError:
            raise
        except Exception:  # parsers raise whatever they like
            return False
    return False


def _inner(part: Part, source: Source) -> Source:
    return Source(
        file=BytesIO(part.data or b""),
        file_name=part.name,
        nesting=source.nesting + 1,
        budget=source.budget,
        profile=source.profile,
    )


def _read(part: Part, number: int, source: Source) -> Generator[Element, None, bool]:
    """Elements of one part. Returns whether all of it was read: what fails spoils no other."""
    if part.data is None or source.nesting >= _MAX_NESTING or not source.budget.take():
        return False
    try:
        return (yield from _named(part.name, number, _inner(part, source)))
    except MemoryError:
        raise
    except JobError as error:
        # Nothing in it is nothing that was missed.
        return error.code == "empty_document"
    except Exception:  # parsers raise whatever they like
        return False


def _named(name: str, number: int, source: Source) -> Generator[Element, None, bool]:
    """The part's elements under a title with its name. Returns whether all pages have text."""
    # The registry knows the readers of mail, which know this module.
    from docmill.worker.extraction.child.kinds.registry import open_reading

    media_type, reading = open_reading(source)
    unread = False
    is_first = True
    for found in reading.parts:
        if isinstance(found, PageEnd):
            unread = unread or not found.has_text
            continue
        if is_first:
            yield Element("Title", name, page=number, depth=_NAME_DEPTH)
        is_first = False
        depth = None if found.depth is None else found.depth + _NAME_DEPTH + 1
        metadata = {**found.metadata, "page_name": _place(name, found, media_type)}
        yield replace(found, page=number, depth=depth, metadata=metadata)
    return not unread


def _place(name: str, element: Element, media_type: str) -> str:
    """Name of the part, and where in it the element stands."""
    inner = element.metadata.get("page_name")
    if inner is None and element.page is not None and media_type not in _UNPAGED:
        inner = f"page {element.page}"
    return f"{name}, {inner}" if inner else name


def part_count(parts: Sequence[Part]) -> int | None:
    """What `with_parts` counts as pages."""
    return len(parts) + 1 if parts else None


def joined(readings: Iterable[Reading]) -> Iterator[Element]:
    """The elements of several readings, one after the other, without their pages."""
    for reading in readings:
        for found in reading.parts:
            if isinstance(found, Element):
                yield found
