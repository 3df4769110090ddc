"""Word documents: reduced to what Word shows, then read by unstructured.

unstructured knows paragraphs, their styles and their numbers. This module finds the text and the
content of tables.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any, BinaryIO

from docx.document import Document
from docx.opc.constants import RELATIONSHIP_TYPE
from docx.oxml.ns import qn
from docx.oxml.parser import parse_xml
from docx.section import Section
from docx.table import Table
from docx.text.paragraph import Paragraph
from lxml import etree  # type: ignore[import-untyped]  # ships no types
from unstructured.documents.elements import Element as Found
from unstructured.partition.docx import DocxPartitionerOptions, _DocxPartitioner
from unstructured.partition.text_type import is_bulleted_text

from docmill.worker.extraction.child.kinds.ooxml import graphics, page_breaks, story, word_tables
from docmill.worker.extraction.child.kinds.ooxml.alternatives import replace_with
from docmill.worker.extraction.child.kinds.ooxml.names import R, W
from docmill.worker.extraction.child.kinds.ooxml.notes import Notes
from docmill.worker.extraction.child.kinds.tables import table_elements
from docmill.worker.models import Element

_NUMBERING = qn("w:numPr")

#: Reads an imported part, given by name and bytes, into elements.
ReadImported = Callable[[str, bytes], Iterable[Element]]


def partition_word(
    file: BinaryIO, read_imported: ReadImported, *, with_comments: bool = False
) -> Iterator[Found | Element]:
    """What Word shows, element by element: unstructured's elements, or docmill's own.

    With comments, each stands after the paragraph that refers to it. `file` is a plain package: see
    ooxml.package. A broken document may raise anything.
    """
    options = DocxPartitionerOptions.load(
        file=file, file_path=None, include_page_breaks=False, infer_table_structure=True
    )
    _simplify(options.document, with_comments=with_comments)
    partitioner = _Partitioner(options)
    partitioner.read_imported = read_imported
    return partitioner.elements()


def _simplify(document: Document, *, with_comments: bool) -> None:
    part = document.part
    styles = story.hidden_styles(document.styles.element)
    footnotes, endnotes = (
        _notes_of(document, kind, styles)
        for kind in (RELATIONSHIP_TYPE.FOOTNOTES, RELATIONSHIP_TYPE.ENDNOTES)
    )
    comments = _notes_of(document, RELATIONSHIP_TYPE.COMMENTS, styles) if with_comments else None
    root = document.element
    _join_bodies(root)
    _mark_imported(root)
    take_note = Notes(footnotes, endnotes, comments).take
    story.simplify(root, hidden_styles=styles, find_part=graphics.finder(part), take_note=take_note)
    _drop_dead_links(root, part)
    beside = (RELATIONSHIP_TYPE.HEADER, RELATIONSHIP_TYPE.FOOTER)
    for relation in part.rels.values():
        if relation.reltype in beside and not relation.is_external:
            other = relation.target_part
            story.simplify(other.element, hidden_styles=styles, find_part=graphics.finder(other))


def _join_bodies(root: Any) -> None:
    """Put everything in the first body; some programs write several."""
    first, *others = root.iterchildren(f"{W}body")
    for other in others:
        first.extend(list(other))
        root.remove(other)


def _notes_of(document: Document, kind: str, styles: frozenset[str]) -> Any:
    """The simplified root of the part with notes of this kind; None if there is none."""
    for relation in document.part.rels.values():
        if relation.reltype == kind and not relation.is_external:
            with suppress(etree.XMLSyntaxError):
                root = parse_xml(relation.target_part.blob)
                story.simplify(
                    root, hidden_styles=styles, find_part=graphics.finder(relation.target_part)
                )
                # Only the part that held the links knows their targets.
                for link in list(root.iter(f"{W}hyperlink")):
                    replace_with(link, list(link))
                return root
    return None


def _mark_imported(root: Any) -> None:
    """Replace each imported part by a paragraph. Each part is read once."""
    seen = set()
    for imported in list(root.iter(f"{W}altChunk")):
        name = imported.get(f"{R}id", "")
        place = story.paragraph_of("")
        if name not in seen:
            place.set(story.IMPORTED, name)
        seen.add(name)
        replace_with(imported, [place])


def _drop_dead_links(root: Any, part: Any) -> None:
    """Turn links without a target into text."""
    for link in root.iter(f"{W}hyperlink"):
        if link.get(f"{R}id") is not None and link.get(f"{R}id") not in part.rels:
            del link.attrib[f"{R}id"]


class _Partitioner(_DocxPartitioner):
    read_imported: ReadImported

    def __init__(self, opts: DocxPartitionerOptions) -> None:
        super().__init__(opts)
        self._defined: dict[str, Any] = {}  # the last headers and footers, by kind
        self._shown: set[str] = set()

    def elements(self) -> Iterator[Found | Element]:
        if self._document_contains_sections:
            return self._iter_document_elements()
        return self._iter_sectionless_document_elements()

    def _iter_section_headers(self, section: Section) -> Iterator[Any]:
        first, even = section.first_page_header, section.even_page_header
        return self._beside(section, "Header", [section.header, first, even])

    def _iter_section_footers(self, section: Section) -> Iterator[Any]:
        first, even = section.first_page_footer, section.even_page_footer
        return self._beside(section, "Footer", [section.footer, first, even])

    def _beside(self, section: Section, category: str, found: list[Any]) -> Iterator[Element]:
        """The headers or footers that a section is the first to show; it may inherit them."""
        is_on = (
            True,
            section.different_first_page_header_footer,
            self._document.settings.odd_and_even_pages_header_footer,
        )
        for kind, (story_part, is_shown) in enumerate(zip(found, is_on, strict=True)):
            if not story_part.is_linked_to_previous:
                self._defined[f"{category}{kind}"] = story_part
            defined = self._defined.get(f"{category}{kind}")
            if not is_shown or defined is None or str(defined.part.partname) in self._shown:
                continue
            self._shown.add(str(defined.part.partname))
            if text := self._header_footer_text(defined):
                yield Element(category, text)

    # docmill does not use the metadata about bold and italics.
    def _paragraph_emphasis(self, _paragraph: Paragraph) -> tuple[list[str], list[str]]:
        return [], []

    def _is_list_item(self, paragraph: Paragraph) -> bool:
        # unstructured looks for the numbering in the paragraph's XML, written out.
        numbered = next(paragraph._p.iter(_NUMBERING), None) is not None  # noqa: SLF001
        if numbered or self._list_labels.has_style_numbering(paragraph):
            return super()._is_list_item(paragraph)
        return is_bulleted_text(paragraph.text)

    def _iter_paragraph_elements(self, paragraph: Paragraph) -> Iterator[Any]:
        element = paragraph._p  # noqa: SLF001
        imported = element.get(story.IMPORTED)
        if imported is not None:
            return iter(self._imported(imported))
        label = self._list_labels.label(paragraph)
        if not page_breaks.has_break(element):
            return self._classify_paragraph_to_element(paragraph, label)
        return self._page_by_page(paragraph, label)

    def _page_by_page(self, paragraph: Paragraph, label: str) -> Iterator[Any]:
        for number, element in enumerate(page_breaks.pieces(paragraph._p)):  # noqa: SLF001
            if number:
                self._begin_pages(1)
            piece = Paragraph(element, paragraph._parent)  # noqa: SLF001
            yield from self._classify_paragraph_to_element(piece, label)
            label = "" if piece.text.strip() else label

    def _begin_pages(self, count: int) -> None:
        for _ in range(count):
            for _page_break in self._opts.increment_page_number():
                pass

    def _imported(self, name: str) -> Iterable[Element]:
        relation = self._document.part.rels.get(name)
        if relation is None or relation.is_external:
            return ()
        part = relation.target_part
        return self.read_imported(str(part.partname), part.blob)

    def _classify_paragraph_to_element(
        self, paragraph: Paragraph, label: str = ""
    ) -> Iterator[Any]:
        mark = paragraph._p.get(story.NOTE)  # noqa: SLF001
        if mark is None:
            return super()._classify_paragraph_to_element(paragraph, label)
        return iter([Element("Footnote", f"{mark}{paragraph.text}", self._page)])

    @property
    def _page(self) -> int | None:
        return self._opts.metadata_page_number

    def _iter_table_element(self, table: Table) -> Iterator[Any]:
        element = table._tbl  # noqa: SLF001
        found = word_tables.read_table(element, self._cell_paragraph)
        yield from table_elements(found.rows, page=self._page, html=found.html)
        self._begin_pages(page_breaks.pages_begun_in(element))

    def _cell_paragraph(self, element: Any) -> str:
        """The text of a paragraph in a table, after its number."""
        imported = element.get(story.IMPORTED)
        if imported is not None:
            return "\n".join(found.text for found in self._imported(imported))
        paragraph = Paragraph(element, self._document)
        label = self._list_labels.label(paragraph)
        text = f"{element.get(story.NOTE, '')}{paragraph.text}"
        return f"{label} {text}" if label and text.strip() else text
