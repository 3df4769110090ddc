"""Every kind of document, read by a real child."""

import io
import struct
from collections.abc import Callable
from contextlib import suppress
from email.message import EmailMessage
from pathlib import Path

import docx
import pytest

from docmill.worker.errors import JobError
from docmill.worker.extraction import GuardedExtractor
from docmill.worker.extraction.shared import profiles
from docmill.worker.models import Element
from tests.integration.extraction import documents, ole
from tests.integration.extraction.conftest import (
    Document,
    assert_nothing_left,
    code_of,
    limited,
    read_document,
)
from tests.support.xlsb import make_xlsb

Store = Callable[[str, bytes], Path]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    def write(name: str, content: bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write


def test_word(extractor: GuardedExtractor, store: Store):
    document = read_document(extractor, store("a.docx", documents.make_docx(title="A report")))
    assert document.mime_type.endswith("wordprocessingml.document")
    assert document.title == "A report"
    title, body, table = document.elements
    assert (title.category, title.text, title.depth) == ("Title", "Annual Report", 0)
    assert body.category == "NarrativeText"
    assert (table.category, table.text) == ("Table", "Team | Wins\nBlues | 1")
    assert set(table.metadata) == {"text_as_html"}


def test_comments_of_word_are_read_by_a_setting_also_of_an_attached_file(
    extractor: GuardedExtractor, store: Store
):
    document = docx.Document()
    runs = document.add_paragraph("Sales rose.").runs
    document.add_comment(runs, text="Which year?", author="Ada")
    out = io.BytesIO()
    document.save(out)
    message = EmailMessage()
    message.add_attachment(out.getvalue(), maintype="application", subtype="x", filename="a.docx")
    without, comment = ["Sales rose."], ["[comment by Ada] Which year?"]
    paths = store("a.docx", out.getvalue()), store("a.eml", b"Subject: s\n" + bytes(message))
    assert not any(comment[0] in text_of(read_document(extractor, path)) for path in paths)
    version = extractor.version("a.docx")
    with limited(extractor, word_comments=True):
        assert text_of(read_document(extractor, paths[0])) == without + comment
        assert comment[0] in text_of(read_document(extractor, paths[1]))
        assert extractor.offer.extras[-1] == "comments"
        assert extractor.version("a.docx") == f"{version}+comments"


def text_of(document: Document) -> list[str]:
    return [element.text for element in document.elements]


def test_word_with_macros(extractor: GuardedExtractor, store: Store):
    document = read_document(extractor, store("a.docm", documents.make_docm()))
    assert document.mime_type.endswith("ms-word.document.macroenabled.12")
    assert [element.category for element in document.elements] == [
        *("Title", "NarrativeText", "Table")
    ]


def test_binary_excel(extractor: GuardedExtractor, store: Store):
    data = make_xlsb({"Stock": [["Article", "Pieces"], ["Anvil", 19.5]]})
    document = read_document(extractor, store("a.xlsb", data))
    assert document.elements[-1].text == "Article | Pieces\nAnvil | 19.5"


@pytest.mark.parametrize("damage", [b"\xff" * 8, bytes(8)])
def test_a_damaged_binary_workbook_takes_nothing_with_it(
    extractor: GuardedExtractor, store: Store, damage: bytes
):
    data = make_xlsb({"Stock": [["Article", "Pieces"], ["Anvil", 19.5]]})
    size = struct.pack("<IIII", 0, 1, 0, 1)  # of the sheet
    path = store("a.xlsb", data.replace(size, size[:8] + damage))
    with suppress(JobError):
        read_document(extractor, path)
    assert read_document(extractor, store("a.xlsb", data)).elements


def test_powerpoint(extractor: GuardedExtractor, store: Store):
    document = read_document(extractor, store("a.pptx", documents.make_pptx()))
    assert document.page_count == 3
    assert document.unread_pages == [2]
    assert [(e.category, e.text, e.page) for e in document.elements] == [
        ("Title", "Roadmap", 1),
        ("Text", "Ship the pipeline", 1),
        ("NarrativeText", "Ask about the budget.", 3),
        ("Title", "Questions", 3),
    ]


def test_excel(extractor: GuardedExtractor, store: Store):
    document = read_document(extractor, store("a.xlsx", documents.make_xlsx()))
    assert document.page_count == 2
    assert document.unread_pages == []
    sheet = {"page_name": "Cups"}
    assert document.elements == [
        Element("Title", "Cups", page=1, depth=0),
        Element("Title", "Stanley Cups", page=1, depth=1, metadata=sheet),
        Element("Table", "Team | Wins\nBlues | 1", page=1, metadata=sheet),
        Element("Table", "Other | Table\n2 | 3.5", page=1, metadata=sheet),
    ]


def test_excel_of_before_2007(extractor: GuardedExtractor, store: Store):
    rows: list[list[str | float]] = [
        ["Stanley Cups"],
        ["Team", "Wins"],
        ["Blues", 1.0],
        ["Łódź", 2.5],
    ]
    content = ole.make_xls({"Cups": rows, "Sheet2": []})
    document = read_document(extractor, store("a.doc", content))
    assert (document.mime_type, document.page_count) == ("application/vnd.ms-excel", 2)
    assert document.elements == [
        Element("Title", "Cups", page=1, depth=0),
        Element("Title", "Stanley Cups", page=1, depth=1, metadata={"page_name": "Cups"}),
        Element(
            "Table", "Team | Wins\nBlues | 1\nŁódź | 2.5", page=1, metadata={"page_name": "Cups"}
        ),
    ]


def test_mail(extractor: GuardedExtractor, store: Store):
    document = read_document(extractor, store("a.eml", documents.make_eml()))
    assert document.title == "The plan"
    assert document.elements[0] == Element("Title", "The plan", depth=0)
    assert "From: Ada <ada@example.org>" in document.elements[1].text
    assert "this is the plan of which we spoke" in document.text
    assert document.page_count is None


def test_pdf(extractor: GuardedExtractor, store: Store):
    content = documents.make_pdf(["The first page.", "", "The third page."], title="Notes")
    document = read_document(extractor, store("a.pdf", content))
    assert (document.mime_type, document.page_count) == ("application/pdf", 3)
    assert document.title == "Notes"
    assert document.unread_pages == [2]
    assert [(e.text, e.page) for e in document.elements] == [
        ("The first page.", 1),
        ("The third page.", 3),
    ]


_PAGE = """<html><head><title>Bread</title></head><body>
<header><a href="/">Home of bread</a></header>
<nav><ul><li><a href="/a">All recipes</a></li></ul></nav>
<div id="cookie-banner"><p>We use cookies for everything.</p><button>Accept</button></div>
<h1>Sourdough</h1><p>Flour and water, as <a href="https://example.org/ada">Ada</a> does it, or
<a href="javascript:x()">not</a>.</p>
<article><header><h2>Crust</h2></header><p>It is dark.</p></article>
<footer>Copyright of the bakers</footer></body></html>"""


def test_a_web_page_without_what_every_page_of_its_site_has(
    extractor: GuardedExtractor, store: Store
):
    document = read_document(extractor, store("a.html", _PAGE.encode()))
    assert document.title == "Bread"
    assert [e.text for e in document.elements if e.category == "Title"] == ["Sourdough", "Crust"]
    assert "Flour and water, as Ada does it, or not." in " ".join(document.text.split())
    for dropped in ("Home of bread", "All recipes", "cookies", "Copyright"):
        assert dropped not in document.text
    links = [e.metadata["links"] for e in document.elements if "links" in e.metadata]
    assert links == ["https://example.org/ada"]


def test_a_page_of_nothing_but_navigation_is_kept(extractor: GuardedExtractor, store: Store):
    page = "<body><nav><ul><li>Rye bread</li><li>Wheat bread</li></ul></nav><p>Ours</p></body>"
    assert "Rye bread" in read_document(extractor, store("a.html", page.encode())).text


@pytest.mark.parametrize(
    ("name", "content", "category", "text"),
    [
        ("a.txt", b"A plain sentence. And a second one.", "NarrativeText", "plain sentence"),
        ("a.md", b"# Head\n\nBody of it.\n", "Title", "Head"),
        ("a.html", b"<h1>Head</h1><p>Body</p>", "Title", "Head"),
        ("a.csv", b"a,b\n1,2\n", "Table", "a | b\n1 | 2"),
        ("a.json", b'{"a": "b"}', "Text", "a: b"),
        ("a.jsonl", b'{"a": "b"}\n', "Text", "a: b"),
        ("a.xml", b"<a><b>c</b></a>", "Text", "b: c"),
        ("a.py", b"def f():\n    pass\n", "CodeSnippet", "    pass"),
        ("a.txt", "Zwölf Boxkämpfer".encode("utf-16"), "Text", "Zwölf"),
        ("nul.txt", b"one\x00 two\x01 three, and so on.", "NarrativeText", "one two three"),
    ],
)
def test_text_kinds(extractor: GuardedExtractor, store: Store, *, name, content, category, text):
    document = read_document(extractor, store(name, content))
    assert document.elements[0].category == category
    assert text in document.text


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("empty.txt", b"", "empty_document"),
        ("blank.txt", b" \n\t\n", "empty_document"),
        ("blank.html", b"<html><body> </body></html>", "empty_document"),
        ("blank.csv", b",,\n,,\n", "empty_document"),
        ("scan.pdf", documents.make_pdf(["", ""]), "empty_document"),
        ("broken.pdf", b"%PDF-1.7\nnothing of one", "corrupt"),
        ("cut.docx", documents.make_docx()[:2000], "corrupt"),
        ("photo.txt", b"GIF89a" + bytes(20), "unsupported_type"),
        ("a.bin", bytes(range(256)), "unsupported_type"),
        ("deep.json", b"[" * 500_000, "corrupt"),
        ("lol.xml", b"<!DOCTYPE a [" + b"".join(
            b'<!ENTITY e%d "%s">' % (n, b"&e%d;" % (n - 1) * 10 if n else b"lol") for n in range(10)
        ) + b"]><a><b>&e9;</b></a>", "corrupt"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_has_a_code(
    extractor: GuardedExtractor, store: Store, name, content, code
):
    assert code_of(extractor, store(name, content)) == code


def test_a_zip_bomb_is_refused_unopened(extractor: GuardedExtractor, store: Store):
    assert code_of(extractor, store("bomb.docx", documents.make_bomb())) == "archive_too_large"


def test_an_encrypted_workbook_and_pdf(extractor: GuardedExtractor, corpus: Path):
    for name in ("password_protected.xlsx", "password.pdf"):
        path = corpus / name
        if not path.exists():
            pytest.skip("no corpus")
        assert code_of(extractor, path) == "encrypted"


_WORDS = ("harbour", "ledger", "bakery", "winter", "saddle", "copper", "meadow", "lantern")


def _prose(page: int) -> str:
    """A few sentences that no other page has, about 700 characters."""
    words = (f"{_WORDS[(page * n + n * n) % len(_WORDS)]}{page}{n}" for n in range(70))
    return f"On page {page} one reads {' '.join(words)}."


def test_a_pdf_of_400_pages_is_read_page_by_page(extractor: GuardedExtractor, store: Store):
    pages = ["" if number in (2, 400) else _prose(number) for number in range(1, 401)]
    document = read_document(extractor, store("a.pdf", documents.make_pdf(pages)))
    assert document.page_count == 400
    assert document.unread_pages == [2, 400]
    assert [e.page for e in document.elements] == [1, *range(3, 400)]
    assert [e.text for e in document.elements] == [text for text in pages if text]
    assert len(document.text) > 250_000


@pytest.mark.parametrize(
    "make",
    [
        documents.make_docx,
        documents.make_pptx,
        documents.make_xlsx,
        documents.make_eml,
        lambda: documents.make_pdf(["The first page.", "The second page."]),
    ],
    ids=["docx", "pptx", "xlsx", "eml", "pdf"],
)
def test_what_is_read_twice_is_the_same(
    extractor: GuardedExtractor, store: Store, make: Callable[[], bytes]
):
    path = store("a", make())
    assert read_document(extractor, path) == read_document(extractor, path)


def _without(profile: str, code: str = "unsupported_type") -> str | None:
    """The error code if the reader of this kind is not installed; else None."""
    return None if profiles.is_available(profile) else code


_RECOGNISED = {"layout-parser-paper-fast.jpg", "loremipsum-flat.pdf"}
_EXPECTED_CODES = {
    "empty.txt": "empty_document",
    "layout-parser-paper-fast.jpg": _without(profiles.OCR),
    "loremipsum-flat.pdf": _without(profiles.OCR, "empty_document"),
    "password.pdf": "encrypted",
    "password_protected.xlsx": "encrypted",
}


def test_the_corpus_is_read_or_refused_by_name(extractor: GuardedExtractor, corpus: Path):
    if not corpus.exists():
        pytest.skip("no corpus")
    for path in sorted(corpus.iterdir()):
        if path.name in _RECOGNISED and profiles.is_available(profiles.OCR):
            continue  # takes long; tested with other pictures
        if code := _EXPECTED_CODES.get(path.name):
            assert code_of(extractor, path) == code, path.name
        else:
            assert read_document(extractor, path).elements, path.name
    assert_nothing_left(extractor)


def test_a_long_pdf_is_read_page_by_page(extractor: GuardedExtractor, corpus: Path):
    path = corpus / "pdf2image-memory-error-test-400p.pdf"
    if not path.exists():
        pytest.skip("no corpus")
    document = read_document(extractor, path)
    assert document.page_count == 400
    assert document.unread_pages == [2, 400]
    assert {e.page for e in document.elements} >= set(range(3, 400))
    assert len(document.text) > 250_000


def test_reading_twice_gives_the_same_elements(extractor: GuardedExtractor, corpus: Path):
    path = corpus / "multi-column-2p.pdf"
    if not path.exists():
        pytest.skip("no corpus")
    assert read_document(extractor, path) == read_document(extractor, path)
