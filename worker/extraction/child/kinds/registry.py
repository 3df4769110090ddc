"""The registry: which kind reads which media type."""

import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace

from docmill.worker.errors import JobError
from docmill.worker.extraction.child import sniff
from docmill.worker.extraction.child.archive import check_archive, check_unlocked
from docmill.worker.extraction.child.kinds import (
    book,
    calendar,
    data,
    mail,
    mbox,
    ocr,
    office,
    open_text,
    outlook,
    rtf,
    text,
    web,
)
from docmill.worker.extraction.child.kinds.base import ProfileNeededError, Reading, Source
from docmill.worker.extraction.child.kinds.pdf.reading import read_pdf
from docmill.worker.extraction.shared import media_types, profiles
from docmill.worker.extraction.shared.parts import ReadPart

Reader = Callable[[Source], Reading]


_READERS: dict[str, Reader] = {
    media_types.PDF: read_pdf,
    **dict.fromkeys(media_types.WORD_TYPES, lambda source: office.read_docx(source, open_reading)),
    **dict.fromkeys(media_types.SLIDE_TYPES, office.read_pptx),
    media_types.XLSX: office.read_xlsx,
    media_types.XLSB: office.read_xlsb,
    media_types.XLS: office.read_xls,
    media_types.EPUB: book.read_epub,
    media_types.ODT: open_text.read_odt,
    "text/html": web.read_html,
    "text/markdown": web.read_markdown,
    "text/csv": data.read_delimited,
    "text/tab-separated-values": data.read_delimited,
    "application/json": data.read_json,
    "application/x-ndjson": data.read_json_lines,
    "application/xml": data.read_xml,
    "application/rtf": rtf.read_rtf,
    media_types.CALENDAR: calendar.read_calendar,
    media_types.MBOX: lambda source: mbox.read_mbox(source, open_reading),
    media_types.EML: lambda source: mail.read_eml(source, open_reading),
    media_types.MSG: lambda source: outlook.read_msg(source, open_reading),
    # For workers without pandoc; all words are read.
    "text/x-org": text.read_text,
    "text/x-rst": text.read_text,
    "text/plain": text.read_text,
}

#: Kinds of text that are shown as they are written if their reader gives up.
_SHOWN_AS_WRITTEN = frozenset(
    {
        *("text/html", "text/markdown", "application/json", "application/xml", "application/rtf"),
        *(media_types.CALENDAR, media_types.EML),
    }
)

#: A refusal with a code, another kind of child that is needed, and what the machine lacks.
_NO_FAULT_OF_THE_TEXT = (JobError, ProfileNeededError, MemoryError, OSError)

#: Files that are refused before anything reads them.
_REFUSED = {
    sniff.EMPTY: "empty_document",
    sniff.ENCRYPTED_OFFICE: "encrypted",
    sniff.BROKEN: "corrupt",
}


def open_reading(source: Source) -> tuple[str, Reading]:
    """Sniff the file and begin to read it by its type. Raises JobError or any other exception."""
    media_type = sniff.sniff(source.file, source.file_name)
    if source.media_type not in ("", media_type):
        raise JobError("internal_error", "a window of another kind")
    if media_type in _REFUSED:
        raise JobError(_REFUSED[media_type])
    if source.nesting == 0 and source.profile == profiles.PLAIN:
        _ask_for_help(media_type, source)
    reader = _READERS.get(media_type)
    if reader is None and source.profile == profiles.OCR:
        reader = ocr.read_image if media_type in profiles.IMAGES else None
    if reader is None and media_type.startswith("text/x-"):
        reader = text.read_source
    if reader is None:
        raise JobError("unsupported_type", media_type)
    source.file.seek(0)
    if media_type in _SHOWN_AS_WRITTEN:
        return media_type, _read_or_shown(reader, source)
    return media_type, reader(source)


def _read_or_shown(reader: Reader, source: Source) -> Reading:
    """Read a text. If its reader gives up before it has found anything, show it like source code.

    Its tags or braces are then shown too, and no word of it is lost.
    """
    try:
        reading = reader(source)
    except _NO_FAULT_OF_THE_TEXT:
        raise
    except Exception:  # parsers raise whatever they like
        return text.read_source(source)
    return replace(reading, parts=_parts_or_source(reading.parts, source))


def _parts_or_source(parts: Iterator[ReadPart], source: Source) -> Iterator[ReadPart]:
    has_begun = False
    try:
        for part in parts:
            has_begun = True
            yield part
    except _NO_FAULT_OF_THE_TEXT:
        raise
    except Exception:
        if has_begun:
            raise
        yield from text.read_source(source).parts


def _ask_for_help(media_type: str, source: Source) -> None:
    """Raise ProfileNeededError if another kind of child can read this and is available."""
    profile = profiles.profile_of(media_type)
    if profile == profiles.PLAIN or not profiles.is_available(profile):
        return
    if zipfile.is_zipfile(source.file):
        # Check it before a program unpacks it.
        check_archive(source.file)
        check_unlocked(source.file)
    raise ProfileNeededError(profile, media_type)
