"""unstructured's reading of Word documents, without the parts of it that we do not use."""

from collections.abc import Iterator
from typing import BinaryIO

from docx.oxml.ns import qn
from docx.table import Table
from docx.text.paragraph import Paragraph
from unstructured.documents.elements import Element
from unstructured.partition.docx import DocxPartitionerOptions, _DocxPartitioner
from unstructured.partition.text_type import is_bulleted_text

_NUMBERING = qn("w:numPr")


def partition_word(file: BinaryIO) -> Iterator[Element]:
    """As unstructured's partition_docx, element by element and in less than half the time."""
    options = DocxPartitionerOptions.load(
        file=file, file_path=None, include_page_breaks=False, infer_table_structure=True
    )
    return _Partitioner.iter_document_elements(options)


class _Partitioner(_DocxPartitioner):
    # What stands in bold or italics is metadata that we leave behind.
    def _paragraph_emphasis(self, _paragraph: Paragraph) -> tuple[list[str], list[str]]:
        return [], []

    def _table_emphasis(self, _table: Table) -> tuple[list[str], list[str]]:
        return [], []

    def _is_list_item(self, paragraph: Paragraph) -> bool:
        # unstructured looks for the numbering in the paragraph's XML, written out.
        numbered = next(paragraph._p.iter(_NUMBERING), None) is not None  # noqa: SLF001
        if numbered or self._list_labels.has_style_numbering(paragraph):
            return super()._is_list_item(paragraph)
        return is_bulleted_text(paragraph.text)
