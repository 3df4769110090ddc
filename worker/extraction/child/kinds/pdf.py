"""PDF through pdfium: lines with their place on the page, joined to paragraphs and titles.

Why not unstructured: its PDF reader takes several times as long (docs/measurements.md) and wants
torch for anything more.
"""

import ctypes
import re
import statistics
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import groupby, islice, pairwise
from typing import Any, Literal

import pypdfium2
from pypdfium2 import raw

from docmill.worker.errors import JobError
from docmill.worker.extraction.child.kinds import ocr
from docmill.worker.extraction.child.kinds.base import ProfileNeededError, Reading, Source
from docmill.worker.extraction.child.kinds.layout import WIDE_GAP, Line, Row, arranged
from docmill.worker.extraction.child.kinds.pdf_notes import notes_of
from docmill.worker.extraction.child.kinds.tables import table_elements
from docmill.worker.extraction.shared import media_types, profiles
from docmill.worker.extraction.shared.parts import PageEnd
from docmill.worker.extraction.shared.running import RunningLines, marks_of
from docmill.worker.models import Element

#: Pages of a window; more in a document that would have too many windows: each opens it anew, and
#: in a file of 50,000 pages that takes as long as reading hundreds of them.
WINDOW_PAGES, _MOST_WINDOWS = 50, 128
#: Pages, spread over the document, that show what its body text and its running lines look like.
_SAMPLE_PAGES = 12
#: Running lines that are looked for.
_MAX_RUNNING = 20
#: pdfium puts U+FFFE where a hyphen broke a word at a line's end, and leaves the line end out.
_BROKEN_WORD = "\ufffe"
_MAX_WORD_CHARACTERS = 100
_PUNCTUATION = ".,;:!?()[]\"'\u201c\u201d\u2018\u2019"
_LINE_END = "\r\n"

#: A line this much larger than the body is a title; the first is the highest heading.
_TITLE_SIZES = (1.8, 1.4, 1.17)
_MAX_TITLE_CHARACTERS = 200
_MAX_TITLE_LINES = 3
#: A larger distance than this, in usual ones, or in sizes of a large font, ends a paragraph.
_PARAGRAPH_PITCH, _TITLE_PITCH = 1.35, 1.45
_BOLD_WEIGHT = 600
_NAME_BYTES = 128
_BOLD_NAME = re.compile(rb"bold|black|heavy|(?<![a-z])bx|-medi$|fbd", re.IGNORECASE)

_BULLET = re.compile(r"[\u2022\u2023\u25aa\u25cf\u25e6\u2043\u2219\u00b7\uf0b7\u2013*-]\s+\S")
_NUMBERED = re.compile(r"\(?(\d{1,3}|[a-zA-Z]|[ivx]{1,5})[.)]\s+\S")
_SENTENCE_END = re.compile(r"[.!?:;\u3002\uff01\uff1f][\"'\u201d\u2019)\]]?$")
#: So much of an outline is looked at.
_MAX_OUTLINE_ENTRIES, _MAX_OUTLINE_DEPTH = 20_000, 6
_LEADING_NUMBER = re.compile(r"^\s*(?:\d+(?:\.\d+)*|[A-Z]|[IVX]+)[.)]?\s+")
_WORD_CHARACTERS = re.compile(r"[^\W_]+")
_SPACES = re.compile(r"(?<=\S)[ \t]+(?=\S)")
_OCR_DPI = 150
#: A page of A3 has fewer at that resolution; a larger one is shown smaller.
_OCR_PIXELS = 6_000_000
_LETTERS = re.compile(r"[^\W\d_]{2}")
_LETTER_OR_DIGIT = re.compile(r"[^\W_]")


@dataclass(frozen=True)
class Style:
    """What a document's ordinary text looks like."""

    body_size: float
    running: frozenset[str]  #: marks of the lines that stand at the top or foot of many pages
    #: Titles that the document's outline names, by page, with their depth.
    outline: Mapping[int, Mapping[str, int]] = field(default_factory=dict)


def read_pdf(source: Source) -> Reading:
    """Elements page by page. Pages without text are reported as such."""
    document = _open(source)
    # Before any page is loaded: fields have no values otherwise.
    document.init_forms()
    title = document.get_metadata_value("Title")
    starts = _starts(document)
    style, sampled = _style(document, source)
    pages = _pages(document, source, style, sampled, source.wanted_pages(starts, len(document)))
    if _recognition(source) == "elsewhere":
        # Before anything is said of the document: one window of it is not much.
        pages = iter(list(pages))
    in_one_go = not source.first_only and source.window is None
    return Reading(
        RunningLines().without_repeats(pages) if in_one_go else pages,
        page_count=len(document),
        title=title,
        starts=starts,
        context={"body_size": style.body_size, "running": sorted(style.running)},
    )


def _starts(document: pypdfium2.PdfDocument) -> range:
    count = max(1, len(document))
    return range(1, count + 1, max(WINDOW_PAGES, -(-count // _MOST_WINDOWS)))


def _recognition(source: Source) -> Literal["here", "elsewhere"] | None:
    """Where the text of pictures can be recognised: by this process, by another kind, or not."""
    if source.profile == profiles.OCR:
        return "here"
    is_plain = source.profile == profiles.PLAIN and source.nesting == 0
    return "elsewhere" if is_plain and profiles.is_available(profiles.OCR) else None


def has_pictures_of_text(source: Source) -> bool:
    """Whether a page shows something and has no text. A file that cannot be read has none."""
    try:
        document = _open(source)
    except JobError:
        return False
    for number in range(1, len(document) + 1):
        with _loaded(document, number) as page:
            if page is not None and _is_picture(page):
                return True
    return False


def _is_picture(page: pypdfium2.PdfPage) -> bool:
    text_page = page.get_textpage()
    try:
        if text_page.count_chars() and text_page.get_text_range().strip():
            return False
    finally:
        text_page.close()
    objects = page.get_objects(filter=(raw.FPDF_PAGEOBJ_IMAGE, raw.FPDF_PAGEOBJ_PATH))
    return next(iter(objects), None) is not None


def _open(source: Source) -> pypdfium2.PdfDocument:
    try:
        return pypdfium2.PdfDocument(source.file)
    except pypdfium2.PdfiumError as error:
        protected = error.err_code in (raw.FPDF_ERR_PASSWORD, raw.FPDF_ERR_SECURITY)
        raise JobError("encrypted" if protected else "corrupt", "pdfium") from None


def _pages(
    document: pypdfium2.PdfDocument,
    source: Source,
    style: "Style",
    sampled: dict[int, list[Line]],
    numbers: Iterable[int],
) -> Iterator[Element | PageEnd]:
    recognition = _recognition(source)
    for number in numbers:
        with _loaded(document, number) as page:
            lines = sampled.pop(number, None)
            elements = page_elements(_lines(page) if lines is None else lines, style, number)
            if recognition and page is not None and not elements and _is_picture(page):
                if recognition == "elsewhere":
                    raise ProfileNeededError(profiles.OCR, media_types.PDF)
                elements = _recognised(page, number)
            notes = list(notes_of(document, page, number))
        yield from elements
        yield from notes
        found = any(element.category != "Header" for element in [*elements, *notes])
        yield PageEnd(number, has_text=found)


def _recognised(page: pypdfium2.PdfPage, number: int) -> list[Element]:
    """What can be recognised on a page that is a picture."""
    width, height = page.get_size()
    scale = min(_OCR_DPI / 72, (_OCR_PIXELS / max(1.0, width * height)) ** 0.5)
    pixels = page.render(scale=scale, may_draw_forms=False, rev_byteorder=False).to_numpy()
    return list(ocr.elements_of_lines(ocr.recognised(pixels[:, :, :3]), number))


def _style(document: pypdfium2.PdfDocument, source: Source) -> tuple[Style, dict[int, list[Line]]]:
    """Measured on the same pages whatever window is read, so that all windows agree.

    With the lines of those pages: to measure them is half the work of a short document.
    """
    outline = _outline(document)
    if known := source.context:
        return Style(known["body_size"], frozenset(known["running"]), outline), {}
    step = max(1, len(document) // _SAMPLE_PAGES)
    numbers = range(1, len(document) + 1, step)[: _SAMPLE_PAGES + 1]
    samples = {}
    for number in numbers:
        with _loaded(document, number) as page:
            samples[number] = _lines(page)
    return replace(style_of(samples), outline=outline), samples


def _outline(document: pypdfium2.PdfDocument) -> dict[int, dict[str, int]]:
    """What the outline names: page, title and depth."""
    found: dict[int, dict[str, int]] = {}
    for entry in islice(document.get_toc(max_depth=_MAX_OUTLINE_DEPTH), _MAX_OUTLINE_ENTRIES):
        place = entry.get_dest()
        page = place.get_index() if place else None
        title = _letters_of(entry.get_title())
        if page is not None and title:
            found.setdefault(page + 1, {}).setdefault(title, entry.level)
    return found


def _letters_of(text: str) -> str:
    """What two spellings of a title have in common: its numbering may be missing in one."""
    return "".join(_WORD_CHARACTERS.findall(_LEADING_NUMBER.sub("", text))).lower()


def style_of(pages: Mapping[int, Sequence[Line]]) -> Style:
    """The commonest size, by characters, and what many pages have at their edges."""
    sizes: Counter[float] = Counter()
    marks: Counter[str] = Counter()
    for number, lines in pages.items():
        for line in lines:
            sizes[round(line.size, 1)] += len(line.text)
        edges = [line.text for line in _edges(lines)]
        # In order: which of many are kept must not depend on how a set happens to be laid out.
        marks.update(sorted({mark for text in edges for mark in marks_of(text, number)}))
    often = max(3, len(pages) // 3)
    commonest = marks.most_common(_MAX_RUNNING)
    return Style(
        body_size=sizes.most_common(1)[0][0] if sizes else 1.0,
        running=frozenset(mark for mark, count in commonest if count >= often),
    )


def _edges(lines: Sequence[Line]) -> list[Line]:
    """The two highest and the two lowest lines of a page."""
    by_height = sorted(lines, key=lambda line: -line.top)
    return by_height[:2] + by_height[-2:]


@contextmanager
def _loaded(document: pypdfium2.PdfDocument, number: int) -> Iterator[pypdfium2.PdfPage | None]:
    """A page; None for one that pdfium cannot load."""
    try:
        page = document[number - 1]
    except pypdfium2.PdfiumError:
        yield None
        return
    try:
        yield page
    finally:
        page.close()


def _lines(page: pypdfium2.PdfPage | None) -> list[Line]:
    """Lines of a page in reading order. A page that pdfium cannot load has none."""
    if page is None:
        return []
    text_page = page.get_textpage()
    try:
        return join_fragments(arranged(_rows(_Measure(text_page, page.get_rotation()))))
    finally:
        text_page.close()


def _rows(measure: "_Measure") -> list[Row]:
    rows = []
    index = 0
    page_text = measure.page_text
    compounds = {word.strip(_PUNCTUATION) for word in page_text.split() if "-" in word}
    for text in page_text.split(_LINE_END):
        if text.strip():
            line = _whole(measure.line(text, index), compounds)
            pieces = measure.pieces(text, index, line.size)
            lines = (_whole(measure.line(piece, at), compounds) for piece, at in pieces)
            rows.append(Row(line, tuple(lines)))
        index += _utf16_units(text) + len(_LINE_END)
    return rows


def _whole(line: Line, compounds: Container[str]) -> Line:
    text = repaired(line.text, compounds) if _BROKEN_WORD in line.text else line.text
    text = " ".join(text.split())
    return line if text == line.text else replace(line, text=text)


def repaired(text: str, compounds: Container[str]) -> str:
    """The text with its broken words whole. A hyphen stays where the page shows it elsewhere."""
    whole, *rest = text.split(_BROKEN_WORD)
    for part in rest:
        left, right = whole[-_MAX_WORD_CHARACTERS:].split(" ")[-1], part.split(" ", 1)[0]
        compound = f"{left}-{right}".strip(_PUNCTUATION)
        hyphen = "-" if right and (len(left) == 1 or compound in compounds) else ""
        whole += hyphen + part
    return whole


def _utf16_units(text: str) -> int:
    """What pdfium counts in, and Python does not."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


def _letters_in(text: str) -> tuple[int, int] | None:
    """Where the first and the last letter or digit stand."""
    first = _LETTER_OR_DIGIT.search(text)
    if first is None:
        return None
    positions = range(len(text) - 1, -1, -1)
    return first.start(), next(at for at in positions if _LETTER_OR_DIGIT.match(text, at))


class _Measure:
    """Measures the text of one page as it is shown: a page may be turned."""

    def __init__(self, text_page: Any, rotation: int) -> None:
        self.page_text = text_page.get_text_range()
        self._raw = text_page.raw
        self._rotation = rotation
        #: Whether the text holds all characters: then each has the same number in both.
        self._is_complete = text_page.count_chars() == _utf16_units(self.page_text)

    def line(self, text: str, index: int) -> Line:
        """Text that begins at an index, and where it stands."""
        begin = index + len(text) - len(text.lstrip())
        end = index + _utf16_units(text.rstrip()) - 1
        # A bullet has a height of its own: the first and the last letter show the font, the taller
        # of them where the other is a superscript.
        letters = _letters_in(text)
        first, last = (
            (index + _utf16_units(text[:letter]) for letter in letters) if letters else (begin, end)
        )
        upper, lower = self._box(first), self._box(last)
        size = max(upper.top - upper.bottom, lower.top - lower.bottom)
        wraps = upper.bottom - lower.bottom > 0.5 * size
        return Line(
            text=text,
            left=(upper if begin == first else self._box(begin)).left,
            right=(lower if end == last else self._box(end)).right,
            top=upper.top if wraps else max(upper.top, lower.top),
            bottom=lower.bottom if wraps else min(upper.bottom, lower.bottom),
            size=size,
            bold=self._is_bold(first) and self._is_bold(last),
        )

    def pieces(self, text: str, index: int, size: float) -> list[tuple[str, int]]:
        """Pieces that stand far from each other, each with its index; none for a line in one."""
        if _BROKEN_WORD in text:
            return []  # it covers several lines
        pieces = []
        start = 0
        for spaces in _SPACES.finditer(text):
            before = index + _utf16_units(text[: spaces.start()])
            after = before + spaces.end() - spaces.start()
            if self._is_gap(before, after, size) and not _is_mark(text[start : spaces.start()]):
                pieces.append((text[start : spaces.start()], index + _utf16_units(text[:start])))
                start = spaces.end()
        if pieces:
            pieces.append((text[start:], index + _utf16_units(text[:start])))
        return pieces

    def _is_gap(self, space: int, after: int, size: float) -> bool:
        # A single space that the page draws itself is as wide as a space.
        if after - space == 1 and not self._is_generated(space):
            return False
        return bool(self._box(after).left - self._box(space - 1).right > WIDE_GAP * size)

    def _is_generated(self, text_index: int) -> bool:
        return bool(raw.FPDFText_IsGenerated(self._raw, self._char_index(text_index)) == 1)

    def _char_index(self, text_index: int) -> int:
        if self._is_complete:
            return text_index
        return int(raw.FPDFText_GetCharIndexFromTextIndex(self._raw, text_index))

    def _box(self, text_index: int) -> Any:
        box = raw.FS_RECTF()
        raw.FPDFText_GetLooseCharBox(self._raw, self._char_index(text_index), box)
        return turned(box, self._rotation) if self._rotation else box

    def _is_bold(self, text_index: int) -> bool:
        char = self._char_index(text_index)
        if raw.FPDFText_GetFontWeight(self._raw, char) >= _BOLD_WEIGHT:
            return True
        name, flags = ctypes.create_string_buffer(_NAME_BYTES), ctypes.c_int()
        raw.FPDFText_GetFontInfo(self._raw, char, name, _NAME_BYTES, flags)
        return bool(_BOLD_NAME.search(name.value))


def turned(box: Any, degrees: int) -> Any:
    """A box as it stands once the page is turned clockwise; the origin does not matter."""
    shown = raw.FS_RECTF()
    for _ in range(degrees // 90):
        shown = raw.FS_RECTF(left=box.bottom, top=-box.left, right=box.top, bottom=-box.right)
        box = shown
    return shown


def _is_mark(text: str) -> bool:
    """Whether this is a bullet or a number, after which the text of its item is indented."""
    return len(text) < 6 and bool(_BULLET.match(f"{text} x") or _NUMBERED.match(f"{text} x"))


def join_fragments(lines: Iterable[Line]) -> list[Line]:
    """Lines, with what pdfium cut at a change of font or a superscript put together again."""
    joined: list[Line] = []
    for line in lines:
        if joined and _same_line(joined[-1], line):
            joined[-1] = _together(joined[-1], line)
        else:
            joined.append(line)
    return joined


def _same_line(left: Line, right: Line) -> bool:
    if left.cells or right.cells:
        return False
    end_top, begin_bottom = left.bottom + left.size, right.top - right.size
    overlap = min(end_top, right.top) - max(left.bottom, begin_bottom)
    gap = right.left - left.right
    return overlap > 0.5 * min(left.size, right.size) and -0.5 * left.size < gap < 1.5 * left.size


def _together(left: Line, right: Line) -> Line:
    space = " " if right.left - left.right > 0.15 * left.size else ""
    size = max(left.size, right.size)
    wraps = right.top - right.bottom > 1.5 * right.size
    return replace(
        left,
        text=left.text + space + right.text,
        right=right.right,
        bottom=right.bottom if wraps else min(left.bottom, right.bottom),
        size=size,
        bold=left.bold and right.bold,
    )


def page_elements(lines: Sequence[Line], style: Style, page: int) -> list[Element]:
    """Paragraphs, titles, list items and running lines of one page."""
    running = {id(line) for line in _edges(lines) if marks_of(line.text, page) & style.running}
    body = [line for line in lines if id(line) not in running]
    headers = [Element("Header", line.text, page=page) for line in lines if id(line) in running]
    titles = style.outline.get(page, {})
    found = [
        element for block in _blocks(body, titles) for element in _elements(block, style, page)
    ]
    return [*headers, *found]


def _blocks(lines: Sequence[Line], titles: Container[str]) -> Iterator[list[Line]]:
    """Runs of lines that make one paragraph, one title or one table."""
    for is_table, run in groupby(lines, key=lambda line: bool(line.cells)):
        if is_table:
            yield list(run)
        else:
            yield from _paragraphs(list(run), titles)


def _paragraphs(lines: Sequence[Line], titles: Container[str]) -> Iterator[list[Line]]:
    pitch = _usual_pitch(lines)
    block: list[Line] = []
    was_named = False
    for line in lines:
        named = _letters_of(line.text) in titles
        if block and (named or was_named or not _continues(block, line, pitch)):
            yield block
            block = []
        block.append(line)
        was_named = named
    if block:
        yield block


def _usual_pitch(lines: Sequence[Line]) -> float:
    """Usual distance from one line to the next below it."""
    steps = (_step(above, below) for above, below in pairwise(lines))
    usual = [step for step in steps if step > 0]
    return statistics.median(usual) if usual else 0.0


def _step(above: Line, below: Line) -> float:
    """Distance between two lines; 0 where the second is no next line: another column, say."""
    step = above.bottom - (below.top - below.size)
    return step if 0 < step < 4 * above.size else 0.0


def _continues(block: Sequence[Line], line: Line, pitch: float) -> bool:
    """Whether a line belongs to the same paragraph as those before it."""
    last = block[-1]
    if abs(line.size - last.size) > 0.12 * last.size or line.bold != last.bold:
        return False
    if _BULLET.match(line.text) or _NUMBERED.match(line.text):
        return False
    ended = bool(_SENTENCE_END.search(last.text))
    step = _step(last, line)
    if step == 0:
        # In the next column a sentence may go on.
        return not ended and line.text[:1].islower()
    if step > max(_PARAGRAPH_PITCH * pitch, _TITLE_PITCH * last.size):
        return False
    return not (ended and (_is_indented(block, line) or _is_short(block, line)))


def _is_indented(block: Sequence[Line], line: Line) -> bool:
    return len(block) > 1 and line.left > block[-1].left + 0.8 * line.size


def _is_short(block: Sequence[Line], line: Line) -> bool:
    """Whether the last line of a block ends well before the others do."""
    left = min(other.left for other in [*block, line])
    right = max(other.right for other in [*block, line])
    return block[-1].right < right - 0.15 * (right - left)


def _elements(block: Sequence[Line], style: Style, page: int) -> Iterator[Element]:
    if block[0].cells:
        yield from table_elements([line.cells for line in block], page=page)
    else:
        yield _element(block, style, page)


def _element(block: Sequence[Line], style: Style, page: int) -> Element:
    text = " ".join(line.text for line in block)
    depth = style.outline.get(page, {}).get(_letters_of(text))
    if depth is None:
        depth = _title_depth(block, text, style)
    if depth is not None:
        return Element("Title", text, page=page, depth=depth)
    if _BULLET.match(text):
        return Element("ListItem", text[1:].lstrip(), page=page)
    if _NUMBERED.match(text):
        return Element("ListItem", text, page=page)
    return Element("NarrativeText", text, page=page)


def _title_depth(block: Sequence[Line], text: str, style: Style) -> int | None:
    """Depth of a heading, from how much larger than the body it is; None when it is none."""
    too_long = len(text) > _MAX_TITLE_CHARACTERS or len(block) > _MAX_TITLE_LINES
    if too_long or not _LETTERS.search(text):
        return None
    ratio = statistics.median(line.size for line in block) / style.body_size
    for depth, least in enumerate(_TITLE_SIZES):
        if ratio >= least:
            return depth
    is_sentence = bool(_SENTENCE_END.search(text)) and len(text.split()) > 3
    if all(line.bold for line in block) and ratio >= 0.95 and not is_sentence:
        return len(_TITLE_SIZES)
    return None
