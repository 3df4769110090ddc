"""Prepares the zygote: imports the parsers, and lets each read one tiny document.

Things that the first document would load (regular expressions, tables, caches) then exist for every
child.
"""

import functools
import io
from importlib.util import find_spec

import docx
import openpyxl
import pptx
import spacy
import unstructured.nlp.tokenize

from docmill.worker.extraction.child.chunking.tokens import counter_for
from docmill.worker.extraction.child.kinds.base import Source
from docmill.worker.extraction.child.kinds.registry import open_reading
from docmill.worker.extraction.child.kinds.shortcuts import take_shortcuts
from docmill.worker.models import OPENAI_COUNTER

_PARAGRAPHS = (
    "A Title\n\nA sentence of the body. And another one, with a verb in it.\n\n- an item\n"
)
_HTML = f"<html><head><title>T</title></head><body><h1>Title</h1><p>{_PARAGRAPHS}</p></body></html>"
_MAIL = "From: a@example.org\nTo: b@example.org\nSubject: A title\nMIME-Version: 1.0\n\n"


def warm_up() -> None:
    """Install the sentence splitter, and read one document of each kind.

    The vocabularies are loaded here too, so a child need not read them or hold its own copy.
    """
    for name in [OPENAI_COUNTER, "local"] if find_spec("wordllama") else [OPENAI_COUNTER]:
        counter_for(name).count(_PARAGRAPHS)
    use_blank_sentence_splitter()
    take_shortcuts()
    for file_name, content in _samples().items():
        source = Source(file=io.BytesIO(content), file_name=file_name)
        for _ in open_reading(source)[1].parts:
            pass


@functools.lru_cache(1)
def _sentence_splitter() -> spacy.language.Language:
    language = spacy.blank("en")
    language.add_pipe("sentencizer")
    return language


def use_blank_sentence_splitter() -> None:
    """Let unstructured split sentences by punctuation.

    Otherwise it would load a model that is not on PyPI, and download it from GitHub if it is
    missing.
    """
    unstructured.nlp.tokenize._get_nlp = _sentence_splitter  # noqa: SLF001 -- there is no setting


def _samples() -> dict[str, bytes]:
    text = _PARAGRAPHS.encode()
    return {
        "a.txt": text,
        "a.md": b"# A title\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n" + text,
        "a.html": _HTML.encode(),
        "a.csv": b"a,b\n1,2\n",
        "a.json": b'{"a": [1, "b"]}',
        "a.xml": b"<a><b>c</b></a>",
        "a.py": b"def f():\n    return 1\n",
        "a.eml": _MAIL.encode() + text,
        "legacy.txt": "Größe und Maß, früher oder später.".encode("cp1252"),
        "a.docx": _docx(),
        "a.pptx": _pptx(),
        "a.xlsx": _xlsx(),
        "a.pdf": _pdf(),
    }


def _docx() -> bytes:
    document, out = docx.Document(), io.BytesIO()
    document.add_heading("A title")
    document.add_paragraph(_PARAGRAPHS)
    document.add_table(rows=2, cols=2).cell(0, 0).text = "a"
    document.save(out)
    return out.getvalue()


def _pptx() -> bytes:
    deck, out = pptx.Presentation(), io.BytesIO()
    slide = deck.slides.add_slide(deck.slide_layouts[1])
    slide.shapes.title.text = "A title"
    slide.placeholders[1].text = _PARAGRAPHS
    deck.save(out)
    return out.getvalue()


def _xlsx() -> bytes:
    book, out = openpyxl.Workbook(), io.BytesIO()
    book.active.append(["a", "b"])
    book.active.append([1, 2.5])
    book.save(out)
    return out.getvalue()


def _pdf() -> bytes:
    """One page with one line. Readers rebuild the missing table of objects."""
    drawing = b"BT /F1 12 Tf 72 720 Td (A sentence of the body.) Tj ET"
    objects = (
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        (
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R "
            b"/Resources << /Font << /F1 5 0 R >> >> >>"
        ),
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(drawing), drawing),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    )
    body = b"".join(b"%d 0 obj\n%s\nendobj\n" % pair for pair in enumerate(objects, start=1))
    return b"%PDF-1.4\n" + body + b"trailer << /Root 1 0 R >>\n%%EOF\n"
