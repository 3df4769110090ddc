"""Word, PowerPoint and Excel of 2007 and later; Excel of before."""

import email
import email.policy
import io
import re
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import chain, groupby, islice
from typing import Any, BinaryIO

import openpyxl
import xlrd  # type: ignore[import-untyped]  # ships no types
from lxml import etree  # type: ignore[import-untyped]  # ships no types

from docmill.worker.errors import JobError
from docmill.worker.extraction.child.archive import check_archive
from docmill.worker.extraction.child.kinds.attachments import OpenPart
from docmill.worker.extraction.child.kinds.base import Reading, Source
from docmill.worker.extraction.child.kinds.ooxml.binary_sheets import (
    BinarySheet,
    binary_book,
    rows_of_binary,
    sheets_of,
)
from docmill.worker.extraction.child.kinds.ooxml.cells import (
    MAX_FILLED_COLUMNS,
    MAX_MERGED,
    Book,
    Merged,
    NumberedRow,
    book_of,
    filled,
    leave_styles_out,
    rows_of,
    tail_of,
)
from docmill.worker.extraction.child.kinds.ooxml.package import plain_package
from docmill.worker.extraction.child.kinds.ooxml.sheet_drawings import drawn_on
from docmill.worker.extraction.child.kinds.partitioned import elements_of
from docmill.worker.extraction.child.kinds.sheets import sheet_elements
from docmill.worker.extraction.child.kinds.slides import partition_slides
from docmill.worker.extraction.child.kinds.tables import Figure
from docmill.worker.extraction.child.kinds.word import ReadImported, partition_word
from docmill.worker.extraction.shared.parts import PageEnd
from docmill.worker.extraction.shared.protocol import MAX_FORMULAS
from docmill.worker.models import Element

_CORE_PROPERTIES = "docProps/core.xml"
_MAX_CORE_BYTES = 1024 * 1024
#: Default names that spreadsheet programs give to sheets; they say nothing about the rows.
_DEFAULT_SHEET_NAME = re.compile(r"(Sheet|Tabelle|Feuille?|Hoja|Planilha|Foglio) ?\d*")
#: A window holds sheets with about this much XML together.
_WINDOW_BYTES = 4 * 1024 * 1024
#: A window must be this many times larger than the part that every window reads again; and the
#: largest number of windows.
_SHARED_TIMES, _MOST_WINDOWS = 4, 16
#: Levels of imported documents, because an imported document may import others.
_MAX_IMPORTS = 3
_XLS_VISIBLE = 0
_DC_TITLE = "{http://purl.org/dc/elements/1.1/}title"

leave_styles_out()


def read_docx(source: Source, open_part: OpenPart) -> Reading:
    """Paragraphs by style, lists, tables, notes; pages where Word left its page breaks.

    `open_part` begins to read an imported document.
    """
    check_archive(source.file)
    title = _title(source.file)
    file = plain_package(source.file)
    found = partition_word(file, _importer(source, open_part), with_comments=source.word_comments)
    return Reading(elements_of(found), title=title)


def _importer(source: Source, open_part: OpenPart) -> ReadImported:
    def read_imported(name: str, data: bytes) -> Iterator[Element]:
        if source.nesting >= _MAX_IMPORTS or not source.budget.take():
            return
        named, content = (name, data) if not _is_saved_page(name) else ("a.html", _page_in(data))
        inner = replace(_inner(source), file=io.BytesIO(content), file_name=named)
        # As in Word, a part that cannot be imported is left out.
        with suppress(JobError, ValueError, KeyError, etree.LxmlError, zipfile.BadZipFile):
            for found in open_part(inner)[1].parts:
                if isinstance(found, Element):
                    yield replace(found, page=None)

    return read_imported


def _is_saved_page(name: str) -> bool:
    return name.lower().endswith((".mht", ".mhtml"))


def _page_in(saved: bytes) -> bytes:
    """The page in a file that also holds its pictures, which is a message without a sender."""
    message = email.message_from_bytes(saved, policy=email.policy.default)
    body = message.get_body(("html", "plain"))
    content = body.get_payload(decode=True) if body is not None else b""
    return content if isinstance(content, bytes) else b""


def _inner(source: Source) -> Source:
    """The source for a file inside this one."""
    return Source(
        source.file,
        "",
        nesting=source.nesting + 1,
        budget=source.budget,
        profile=source.profile,
        word_comments=source.word_comments,
    )


def read_pptx(source: Source) -> Reading:
    """Slide by slide, with the speaker's notes, charts and SmartArt."""
    check_archive(source.file)
    title = _title(source.file)
    slides, found = partition_slides(plain_package(source.file))
    return Reading(_by_slide(elements_of(found), slides), page_count=slides, title=title)


def _by_slide(elements: Iterable[Element], slides: int) -> Iterator[Element | PageEnd]:
    done = 0
    for slide, on_slide in groupby(elements, key=lambda element: element.page or 1):
        yield from (PageEnd(number, has_text=False) for number in range(done + 1, slide))
        yield from map(_only_slide_titles, on_slide)
        yield PageEnd(slide, has_text=True)
        done = slide
    yield from (PageEnd(number, has_text=False) for number in range(done + 1, slides + 1))


def _only_slide_titles(element: Element) -> Element:
    """Keep titles of depth 0, which are title shapes; deeper ones are only short lines."""
    if element.category == "Title" and element.depth:
        return Element("Text", element.text, page=element.page)
    return element


def read_xlsx(source: Source) -> Reading:
    """The tables of each sheet, rows in groups under their header, then its drawings.

    Sheets are read row by row, and not by unstructured, which loads the whole workbook as data
    frames.
    """
    check_archive(source.file)
    title = _title(source.file)
    workbook = openpyxl.load_workbook(
        plain_package(source.file), read_only=True, data_only=True, keep_links=False
    )
    count = len(workbook.worksheets)
    starts = _window_starts(_sheet_sizes(workbook), shared=_shared_size(workbook))
    numbers = source.wanted_pages(starts, count)
    return Reading(_shown_sheets(workbook, numbers), page_count=count, title=title, starts=starts)


def _shown_sheets(workbook: openpyxl.Workbook, numbers: range) -> Iterator[Element | PageEnd]:
    """Sheets that are not hidden, each with its drawings."""
    book = book_of(workbook)
    archive = workbook._archive  # noqa: SLF001 -- has no other name
    for number in numbers:
        sheet = workbook.worksheets[number - 1]
        before = book.uncomputed
        if sheet.sheet_state == "visible":
            path = sheet._worksheet_path  # noqa: SLF001
            elements = chain(_elements_of_sheet(archive, path, book), drawn_on(archive, path))
            yield from _named(elements, number, sheet.title)
        # An empty sheet does not count as unread: new workbooks have some.
        uncomputed = min(book.uncomputed - before, MAX_FORMULAS)
        yield PageEnd(number, has_text=True, uncomputed_formulas=uncomputed)


def _elements_of_sheet(archive: zipfile.ZipFile, path: str, book: Book) -> Iterator[Element]:
    with archive.open(path) as sheet:
        tail = tail_of(sheet)
    with archive.open(path) as sheet:
        yield from sheet_elements(rows_of(sheet, book, tail))


def _named(elements: Iterable[Element], number: int, name: str) -> Iterator[Element]:
    """Elements of a sheet, under its name if somebody has named it."""
    named = bool(_DEFAULT_SHEET_NAME.fullmatch(name))
    for element in elements:
        if not named:
            yield Element("Title", name, page=number, depth=0)
        named = True
        yield replace(element, page=number, metadata={**element.metadata, "page_name": name})


def _sheet_sizes(book: openpyxl.Workbook) -> list[int]:
    """Size of each sheet's XML."""
    paths = [sheet._worksheet_path for sheet in book.worksheets]  # noqa: SLF001 -- has no other name
    return [book._archive.getinfo(path).file_size for path in paths]  # noqa: SLF001


def _shared_size(book: openpyxl.Workbook) -> int:
    """Size of the parts that every window must read before its rows."""
    entries = book._archive.infolist()  # noqa: SLF001
    return sum(entry.file_size for entry in entries if "sharedStrings" in entry.filename)


def _window_starts(sizes: Sequence[int], *, shared: int) -> tuple[int, ...]:
    """Numbers of the sheets with which the windows begin.

    A sheet is not cut, because its rows can only be read from the first one on.
    """
    least = max(_WINDOW_BYTES, _SHARED_TIMES * shared, sum(sizes) // _MOST_WINDOWS)
    starts, in_window = [1], 0
    for number, size in enumerate(sizes, start=1):
        if in_window >= least:
            starts.append(number)
            in_window = 0
        in_window += size
    return tuple(starts)


def read_xls(source: Source) -> Reading:
    """Like `read_xlsx`, for workbooks of Excel 97 to 2003 and older."""
    try:
        # Its own messages would go to stdout.
        book = xlrd.open_workbook(
            file_contents=source.read(),
            on_demand=True,
            ragged_rows=True,
            formatting_info=True,
            logfile=io.StringIO(),
        )
    except xlrd.XLRDError as error:
        encrypted = "encrypted" in str(error).lower()
        raise JobError("encrypted" if encrypted else "corrupt", "xlrd") from None
    names = book.sheet_names()
    sheets = (
        (number, name, _rows_of_xls(book, number - 1)) for number, name in enumerate(names, 1)
    )
    return Reading(_sheets(sheets), page_count=len(names))


def _rows_of_xls(book: Any, number: int) -> Iterator[NumberedRow]:
    sheet = book.sheet_by_index(number)
    if sheet.visibility != _XLS_VISIBLE:
        return
    formats = Book((), _codes_of_xls(book), from_1904=book.datemode == 1)
    rows = (
        (
            row + 1,
            {
                column: text
                for column, cell in enumerate(sheet.row(row))
                if (text := _value_of_xls(cell, formats))
            },
        )
        for row in range(sheet.nrows)
    )
    yield from filled(rows, _merged_of_xls(sheet))
    book.unload_sheet(number)


def _merged_of_xls(sheet: Any) -> list[Merged]:
    return [
        Merged(first_row + 1, end_row, first, min(end - 1, first + MAX_FILLED_COLUMNS))
        for first_row, end_row, first, end in islice(sheet.merged_cells, MAX_MERGED)
    ]


def _codes_of_xls(book: Any) -> list[tuple[str | None, int]]:
    """The number format of each style of a workbook, and its number."""
    known = book.format_map
    numbers = [style.format_key for style in book.xf_list]
    return [(known[one].format_str if one in known else None, one) for one in numbers]


def _value_of_xls(cell: Any, formats: Book) -> str:
    if cell.ctype in (xlrd.XL_CELL_DATE, xlrd.XL_CELL_NUMBER):
        return Figure(formats.format(cell.xf_index or 0)(cell.value))
    if cell.ctype == xlrd.XL_CELL_BOOLEAN:
        return Figure("TRUE" if cell.value else "FALSE")
    if cell.ctype == xlrd.XL_CELL_ERROR:
        return str(xlrd.error_text_from_code.get(cell.value, ""))
    return str(cell.value or "")


def read_xlsb(source: Source) -> Reading:
    """Like `read_xlsx`, for binary workbooks; without drawings."""
    check_archive(source.file)
    title = _title(source.file)
    package = zipfile.ZipFile(source.file)
    found = sheets_of(package)
    book = binary_book(package)
    sheets = (
        (number, sheet.name, _rows_of_xlsb(package, sheet, book))
        for number, sheet in enumerate(found, 1)
    )
    return Reading(_sheets(sheets), page_count=len(found), title=title)


def _rows_of_xlsb(
    package: zipfile.ZipFile, sheet: BinarySheet, book: Book
) -> Iterator[NumberedRow]:
    # Sheets that are only a chart, and macros of Excel 4, are in other folders.
    if sheet.is_visible and "worksheets/" in sheet.path:
        yield from rows_of_binary(package.read(sheet.path), book)


def _sheets(
    sheets: Iterable[tuple[int, str, Iterable[NumberedRow]]],
) -> Iterator[Element | PageEnd]:
    for number, name, rows in sheets:
        yield from _named(sheet_elements(rows), number, name)
        yield PageEnd(number, has_text=True)


def _title(file: BinaryIO) -> str | None:
    """The title in the document's properties, if any. Errors are ignored."""
    title = None
    with (
        suppress(KeyError, etree.XMLSyntaxError, zipfile.BadZipFile),
        zipfile.ZipFile(file) as book,
    ):
        if book.getinfo(_CORE_PROPERTIES).file_size <= _MAX_CORE_BYTES:
            parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
            title = etree.fromstring(book.read(_CORE_PROPERTIES), parser).findtext(_DC_TITLE)
    file.seek(0)
    return title
