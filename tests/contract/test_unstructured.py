"""The faster versions of unstructured's functions give the same elements as unstructured."""

import inspect
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import docx
import pytest
import unstructured
from docx.enum.section import WD_SECTION
from docx.enum.style import WD_STYLE_TYPE
from docx.opc.constants import RELATIONSHIP_TYPE
from docx.oxml import OxmlElement
from docx.oxml.ns import qn
from docx.oxml.xmlchemy import BaseOxmlElement
from docx.text.paragraph import Paragraph
from hypothesis import given, settings
from hypothesis import strategies as st
from unstructured.nlp import tokenize
from unstructured.nlp.english_words import ENGLISH_WORDS
from unstructured.partition import text_type
from unstructured.partition.docx import partition_docx
from unstructured.partition.html import partition_html
from unstructured.partition.md import partition_md
from unstructured.partition.pptx import partition_pptx

from docmill.worker.extraction.child.kinds import shortcuts
from docmill.worker.extraction.child.kinds.base import Source
from docmill.worker.extraction.child.kinds.partitioned import elements_of
from docmill.worker.extraction.child.kinds.registry import open_reading
from docmill.worker.extraction.zygote import warm
from docmill.worker.models import Element
from tests.integration.extraction.documents import make_pptx

SENTENCES = (
    "It rained for all of the week, and nobody minded at all. On Monday they went to see the sea.",
    "Dr. J. Smith of the U.S. Army wrote to e.g. Mr. Brown. He had an answer by the next post!",
    "No verb here",
    "ALL OF THIS IS LOUD. AND SO IS THIS, IT IS SAID BY MANY.",
    "Größe: 12,5 % — für jeden. Und 第二句。第三句。",
    "1.2.3 (a) [b] -- ... !!! ???",
    "12345",
    "Doylestown, PA 18901",
    "ada@example.org",
    "• a bullet of its own",
    "Only one sentence here, but it is quite a long one that goes on and on, as they sometimes do",
    "He said: “Is it so?” She said that it was. \xa0 Then\u2028nothing more was said of it.",
)


REPLACED: tuple[tuple[Any, str], ...] = (
    (text_type, "sentence_count"),
    (text_type, "under_non_alpha_ratio"),
    (BaseOxmlElement, "xpath"),
)


@pytest.fixture(autouse=True, scope="module")
def sentence_splitter() -> Iterator[None]:
    """All these tests use unstructured with docmill's sentence splitter."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokenize, "_get_nlp", None)
        warm.use_blank_sentence_splitter()
        yield


@contextmanager
def shortcuts_taken() -> Iterator[None]:
    """While this is open, the faster functions are used; otherwise unstructured's own."""
    with pytest.MonkeyPatch.context() as patch:
        for owner, name in REPLACED:
            theirs = getattr(owner, name)
            assert not theirs.__module__.startswith("worker.")
            patch.setattr(owner, name, theirs)
        shortcuts.take_shortcuts()
        yield


def add_link(paragraph: Paragraph, address: str, text: str) -> None:
    link, run = OxmlElement("w:hyperlink"), OxmlElement("w:r")
    target = paragraph.part.relate_to(address, RELATIONSHIP_TYPE.HYPERLINK, is_external=True)
    link.set(qn("r:id"), target)
    run.text = text
    link.append(run)
    paragraph._p.append(link)


def add_rendered_page_break(paragraph: Paragraph) -> None:
    run = paragraph.add_run()
    run._r.append(OxmlElement("w:lastRenderedPageBreak"))
    paragraph.add_run("and on the next page it goes on.")


def number_directly(paragraph: Paragraph, number: str = "1", level: str = "0") -> None:
    numbering = OxmlElement("w:numPr")
    for name, value in (("w:ilvl", level), ("w:numId", number)):
        child = OxmlElement(name)
        child.set(qn("w:val"), value)
        numbering.append(child)
    paragraph._p.get_or_add_pPr().append(numbering)


def add_headings_and_lists(document: Any) -> None:
    document.add_heading("The whole of it", level=0)
    for level in range(1, 5):
        document.add_heading(f"A heading of level {level}", level=level)
        for sentence in SENTENCES:
            document.add_paragraph(sentence)
    for style in ("List Bullet", "List Bullet 2", "List Number", "List Paragraph", "Quote"):
        document.add_paragraph(f"In the style of {style}.", style=style)
    number_directly(document.add_paragraph("A numbered paragraph without a style."))
    number_directly(document.add_paragraph("One that is deeper."), level="1")
    number_directly(document.add_heading("A numbered heading", level=2))
    number_directly(document.add_paragraph("Numbered by nothing."), number="0")
    clause = document.styles.add_style("Clause", WD_STYLE_TYPE.PARAGRAPH)
    clause.base_style = document.styles["List Number"]
    document.add_paragraph("Numbered by a style of its own.", style="Clause")
    document.add_paragraph()
    document.add_paragraph(" \t ")


def add_emphasis_and_links(document: Any) -> None:
    document.add_paragraph().add_run("A paragraph in bold only").bold = True
    mixed = document.add_paragraph("This is ")
    mixed.add_run("important").bold = True
    mixed.add_run(" and this is ")
    mixed.add_run("a title").italic = True
    add_link(mixed, "https://example.org/a?b=c", "the place")
    mixed.add_run(". It has two sentences of some words.")
    breaking = document.add_paragraph("One line")
    breaking.add_run().add_break()
    breaking.add_run("and\tanother.")


def add_tables(document: Any) -> None:
    table = document.add_table(rows=3, cols=3)
    for number, cell in enumerate(table._cells):
        cell.text = f"cell {number}"
    table.cell(0, 0).merge(table.cell(0, 1))
    table.cell(1, 2).merge(table.cell(2, 2))
    table.cell(1, 0).paragraphs[0].add_run(" in bold").bold = True
    inner = table.cell(2, 0).add_table(rows=1, cols=2)
    inner.cell(0, 0).text, inner.cell(0, 1).text = "within", "a cell"
    document.add_table(rows=1, cols=2)


def add_sections_and_pages(document: Any) -> None:
    section = document.sections[0]
    section.header.paragraphs[0].text = "The Report"
    section.footer.paragraphs[0].text = "Not for everybody"
    section.different_first_page_header_footer = True
    section.first_page_header.paragraphs[0].text = "Front"
    add_rendered_page_break(document.add_paragraph("The page ends here "))
    document.add_page_break()
    later = document.add_section(WD_SECTION.ODD_PAGE)
    later.header.is_linked_to_previous = False
    later.header.paragraphs[0].text = "The Annex"
    document.add_heading("In another section")
    add_rendered_page_break(document.add_paragraph("• a bullet "))
    document.add_paragraph("The last words of it. They are said on the last of the pages.")


def make_word() -> bytes:
    """A document with an example of everything."""
    document, out = docx.Document(), io.BytesIO()
    add_headings_and_lists(document)
    add_emphasis_and_links(document)
    add_tables(document)
    add_sections_and_pages(document)
    document.save(out)
    return out.getvalue()


def without_columns(element: Any) -> Any:
    """The element without its columns and rows, which docmill finds itself."""
    if element.category != "Table":
        return element
    return replace(element, text=re.findall(r"[^\s|]+", element.text), metadata={})


def test_word_documents_are_read_as_unstructured_reads_them():
    content = make_word()
    theirs = list(elements_of(partition_docx(file=io.BytesIO(content), languages=[""])))
    with shortcuts_taken():
        ours = list(open_reading(Source(io.BytesIO(content), "a.docx"))[1].parts)
    assert list(map(without_columns, ours)) == list(map(without_columns, theirs))
    categories = {element.category for element in ours if isinstance(element, Element)}
    assert categories >= {
        *("Title", "NarrativeText", "ListItem", "Table", "Text", "Header", "Footer"),
        *("Address", "EmailAddress"),
    }
    assert {element.page for element in ours if isinstance(element, Element)} >= {1, 2, 3}
    assert any("links" in element.metadata for element in ours if isinstance(element, Element))


def test_slides_are_read_as_unstructured_reads_them():
    found = partition_pptx(file=io.BytesIO(make_pptx()), include_slide_notes=True)
    theirs = [element.text for element in elements_of(found)]
    reading = open_reading(Source(io.BytesIO(make_pptx()), "a.pptx"))[1]
    assert [part.text for part in reading.parts if isinstance(part, Element)] == theirs


PAGE = "".join(
    f"<h{1 + n % 6}>A heading {n}</h{1 + n % 6}><p>{sentence} <a href='https://e.org'>there</a></p>"
    f"<ul><li>{sentence}<ul><li>deeper</li></ul></li></ul><div>{sentence}<b>bold</b></div>"
    f"<pre>{sentence}</pre><table><tr><th>{sentence}</th><td>b</td></tr></table>"
    for n, sentence in enumerate(SENTENCES)
)


def test_pages_are_read_as_unstructured_reads_them():
    theirs = list(elements_of(partition_html(text=PAGE, languages=[""])))
    with shortcuts_taken():
        assert list(elements_of(shortcuts.bare(partition_html)(text=PAGE))) == theirs
    assert len(theirs) > 5 * len(SENTENCES)


def test_markdown_is_read_as_unstructured_reads_it():
    text = "\n\n".join(f"## Heading\n\n{sentence}\n\n- item" for sentence in SENTENCES)
    theirs = list(elements_of(partition_md(text=text, languages=[""])))
    with shortcuts_taken():
        assert list(elements_of(partition_md(text=text, languages=[""]))) == theirs


plain = st.lists(
    st.sampled_from(["word", "Word", "he", "a,", "x-y", "3", "“so”", "go"]), max_size=6
)
ends = st.sampled_from(["end.", "etc.", "vs.", "no!", "in?", "end.”", "a.m.", "End.", "...", "。"])
texts = st.one_of(
    st.lists(st.tuples(plain, ends), max_size=4).map(
        lambda pairs: " ".join(word for words, end in pairs for word in (*words, end))
    ),
    st.lists(st.sampled_from(SENTENCES), max_size=4).map(" ".join),
    st.lists(
        st.sampled_from(
            ["word", "Word", "a.m", "etc.", "e.g.", "end.", "end!", "in?", ".", "“so?”", "3,", "\n"]
        ),
        max_size=20,
    ).map(" ".join),
    st.text(),
    st.text(st.sampled_from("aaabB1   .!?\n\t\xa0。-")),
)


@given(texts, st.sampled_from([None, 3, 5]))
@settings(max_examples=500, deadline=None)
def test_two_sentences_are_told_from_fewer(text: str, min_length: int | None):
    assert shortcuts.sentence_count(text, min_length) == min(
        2, text_type.sentence_count(text, min_length)
    )


@given(texts, st.sampled_from([0.5, 0.0, 1.0]))
def test_letters_are_counted_alike(text: str, threshold: float):
    assert shortcuts.under_non_alpha_ratio(text, threshold) == text_type.under_non_alpha_ratio(
        text, threshold
    )


@given(texts)
def test_text_is_classified_alike(text: str):
    def classified() -> tuple[bool, bool]:
        narrative = text_type.is_possible_narrative_text(text)
        return narrative, text_type.is_possible_title(text)

    theirs = classified()
    with shortcuts_taken():
        assert classified() == theirs


def test_a_word_in_small_letters_gives_away_the_sign_behind_it():
    """Or both together are one word that the tokenizer knows; the test asks it."""
    tokenizer: Any = tokenize._get_nlp().tokenizer
    words = sorted(word for word in ENGLISH_WORDS if re.fullmatch("[a-z]{2,}", word))
    assert len(words) > 10_000
    for number, word in enumerate(words[::20]):
        ended = f"{word}{'.!?'[number % 3]}"
        assert ended in tokenizer.rules or [t.text for t in tokenizer(ended)][-1] == ended[-1]


def test_nobody_asks_for_more_than_two_sentences():
    """A count that stops at two would be wrong for a caller that needs three."""
    uses = [
        line.strip()
        for path in Path(inspect.getfile(unstructured)).parent.rglob("*.py")
        for line in path.read_text().splitlines()
        if re.search(r"\bsentence_count\(", line) and "def " not in line
    ]
    assert len(uses) == 3
    assert all(re.search(r"sentence_count\([^)]*\)+ (> 1|< 2)", line) for line in uses)


def test_what_is_replaced_takes_what_its_replacement_takes():
    theirs = [list(inspect.signature(getattr(*place)).parameters) for place in REPLACED]
    with shortcuts_taken():
        ours = [list(inspect.signature(getattr(*place)).parameters) for place in REPLACED]
    assert ours == theirs
