"""The visible text of a Word document is read, once."""

import io
import re
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from docmill.worker.extraction.child.kinds.base import Source
from docmill.worker.extraction.child.kinds.registry import open_reading
from docmill.worker.extraction.zygote.warm import use_blank_sentence_splitter
from docmill.worker.models import Element
from tests.support.independent import word
from tests.support.judged_documents import words_in
from tests.support.word_documents import random_document

use_blank_sentence_splitter()


def elements_of(data: bytes, name: str = "a.docx", *, with_comments: bool = False) -> list[Element]:
    source = Source(io.BytesIO(data), name, word_comments=with_comments)
    _media_type, reading = open_reading(source)
    return [part for part in reading.parts if isinstance(part, Element)]


def text_of(data: bytes) -> str:
    return "\n".join(_without_repeated_headers(elements_of(data)))


def _without_repeated_headers(elements: list[Element]) -> Iterator[str]:
    """The elements without the first row of a long table, which each group of rows repeats."""
    header = None
    for element in elements:
        first, _, rest = element.text.partition("\n")
        is_again = element.category == "Table" and first == header
        yield rest if is_again else element.text
        header = first if element.category == "Table" else None


@settings(deadline=None, max_examples=60)
@given(st.integers(min_value=0))
def test_each_word_that_word_shows_is_read_once_and_no_other(seed: int) -> None:
    document = random_document(Random(seed))
    assert Counter(words_in(text_of(document.data))) == Counter(document.shown)


@settings(deadline=None, max_examples=60)
@given(st.integers(min_value=0))
def test_an_independent_reader_agrees_with_who_wrote_the_document(seed: int) -> None:
    document = random_document(Random(seed))
    assert Counter(words_in(word.letters(document.data))) == Counter(document.shown)


W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
R = 'xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"'
RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
STRICT = "http://purl.oclc.org/ooxml"
OFFICE_SPACE = re.compile(
    rb"""((?:xmlns:\w+|Type)=["'])http://schemas\.openxmlformats\.org/([a-oq-z]\w+)/2006/"""
)


MAIN = "openxmlformats-officedocument.wordprocessingml.document.main"


def package(body: str, parts: Mapping[str, str] | None = None, main: str = MAIN) -> bytes:
    """A document with this body. `parts` by relation type; `main` is the type of the body."""
    written = {
        "[Content_Types].xml": "<Types xmlns="
        '"http://schemas.openxmlformats.org/package/2006/content-types">'
        '<Default Extension="rels" '
        'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        '<Default Extension="xml" ContentType="application/xml"/>'
        '<Override PartName="/word/document.xml" ContentType="application/vnd.'
        f'{main}+xml"/>'
        '<Override PartName="/word/styles.xml" ContentType="application/vnd.'
        'openxmlformats-officedocument.wordprocessingml.styles+xml"/></Types>',
        "_rels/.rels": relations({"officeDocument": "word/document.xml"}),
        "word/document.xml": f"<w:document {W} {R}><w:body>{body}</w:body></w:document>",
        "word/_rels/document.xml.rels": relations({kind: f"{kind}.xml" for kind in parts or {}}),
        **{f"word/{kind}.xml": content for kind, content in (parts or {}).items()},
    }
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in written.items():
            archive.writestr(name, content)
    return out.getvalue()


def relations(targets: Mapping[str, str]) -> str:
    written = "".join(
        f'<Relationship Id="{kind}" Type="{RELATIONS}/{kind}" Target="{target}"/>'
        for kind, target in targets.items()
    )
    space = "http://schemas.openxmlformats.org/package/2006/relationships"
    return f'<Relationships xmlns="{space}">{written}</Relationships>'


def paragraph(text: str, properties: str = "", run: str = "") -> str:
    return f"<w:p>{properties}<w:r>{run}<w:t>{text}</w:t></w:r></w:p>"


def strict(data: bytes) -> bytes:
    """The same document in the strict form."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            content = OFFICE_SPACE.sub(rb"\1http://purl.oclc.org/ooxml/\2/", old.read(name))
            new.writestr(name, content)
    return out.getvalue()


@settings(deadline=None, max_examples=20)
@given(st.integers(min_value=0))
def test_a_strict_document_reads_like_any_other(seed: int) -> None:
    document = random_document(Random(seed))
    data = strict(document.data)
    assert STRICT.encode() in zipfile.ZipFile(io.BytesIO(data)).read("_rels/.rels")
    assert Counter(words_in(text_of(data))) == Counter(document.shown)


@pytest.mark.parametrize(
    ("main", "media_type"),
    [
        ("ms-word.document.macroEnabled.main", "ms-word.document.macroenabled.12"),
        ("ms-word.template.macroEnabledTemplate.main", "ms-word.template.macroenabled.12"),
        (
            "openxmlformats-officedocument.wordprocessingml.template.main",
            "openxmlformats-officedocument.wordprocessingml.template",
        ),
    ],
)
def test_documents_with_macros_and_templates_are_read(main: str, media_type: str) -> None:
    data = package(paragraph("Some text"), main=main)
    found, reading = open_reading(Source(io.BytesIO(data), "a"))
    assert found == f"application/vnd.{media_type}"
    assert [part.text for part in reading.parts if isinstance(part, Element)] == ["Some text"]


def test_a_reference_to_a_part_that_is_not_there_spoils_nothing() -> None:
    data = package(paragraph("Some text"), {"header": "", "styles": f"<w:styles {W}/>"})
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            if name != "word/header.xml":
                new.writestr(name.replace("/", "\\"), old.read(name))
    assert text_of(out.getvalue()) == "Some text"


def test_a_note_follows_its_paragraph_and_carries_its_mark() -> None:
    note = (
        f"<w:footnotes {W}><w:footnote w:id='7'>{paragraph('Waived.')}</w:footnote></w:footnotes>"
    )
    body = "<w:p><w:r><w:t>The fee</w:t><w:footnoteReference w:id='7'/></w:r></w:p>"
    read = elements_of(package(body + paragraph("Next"), {"footnotes": note}))
    assert [(element.category, element.text) for element in read] == [
        ("Text", "The fee[1]"),
        ("Footnote", "[1] Waived."),
        ("Text", "Next"),
    ]


def test_what_a_style_hides_is_not_read_unless_it_is_shown_again() -> None:
    styles = (
        f"<w:styles {W}><w:style w:type='paragraph' w:styleId='Base'><w:rPr><w:vanish/></w:rPr>"
        "</w:style><w:style w:type='paragraph' w:styleId='Note'><w:basedOn w:val='Base'/></w:style>"
        "</w:styles>"
    )
    hidden = "<w:pPr><w:pStyle w:val='Note'/></w:pPr>"
    shown = "<w:rPr><w:vanish w:val='0'/></w:rPr>"
    body = paragraph("Hidden", hidden) + paragraph("Shown", hidden, shown) + paragraph("Plain")
    assert text_of(package(body, {"styles": styles})) == "Shown\nPlain"


def test_a_page_begins_where_word_began_one_also_after_a_link_and_in_a_table() -> None:
    begun = "<w:r><w:lastRenderedPageBreak/><w:t>two</w:t></w:r>"
    link = "<w:hyperlink w:anchor='a'><w:r><w:t>one</w:t></w:r></w:hyperlink>"
    row = "<w:tr><w:tc><w:p>{}</w:p></w:tc><w:tc><w:p>{}</w:p></w:tc></w:tr>"
    table = f"<w:tbl>{row.format('', '')}{row.format(begun, begun)}</w:tbl>"
    read = elements_of(package(f"<w:p>{link}{begun}</w:p>{table}{paragraph('last')}"))
    assert [(element.text, element.page) for element in read if element.category != "Table"] == [
        ("one", 1),
        ("two", 2),
        ("last", 3),
    ]


def test_cells_stand_in_their_columns_and_tables_in_them_are_read_to_any_depth() -> None:
    inner = paragraph("deep")
    for _ in range(40):
        inner = f"<w:tbl><w:tr><w:tc>{inner}</w:tc></w:tr></w:tbl>"
    wide = "<w:tcPr><w:gridSpan w:val='2'/></w:tcPr>"
    tall, lower = (f"<w:tcPr><w:vMerge{more}/></w:tcPr>" for more in (' w:val="restart"', ""))
    body = (
        f"<w:tbl><w:tr><w:tc>{wide}{paragraph('A')}</w:tc><w:tc>{paragraph('B')}</w:tc></w:tr>"
        f"<w:tr><w:tc>{tall}{paragraph('C')}</w:tc>"
        f"<w:tc>{inner}</w:tc><w:tc>{paragraph('D')}</w:tc></w:tr>"
        f"<w:tr><w:tc>{lower}<w:p/></w:tc><w:tc>{paragraph('E')}</w:tc></w:tr></w:tbl>"
    )
    (table,) = elements_of(package(body))
    assert table.text == "A |  | B\nC | deep | D\n | E"
    assert table.metadata["text_as_html"] == (
        '<table><tr><td colspan="2">A</td><td>B</td></tr>'
        '<tr><td rowspan="2">C</td><td>deep</td><td>D</td></tr><tr><td>E</td></tr></table>'
    )


def test_ten_thousand_of_anything_take_no_more_than_their_share() -> None:
    many = 10_000
    begin = "<w:r><w:fldChar w:fldCharType='begin'/><w:fldChar w:fldCharType='separate'/></w:r>"
    reference = "<w:r><w:footnoteReference w:id='1'/></w:r>"
    joined = "<w:p><w:pPr><w:rPr><w:del/></w:rPr></w:pPr><w:r><w:t>a</w:t></w:r></w:p>"
    note = (
        f"<w:footnotes {W}><w:footnote w:id='1'>{paragraph('b' * many)}</w:footnote></w:footnotes>"
    )
    body = f"<w:p>{begin * many}{reference * many}</w:p>{joined * many}{paragraph('c')}"
    text = text_of(package(body, {"footnotes": note}))
    assert (text.count("a"), text.count("b"), text.count("c")) == (many, many, 1)


def test_a_run_of_twenty_thousand_breaks_is_read_in_time() -> None:
    lines = "<w:br/><w:t>ab</w:t>" * 20_000
    assert text_of(package(f"<w:p><w:r>{lines}</w:r></w:p>")).count("ab") == 20_000


def test_properties_of_any_size_are_not_copied_to_each_page() -> None:
    pages = "<w:r><w:lastRenderedPageBreak/><w:t>ab </w:t></w:r>" * 3_000
    properties = f"<w:pPr>{'<w:b/>' * 30_000}</w:pPr>"
    found = elements_of(package(f"<w:p>{properties}{pages}</w:p>"))
    assert [element.page for element in found] == list(range(2, 3_002))


def test_a_chart_is_read_once_however_often_it_is_referred_to() -> None:
    space = "http://schemas.openxmlformats.org/drawingml/2006/chart"
    points = "".join(f"<c:pt idx='{n}'><c:v>{n}z</c:v></c:pt>" for n in range(500))
    chart = f"<c:chartSpace xmlns:c='{space}'><c:ser><c:val>{points}</c:val></c:ser></c:chartSpace>"
    drawing = f"<w:r><w:drawing><c:chart xmlns:c='{space}' r:id='chart'/></w:drawing></w:r>"
    text = text_of(package(f"<w:p>{drawing * 2_000}</w:p>", {"chart": chart}))
    assert text.count("499z") == 1


def test_comments_follow_their_paragraph_if_they_are_wanted() -> None:
    one = "<w:comment w:id='{}' w:author='{}'>" + paragraph("{}") + "</w:comment>"
    comments = one.format(3, "Ada  L.", "Which year?") + one.format(4, "", "Of nothing.")
    comments += one.format(5, "", "Why?")
    reference = "<w:r><w:commentReference w:id='{}'/></w:r>"
    body = (
        f"<w:p><w:r><w:t>Sales rose.</w:t></w:r>{reference.format(3)}{reference.format(3)}</w:p>"
        f"<w:tbl><w:tr><w:tc><w:p><w:r><w:t>Cell</w:t></w:r>{reference.format(5)}</w:p></w:tc>"
        f"</w:tr></w:tbl><w:del>{reference.format(4)}</w:del>"
    )
    data = package(body, {"comments": f"<w:comments {W}>{comments}</w:comments>"})
    assert [element.text for element in elements_of(data)] == ["Sales rose.", "Cell"]
    assert [element.text for element in elements_of(data, with_comments=True)] == [
        "Sales rose.",
        "[comment by Ada L.] Which year?",
        "Cell [comment] Why?",
    ]
