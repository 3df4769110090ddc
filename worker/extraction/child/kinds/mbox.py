"""Mailboxes: many messages in one file, each behind a line that begins with `From `."""

import re
from collections.abc import Generator, Iterator
from dataclasses import replace
from io import BytesIO

from docmill.worker.extraction.child.kinds.attachments import OpenPart, joined_ends
from docmill.worker.extraction.child.kinds.base import ProfileNeededError, Reading, Source
from docmill.worker.extraction.child.kinds.mail import read_eml
from docmill.worker.extraction.shared import media_types, profiles
from docmill.worker.extraction.shared.parts import PageEnd
from docmill.worker.models import Element

#: Such a line follows a blank line and precedes a header (RFC 4155). Prose has such lines too, but
#: without a year. Some programs write neither sender nor time.
_BEGIN = re.compile(
    rb"(?:\A|(?<=\n\n)|(?<=\n\r\n))From (?:[^\n]*\d{4}[^\n]*|-?[ \t]*\r?)\n"
    rb"(?=(?:>From [^\n]*\n)?[!-9;-~]+:)"
)
#: How a line within a message that begins like this is quoted.
_QUOTED = re.compile(rb"^>(>*From )", re.MULTILINE)


def read_mbox(source: Source, open_part: OpenPart) -> Reading:
    """Each message is a page, with its attachments. An unreadable message affects no other.

    Raises ProfileNeededError before anything is read, if a message shows text in pictures.
    """
    data = source.read()
    lines = [found.span() for found in _BEGIN.finditer(data)]
    ends = [*(begin for begin, _end in lines[1:]), len(data)]
    bounds = [(begin, end) for (_, begin), end in zip(lines, ends, strict=True)]
    if source.profile == profiles.PLAIN and profiles.is_available(profiles.OCR):
        _ask_for_recognition(data, bounds, source, open_part)
    return Reading(_messages(data, bounds, source, open_part), page_count=len(bounds))


def _message(data: bytes, bounds: tuple[int, int], source: Source) -> Source:
    message = _QUOTED.sub(rb"\1", data[slice(*bounds)])
    return replace(source, file=BytesIO(message), file_name="message.eml", window=None)


def _ask_for_recognition(
    data: bytes, bounds: list[tuple[int, int]], source: Source, open_part: OpenPart
) -> None:
    for place in bounds:
        try:
            read_eml(_message(data, place, source), open_part)
        except ProfileNeededError as needed:
            raise ProfileNeededError(needed.profile, media_types.MBOX) from None
        except MemoryError:
            raise
        except Exception:  # noqa: S112 -- comes up again, and is counted, when it is read
            continue


def _messages(
    data: bytes, bounds: list[tuple[int, int]], source: Source, open_part: OpenPart
) -> Iterator[Element | PageEnd]:
    for number, place in enumerate(bounds, start=1):
        yield (yield from _read(_message(data, place, source), number, open_part))


def _read(message: Source, number: int, open_part: OpenPart) -> Generator[Element, None, PageEnd]:
    """Elements of one message. Returns the end of its page: whether all of it was read."""
    ends: list[PageEnd] = []
    try:
        reading = read_eml(message, open_part)
        for found in reading.parts:
            if isinstance(found, PageEnd):
                ends.append(found)
                continue
            inner = found.metadata.get("page_name")
            name = ", ".join(filter(None, [reading.title or f"message {number}", inner]))
            yield replace(found, page=number, metadata={**found.metadata, "page_name": name})
    except MemoryError:
        raise
    except Exception:  # parsers raise whatever they like
        ends.append(PageEnd(number, has_text=False))
    return joined_ends(number, ends)
