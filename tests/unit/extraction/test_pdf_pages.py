"""Each visible letter of a PDF page is read once, and no invisible letter is read."""

import io
import string
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from docmill.worker.extraction.child.kinds.base import Source
from docmill.worker.extraction.child.kinds.pdf import document, lines, pages, pieced
from docmill.worker.extraction.child.kinds.pdf.reading import read_pdf
from docmill.worker.extraction.shared.parts import PageEnd
from docmill.worker.models import Element
from tests.support.drawn_pdf import DrawnPage, appearance, pdf_of, rule, text
from tests.support.independent.pdf import page_letters

WORD = st.text(string.ascii_lowercase, min_size=1, max_size=6)
#: Places on a page, further apart than any text is long.
STEP, PLACES = 180, 4
SIDE = STEP * PLACES
#: No deadline: the machine may be busy.
slow = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=60)


def read(data: bytes) -> list[Element]:
    parts = read_pdf(Source(file=io.BytesIO(data), file_name="a.pdf")).parts
    return [part for part in parts if isinstance(part, Element)]


def ends(data: bytes) -> list[PageEnd]:
    parts = read_pdf(Source(file=io.BytesIO(data), file_name="a.pdf")).parts
    return [part for part in parts if isinstance(part, PageEnd)]


def letters(texts: Sequence[str]) -> Counter[str]:
    return Counter(c for one in texts for c in one if c.isalnum())


def of_page(elements: Sequence[Element], page: int) -> Counter[str]:
    return letters([element.text for element in elements if element.page == page])


@st.composite
def scattered(draw: st.DrawFn) -> tuple[DrawnPage, str]:
    """A page with turned texts, inside and outside the visible part; and the visible text."""
    left, bottom = draw(st.integers(0, 2)), draw(st.integers(0, 2))
    right, top = draw(st.integers(left + 1, PLACES)), draw(st.integers(bottom + 1, PLACES))
    shown, drawing = [], b""
    for column in range(PLACES):
        for row in range(PLACES):
            words = " ".join(draw(st.lists(WORD, max_size=2)))
            turn = draw(st.sampled_from([0, 0, 0, 1, 2, 3]))
            if not words:
                continue
            drawing += text(STEP * (column + 0.5), STEP * (row + 0.5), words, turn=turn)
            if left <= column < right and bottom <= row < top:
                shown.append(words)
    crop = (STEP * left, STEP * bottom, STEP * right, STEP * top)
    media = (0, 0, SIDE, SIDE)
    by_crop = draw(st.booleans())
    rotate = draw(st.sampled_from([0, 90, 180, 270]))
    page = DrawnPage(drawing, media if by_crop else crop, crop if by_crop else None, rotate)
    return page, " ".join(shown)


@slow
@given(st.lists(scattered(), min_size=1, max_size=2))
def test_each_letter_that_a_page_shows_is_read_once(drawn: list[tuple[DrawnPage, str]]) -> None:
    """On at most two pages: text at the edge of three pages is a running line, and kept once."""
    data = pdf_of([page for page, _ in drawn])
    judged = page_letters(data)
    elements = read(data)
    for number, (_page, shown) in enumerate(drawn, start=1):
        assert letters([judged[number - 1]]) == letters([shown]), "the judge is wrong"
        assert of_page(elements, number) == letters([shown])


@slow
@given(
    st.lists(st.lists(st.lists(WORD, min_size=1, max_size=3), min_size=3, max_size=3), min_size=2,
             max_size=5),
    st.sampled_from([0, 1, 2, 3]),
)  # fmt: skip
def test_a_ruled_table_has_its_cells(rows: list[list[list[str]]], turn: int) -> None:
    """Cells with several lines, closer to each other than words in a line may be."""
    width, drawing, top = 44, b"", 500.0
    tops = [top]
    for row in rows:
        tops.append(tops[-1] - 12 * max(map(len, row)) - 4)
    for y in tops:
        drawing += rule(100, y, 100 + 3 * width, y)
    for column in range(4):
        drawing += rule(100 + width * column, tops[0], 100 + width * column, tops[-1])
    for y, row in zip(tops, rows, strict=False):
        for line in range(max(map(len, row))):
            for column, cell in enumerate(row):
                if line < len(cell):
                    drawing += text(102 + width * column, y - 11 - 12 * line, cell[line], size=9)
    # A turned page shows the table upright if it was drawn turned the other way.
    matrices = (b"1 0 0 1 0 0", b"0 1 -1 0 612 0", b"-1 0 0 -1 612 792", b"0 -1 1 0 0 792")
    page = DrawnPage(
        b"%s cm\n" % matrices[turn] + drawing, rotate=90 * turn, media=(0, 0, 612, 792)
    )
    (table,) = read(pdf_of([page]))
    expected = [" | ".join(" ".join(cell) for cell in row) for row in rows]
    assert (table.category, table.text.split("\n")) == ("Table", expected)


def test_a_row_of_a_table_without_lines_between_rows_begins_in_its_first_column() -> None:
    drawing = b"".join(rule(100, y, 400, y) for y in (500, 480, 400))
    drawing += b"".join(rule(x, 500, x, 400) for x in (100, 200, 400))
    for y, name, note in (
        (485, "Name", "Note"),
        (467, "Ada", "wrote the first"),
        (455, "", "program"),
        (437, "Alan", "asked whether"),
        (425, "", "machines think"),
    ):
        drawing += text(105, y, name) + text(205, y, note) if name else text(205, y, note)
    (table,) = read(pdf_of([DrawnPage(drawing)]))
    assert (
        table.text
        == "Name | Note\nAda | wrote the first program\nAlan | asked whether machines think"
    )


def test_lines_that_cut_words_make_no_table() -> None:
    """Neither a drawing over the text, nor a line that a damaged file draws far off the page."""
    prose = [f"a line of prose that goes on without any gap, number {n}" for n in range(6)]
    words = b"".join(text(100, 500 - 12 * n, one) for n, one in enumerate(prose))
    drawing = b"".join(rule(95, y, 420, y) for y in (515, 480, 430))
    drawing += b"".join(rule(x, 515, x, 430) for x in range(98, 420, 23))
    (whole,) = read(pdf_of([DrawnPage(words + drawing)]))
    assert whole.text == " ".join(prose)
    cells = text(100, 500, "Name") + text(210, 500, "Year")
    cells += text(100, 470, "Ada") + text(210, 470, "1815")
    lines = b"".join(rule(95, y, 300, y) for y in (520, 490, 460))
    lines += b"".join(rule(x, 520, x, 460) for x in (95, 200, 300)) + rule(105, 520, 105, -90_000)
    (table,) = read(pdf_of([DrawnPage(cells + lines)]))
    assert table.text == "Name | Year\nAda | 1815"


@slow
@given(
    xs=st.lists(st.integers(90, 440), min_size=2, max_size=12, unique=True),
    ys=st.lists(st.integers(400, 520), min_size=2, max_size=6, unique=True),
    words=st.lists(st.lists(WORD, min_size=6, max_size=8), min_size=4, max_size=8),
)
def test_whatever_is_drawn_over_prose_its_words_are_found(
    xs: list[int], ys: list[int], words: list[list[str]]
) -> None:
    drawing = b"".join(text(100, 510 - 12 * n, " ".join(line)) for n, line in enumerate(words))
    drawing += b"".join(rule(min(xs), y, max(xs), y) for y in ys)
    drawing += b"".join(rule(x, min(ys), x, max(ys)) for x in xs)
    drawn = Counter(word for line in words for word in line)
    found = Counter(
        word.strip("|") for one in read(pdf_of([DrawnPage(drawing)])) for word in one.text.split()
    )
    # A real table may have a few words that are too long for their cells.
    assert (drawn - found).total() <= 0.05 * drawn.total()


def test_lines_of_turned_text_are_read_in_order() -> None:
    """In any drawing order; upright text is read in the order in which it was drawn."""
    for turn, (dx, dy) in ((1, (14, 0)), (2, (0, 14)), (3, (-14, 0))):
        drawn = [
            text(300 + dx * n, 400 + dy * n, f"line {n} of it goes", turn=turn) for n in range(5)
        ]
        for order in (drawn, drawn[::-1]):
            (paragraph,) = read(pdf_of([DrawnPage(b"".join(order))]))
            assert paragraph.text == " ".join(f"line {n} of it goes" for n in range(5))


def test_pages_of_turned_text_are_no_running_lines() -> None:
    pages_ = [
        DrawnPage(text(300, 300, "The same words on each page", turn=turn))
        for turn in (0, 1, 2, 3, 1, 2, 3)
    ]
    elements = read(pdf_of(pages_))
    assert [e.page for e in elements if e.category != "Header"] == list(range(1, 8))


def test_running_lines_at_the_edges_are_still_told() -> None:
    pages_ = [
        DrawnPage(text(72, 760, "Annual Report") + text(72, 400, f"Body {n * n}")) for n in range(6)
    ]
    elements = read(pdf_of(pages_))
    assert [e.text for e in elements if e.category == "Header"] == ["Annual Report"]


def test_dots_of_a_table_of_contents_are_short_and_its_entries_apart() -> None:
    drawing = text(72, 700, f"1 Introduction {'.' * 60} 1") + text(
        72, 686, f"2 Method {'. ' * 40} 12"
    )
    assert [e.text for e in read(pdf_of([DrawnPage(drawing)]))] == [
        "1 Introduction ... 1",
        "2 Method ... 12",
    ]


def widget(rest: bytes, form: int, box: bytes = b"100 100 300 140") -> bytes:
    return b"<< /Type /Annot /Subtype /Widget /Rect [%s] /AP << /N %d 0 R >> /F 4 %s >>" % (
        box,
        form,
        rest,
    )


def test_what_annotations_show_is_read_once_and_what_is_hidden_is_not() -> None:
    shown = [
        appearance(text(2, 20, "Digitally signed by Ada"), (0, 0, 200, 40)),
        appearance(text(2, 20, "APPROVED"), (0, 0, 200, 40)),
        appearance(text(2, 20, "Ada Lovelace"), (0, 0, 200, 40)),
        appearance(text(2, 20, "never seen"), (0, 0, 200, 40)),
        appearance(text(2, 20, "A remark"), (0, 0, 200, 40)),
    ]
    annotations = [
        widget(b"/FT /Sig /T (sig)", 4),
        b"<< /Type /Annot /Subtype /Stamp /Rect [100 200 300 240] /AP << /N 5 0 R >> >>",
        widget(b"/FT /Tx /T (name) /V (Ada Lovelace)", 6, b"100 300 300 340"),
        b"<< /Type /Annot /Subtype /Stamp /F 2 /Rect [100 400 300 440] /AP << /N 7 0 R >> >>",
        b"<< /Type /Annot /Subtype /FreeText /Contents (A remark) /Rect [9 500 300 540] %s >>"
        % b"/AP << /N 8 0 R >>",
    ]
    page = DrawnPage(text(72, 700, "The contract."), annotations=annotations)
    # Objects: 4 to 8 are forms, 9 is the drawing, then come the annotations.
    catalog = b"/AcroForm << /Fields [10 0 R 12 0 R] >>"
    data = pdf_of([page], catalog=catalog, more=shown)
    assert sorted(e.text for e in read(data)) == [
        "A remark", "APPROVED", "Digitally signed by Ada", "The contract.", "name: Ada Lovelace",
    ]  # fmt: skip


@pytest.mark.parametrize("where", ["arranged", "page_elements", "notes_of", "Measure"])
def test_a_mistake_in_our_own_code_loses_no_page(
    monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def fail(*_arguments: Any, **_options: Any) -> Any:
        raise StopIteration

    module = {"arranged": pieced, "Measure": lines}.get(where, pages)
    monkeypatch.setattr(module, where, fail)
    drawing = text(72, 700, "First line") + text(72, 600, "second line") + text(700, 500, "unseen")
    data = pdf_of([DrawnPage(drawing)])
    assert letters([e.text for e in read(data)]) == letters(["First line second line"])
    (end,) = ends(data)
    # Some generators turn it into the other one.
    assert end.has_text
    assert end.problem.split()[0] in ("StopIteration", "RuntimeError")


def test_a_broken_word_that_ends_left_of_where_it_began_is_no_mistake() -> None:
    """It was a mistake once: a line that covers two lines may end left of its beginning."""
    drawing = text(400, 700, "the inner co-") + text(60, 688, "lumn") + text(60, 700, "Left one")
    drawing += b"".join(text(x, y, "cell") for x in (60, 400) for y in (676, 664))
    assert of_page(read(pdf_of([DrawnPage(drawing)])), 1) == letters(
        ["the inner column Left one", "cell" * 4]
    )


def test_a_large_file_is_read_piece_by_piece_and_a_small_one_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said = ["Harbours are deep", "Boats float", "Nobody swims here"]
    data = pdf_of([DrawnPage(text(72, 400, words)) for words in said])

    class Counted(io.BytesIO):
        largest = 0

        def read(self, size: int | None = -1) -> bytes:
            found = super().read(size)
            self.largest = max(self.largest, len(found))
            return found

    def texts(file: Counted) -> list[str]:
        parts = read_pdf(Source(file=file, file_name="a.pdf")).parts
        return [part.text for part in parts if isinstance(part, Element)]

    small, large = Counted(data), Counted(data)
    assert texts(small) == said
    assert small.largest == len(data)
    monkeypatch.setattr(document, "_SMALL_BYTES", 100)
    assert texts(large) == said
    assert large.largest < len(data)
