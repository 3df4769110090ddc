"""Pages of PDF files as a real child reads them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from docmill.worker.extraction import GuardedExtractor
from tests.integration.extraction.conftest import Document, read_document
from tests.integration.extraction.documents import draw, make_drawn_pdf

Read = Callable[[bytes], Document]


@pytest.fixture
def read(extractor: GuardedExtractor, tmp_path: Path) -> Read:
    def from_bytes(content: bytes) -> Document:
        path = tmp_path / "a.pdf"
        path.write_bytes(content)
        return read_document(extractor, path)

    return from_bytes


def test_columns_that_were_written_line_by_line(read: Read) -> None:
    lines = []
    for number in range(4):
        lines.append((60, 700 - 12 * number, f"The left column is on its line {number}"))
        lines.append((320, 700 - 12 * number, f"and the right one is on line {number} too"))
    document = read(make_drawn_pdf(draw(*lines)))
    text = " ".join(document.text.split())
    assert text.index("left column is on its line 3") < text.index("right one is on line 0")


def test_a_table_is_rows_of_cells(read: Read) -> None:
    cells = [("Name", "Year"), ("Ada Lovelace", "1815"), ("Alan Turing", "1912")]
    rows = [
        (x, 700 - 14 * y, row[n]) for y, row in enumerate(cells) for n, x in enumerate((60, 250))
    ]
    (table,) = read(make_drawn_pdf(draw(*rows))).elements
    assert table.category == "Table"
    assert table.text == "Name | Year\nAda Lovelace | 1815\nAlan Turing | 1912"


@pytest.mark.parametrize(
    ("rotate", "matrix", "step"),
    [(90, b"0 1 -1 0", (14, 0)), (180, b"-1 0 0 -1", (0, 14)), (270, b"0 -1 1 0", (-14, 0))],
)
def test_a_turned_page_is_read_as_it_is_shown(
    read: Read, rotate: int, matrix: bytes, step: tuple[int, int]
) -> None:
    lines = [
        (300 + step[0] * n, 300 + step[1] * n, f"line {n} of a paragraph that goes")
        for n in range(3)
    ]
    (paragraph,) = read(make_drawn_pdf(draw(*lines, matrix=matrix), rotate=rotate)).elements
    assert paragraph.text.startswith("line 0 of a paragraph that goes line 1")


def test_the_outline_names_the_titles(read: Read) -> None:
    drawing = draw(
        (60, 700, "2.1 Method of work"), (60, 688, "It is described here, in one sentence.")
    )
    outline = (
        b"<< /Type /Outlines /First 7 0 R /Last 7 0 R /Count 1 >>",
        b"<< /Title (Chapter) /Parent 6 0 R /Dest [3 0 R /Fit] /First 8 0 R /Last 8 0 R >>",
        b"<< /Title (Method of work) /Parent 7 0 R /Dest [3 0 R /Fit] >>",
    )
    document = read(make_drawn_pdf(drawing, catalog=b"/Outlines 6 0 R", more=outline))
    assert [(e.category, e.depth, e.text) for e in document.elements] == [
        ("Title", 1, "2.1 Method of work"),
        ("NarrativeText", None, "It is described here, in one sentence."),
    ]


def test_an_outline_that_goes_in_circles(read: Read) -> None:
    outline = (
        b"<< /Type /Outlines /First 7 0 R /Last 7 0 R /Count 1 >>",
        b"<< /Title (A) /Parent 6 0 R /Dest [3 0 R /Fit] /First 7 0 R /Next 7 0 R >>",
    )
    content = make_drawn_pdf(draw((60, 700, "Text.")), catalog=b"/Outlines 6 0 R", more=outline)
    assert read(content).text == "Text."


def test_filled_in_fields_and_comments_are_read(read: Read) -> None:
    widget = b"<< /Type /Annot /Subtype /Widget /P 3 0 R /Rect [60 600 200 620] %s >>"
    fields = (
        widget % b"/FT /Tx /T (name) /TU (Your name) /V (Ada)",
        widget % b"/FT /Btn /T (news) /V /Off /AS /Off",
        b"<< /Type /Annot /Subtype /Text /Contents (Please check this.) /Rect [1 1 9 9] >>",
        b"<< /Type /Annot /Subtype /Link /Contents (nothing) /Rect [1 1 9 9] >>",
    )
    document = read(
        make_drawn_pdf(
            draw((60, 700, "A form.")),
            catalog=b"/AcroForm << /Fields [6 0 R 7 0 R] >>",
            page=b"/Annots [6 0 R 7 0 R 8 0 R 9 0 R]",
            more=fields,
        )
    )
    assert [e.text for e in document.elements] == [
        "A form.",
        "Your name: Ada",
        "Please check this.",
    ]
    assert document.unread_pages == []
