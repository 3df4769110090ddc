"""Texts of LibreOffice and books: each word that is shown is read once, in order, and no other."""

import io
from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from docmill.worker.errors import JobError
from docmill.worker.extraction.child.kinds.base import Source
from docmill.worker.extraction.child.kinds.registry import open_reading
from docmill.worker.extraction.shared import media_types
from docmill.worker.extraction.zygote.warm import use_blank_sentence_splitter
from docmill.worker.models import Element
from tests.integration.extraction import documents
from tests.support.independent import open_document
from tests.support.judged_documents import words_in
from tests.support.open_documents import random_epub, random_odt, with_text

use_blank_sentence_splitter()


def elements_of(data: bytes, media_type: str) -> list[Element]:
    found, reading = open_reading(Source(io.BytesIO(data), "a"))
    assert found == media_type
    return [part for part in reading.parts if isinstance(part, Element)]


def words_of(data: bytes, media_type: str) -> list[str]:
    return words_in("\n".join(element.text for element in elements_of(data, media_type)))


@settings(deadline=None, max_examples=100)
@given(st.integers(min_value=0))
def test_each_word_of_a_text_is_read_once_in_order(seed: int) -> None:
    made = random_odt(Random(seed))
    assert words_of(made.data, media_types.ODT) == made.shown


@settings(deadline=None, max_examples=60)
@given(st.integers(min_value=0))
def test_each_word_of_a_book_is_read_once_in_order(seed: int) -> None:
    made = random_epub(Random(seed))
    assert words_of(made.data, media_types.EPUB) == made.shown


@settings(deadline=None, max_examples=60)
@given(st.integers(min_value=0))
def test_an_independent_reader_agrees_with_who_wrote_the_files(seed: int) -> None:
    text, book = random_odt(Random(seed)), random_epub(Random(seed))
    assert Counter(words_in(open_document.odt_letters(text.data))) == Counter(text.shown)
    assert Counter(words_in(open_document.epub_letters(book.data))) == Counter(book.shown)


def test_headings_items_tables_and_notes_keep_their_kind() -> None:
    note = (
        '<text:note text:note-class="footnote"><text:note-citation>7</text:note-citation>'
        "<text:note-body><text:p>Waived.</text:p></text:note-body></text:note>"
    )
    row = "<table:table-row>{}</table:table-row>"
    cell = "<table:table-cell {}><text:p>{}</text:p></table:table-cell>"
    wide = row.format(cell.format('table:number-columns-spanned="2"', "Both"))
    rows = row.format(cell.format("", "Name") + cell.format("", "Age"))
    rows += row.format(cell.format("", "Ada") + cell.format("", "36")) + wide
    body = (
        '<text:h text:outline-level="2">Fees</text:h>'
        f"<text:p>The fee{note} is paid each month, by everybody who uses the pool.</text:p>"
        "<text:list><text:list-item><text:p>towels</text:p></text:list-item></text:list>"
        f"<table:table>{rows}</table:table>"
    )
    found = [(one.category, one.text) for one in elements_of(with_text(body), media_types.ODT)]
    assert found == [
        ("Title", "Fees"),
        ("Text", "The fee[1] is paid each month, by everybody who uses the pool."),
        ("Text", "[1] Waived."),
        ("ListItem", "towels"),
        ("Table", "Name | Age\nAda | 36\nBoth"),
    ]


def test_a_formula_is_read_where_it_stands() -> None:
    formula = (
        '<math xmlns="http://www.w3.org/1998/Math/MathML"><semantics><mi>A</mi>'
        '<annotation encoding="StarMath 5.0">A = %pi r^2</annotation></semantics></math>'
    )
    link = '<draw:frame><draw:object xlink:href="./Object 1"/></draw:frame>'
    data = with_text(f"<text:p>Area:{link}</text:p>", {"Object 1/content.xml": formula})
    assert [one.text for one in elements_of(data, media_types.ODT)] == ["Area: A = %pi r^2"]


def test_what_a_style_hides_is_not_read() -> None:
    style = (
        '<style:style style:name="T1"><style:text-properties text:display="none"/></style:style>'
    )
    body = '<text:p>Seen <text:span text:style-name="T1">unseen</text:span> again</text:p>'
    data = with_text(body, styles=style)
    assert [one.text.split() for one in elements_of(data, media_types.ODT)] == [["Seen", "again"]]


def test_ten_thousand_of_anything_take_no_more_than_their_share() -> None:
    blanks = "<text:s/>a<office:annotation/>" * 10_000
    box = "<draw:frame><draw:text-box><text:p>b</text:p></draw:text-box></draw:frame>c"
    data = with_text(f"<text:p>{blanks}{box * 10_000}</text:p>")
    text = "".join(element.text for element in elements_of(data, media_types.ODT))
    assert [text.count(letter) for letter in "abc"] == [10_000] * 3


def test_a_book_without_one_of_its_chapters_is_read() -> None:
    data = documents.zipped({"mimetype": b"application/epub+zip", "a.opf": b"<package/>"})
    assert elements_of(data, media_types.EPUB) == []
    with pytest.raises(JobError) as raised:
        elements_of(documents.zipped({"mimetype": b"application/epub+zip"}), media_types.EPUB)
    assert raised.value.code == "corrupt"
