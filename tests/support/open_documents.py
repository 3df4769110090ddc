"""Random texts of LibreOffice and books, and the words that their programs show."""

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random

from tests.support.judged_documents import JudgedDocument

_NAMES = " ".join(
    f'xmlns:{prefix}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"'
    for prefix, name in (
        ("office", "office"),
        ("text", "text"),
        ("table", "table"),
        ("draw", "drawing"),
        ("style", "style"),
        ("svg", "svg-compatible"),
    )
) + (' xmlns:xlink="http://www.w3.org/1999/xlink" xmlns:dc="http://purl.org/dc/elements/1.1/"')
_INLINE = (
    '<text:span text:style-name="T1">{}</text:span>',
    '<text:a xlink:type="simple" xlink:href="http://q0h/">{}</text:a>',
    '<text:bookmark-start text:name="q0h"/>{}<text:bookmark-end text:name="q0h"/>',
    '<text:s text:c="3"/>{}<text:tab/>',
    "{}<text:line-break/>",
    "<text:span><text:span>{}</text:span></text:span>",
    "<text:soft-page-break/>{}",
    '<text:change-start text:change-id="c1"/>{}<text:change-end text:change-id="c1"/>',
    '<text:sequence text:name="Figure">{}</text:sequence>',
    '<text:user-field-get text:name="q0h">{}</text:user-field-get>',
    '<text:placeholder text:placeholder-type="text">{}</text:placeholder>',
    '<text:bookmark-ref text:ref-name="q0h">{}</text:bookmark-ref>',
    "<text:meta>{}</text:meta>",
)
_HIDING = (
    "<office:annotation><dc:creator>{0}</dc:creator><text:p>{0}</text:p></office:annotation>",
    '<text:hidden-text text:condition="ooow:1" text:string-value="{0}" text:is-hidden="true"/>',
    '<text:user-index-mark text:string-value="{0}"/>',
    "<draw:frame><draw:image xlink:href='{0}.png'/><svg:title>{0}</svg:title></draw:frame>",
)
_BOXES = (
    "<draw:frame><draw:text-box>{}</draw:text-box></draw:frame>",
    "<draw:custom-shape>{}<draw:enhanced-geometry/></draw:custom-shape>",
    "<draw:g><draw:rect>{}</draw:rect></draw:g>",
)


@dataclass
class _Writer:
    random: Random
    shown: list[str] = field(default_factory=list)
    count: int = 0

    def word(self, words: list[str]) -> str:
        self.count += 1
        words.append(f"q{self.count}z")
        return words[-1]

    def inline(self, words: list[str], beside: list[str], depth: int) -> str:
        kind = self.random.choice(["plain"] * 3 + ["shown"] * 4 + ["hidden", "note", "box"])
        if kind == "shown":
            return self.random.choice(_INLINE).format(self.word(words))
        if kind == "hidden":
            return self.random.choice(_HIDING).format("q0h")
        if kind == "note" and depth < 1:
            note = self.paragraph(beside, depth + 1)
            return (
                '<text:note text:note-class="footnote"><text:note-citation>1</text:note-citation>'
                f"<text:note-body>{note}</text:note-body></text:note>"
            )
        if kind == "box" and depth < 1:
            inner = "".join(self.paragraph(beside, depth + 1) for _ in range(2))
            return self.random.choice(_BOXES).format(inner)
        return f" {self.word(words)} "

    def paragraph(self, words: list[str], depth: int) -> str:
        beside: list[str] = []
        count = self.random.randint(1, 4)
        content = "".join(self.inline(words, beside, depth) for _ in range(count))
        words.extend(beside)
        if self.random.random() < 0.2 and not beside:
            return f'<text:h text:outline-level="2">{content}</text:h>'
        return f"<text:p>{content}</text:p>"

    def table(self, words: list[str], depth: int) -> str:
        width = self.random.randint(1, 3)
        rows = []
        for _ in range(self.random.randint(1, 3)):
            cells = "".join(
                f"<table:table-cell>{self.paragraph(words, 1)}</table:table-cell>"
                for _ in range(width)
            )
            rows.append(f"<table:table-row>{cells}</table:table-row>")
        head = f"<table:table-header-rows>{rows[0]}</table:table-header-rows>"
        columns = f'<table:table-column table:number-columns-repeated="{width}"/>'
        return f"<table:table>{columns}{head}{''.join(rows[1:])}</table:table>"

    def block(self, words: list[str], depth: int) -> str:
        kind = self.random.choice(["p"] * 5 + ["table", "list", "section", "hidden", "index"])
        if kind == "table":
            return self.table(words, depth)
        if kind == "list" and depth < 3:
            items = "".join(
                f"<text:list-item>{self.block(words, depth + 1)}</text:list-item>" for _ in range(2)
            )
            return f"<text:list>{items}</text:list>"
        if kind == "section" and depth < 3:
            inner = self.block(words, depth + 1)
            return f'<text:section text:name="q0h">{inner}</text:section>'
        if kind == "index" and depth < 3:
            inner = self.paragraph(words, 1)
            return (
                "<text:table-of-content><text:table-of-content-source><text:index-title-template>"
                "q0h</text:index-title-template></text:table-of-content-source><text:index-body>"
                f"{inner}</text:index-body></text:table-of-content>"
            )
        if kind == "hidden":
            return '<text:section text:display="none"><text:p>q0h</text:p></text:section>'
        return self.paragraph(words, 0)


def random_odt(random: Random) -> JudgedDocument:
    """A text of LibreOffice."""
    writer, words = _Writer(random), list[str]()
    head, foot = writer.word([]), writer.word([])
    body = "".join(writer.block(words, 0) for _ in range(random.randint(1, 6)))
    last = f"<text:p>{writer.word(words)}</text:p>"
    changes = (
        "<text:tracked-changes><text:changed-region text:id='c2'><text:deletion>"
        "<text:p>q0h</text:p></text:deletion></text:changed-region></text:tracked-changes>"
    )
    masters = (
        f'<style:master-page style:name="Standard"><style:header><text:p>{head}</text:p>'
        f"</style:header><style:footer><text:p>{foot}</text:p></style:footer></style:master-page>"
    )
    return JudgedDocument(with_text(changes + body + last, masters=masters), [head, *words, foot])


def with_text(
    body: str, parts: Mapping[str, str] | None = None, *, styles: str = "", masters: str = ""
) -> bytes:
    """A text of LibreOffice with this body, these other parts, and its styles."""
    content = (
        f"<office:document-content {_NAMES}><office:automatic-styles>{styles}"
        f"</office:automatic-styles><office:body><office:text>{body}</office:text></office:body>"
        "</office:document-content>"
    )
    pages = (
        f"<office:document-styles {_NAMES}><office:master-styles>{masters}</office:master-styles>"
        "</office:document-styles>"
    )
    written = {"content.xml": content, "styles.xml": pages, "META-INF/manifest.xml": _MANIFEST}
    return _zipped("application/vnd.oasis.opendocument.text", {**written, **(parts or {})})


_MANIFEST = (
    '<manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0">'
    '<manifest:file-entry manifest:full-path="/" '
    'manifest:media-type="application/vnd.oasis.opendocument.text"/></manifest:manifest>'
)


def random_epub(random: Random) -> JudgedDocument:
    """A book of a few chapters; the order of the files is not that of the book."""
    writer, words = _Writer(random), list[str]()
    chapters = []
    for _ in range(random.randint(1, 4)):
        blocks = [f"<h1>{writer.word(words)}</h1>"]
        blocks += [_book_block(writer, words) for _ in range(random.randint(0, 5))]
        chapters.append("".join(blocks))
    names = [f"c{number}.xhtml" for number in range(len(chapters))]
    files = dict(zip(names, chapters, strict=True))
    shuffled = random.sample(names, len(names))
    items = "".join(
        f'<item id="{name}" href="text/{name}" media-type="application/xhtml+xml"/>'
        for name in shuffled
    )
    spine = "".join(f'<itemref idref="{name}"/>' for name in names)
    package = (
        '<package xmlns="http://www.idpf.org/2007/opf" version="3.0" unique-identifier="i">'
        '<metadata xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:identifier id="i"/>'
        f"<dc:title>A book</dc:title><dc:language>en</dc:language></metadata><manifest>{items}"
        f'<item id="nav" href="nav.xhtml" media-type="application/xhtml+xml" properties="nav"/>'
        f"</manifest><spine>{spine}</spine></package>"
    )
    container = (
        '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container" version="1.0">'
        '<rootfiles><rootfile full-path="b/p.opf" media-type="application/oebps-package+xml"/>'
        "</rootfiles></container>"
    )
    parts = {"META-INF/container.xml": container, "b/p.opf": package, "b/nav.xhtml": _page("q0h")}
    parts |= {f"b/text/{name}": _page(files[name]) for name in shuffled}
    return JudgedDocument(_zipped("application/epub+zip", parts), words)


def _book_block(writer: _Writer, words: list[str]) -> str:
    forms = (
        "<p>{} <em>{}</em></p>",
        "<ul><li>{}</li><li><p>{}</p></li></ul>",
        "<blockquote><p>{}</p></blockquote><p>{}</p>",
        "<table><tr><td>{}</td><td>{}</td></tr></table>",
        "<section><h2>{}</h2><div>{}</div></section>",
        "<p hidden='hidden'>q0h</p><pre>{} {}</pre>",
        "<figure><img src='q0h.png' alt=''/><figcaption>{}</figcaption></figure><p>{}</p>",
        "<dl><dt>{}</dt><dd>{}</dd></dl>",
        "<!-- q0h --><aside epub:type='sidebar'><p>{}</p></aside><p>{}<br/></p>",
        "<p><ruby>{}<rt>{}</rt></ruby></p>",
        "<details><summary>{}</summary><p>{}</p></details>",
        "<p><span style='x'>{}</span><a href='c0.xhtml'>{}</a></p>",
    )
    form = writer.random.choice(forms)
    return form.format(*(writer.word(words) for _ in range(form.count("{}"))))


def _page(body: str) -> str:
    return (
        '<?xml version="1.0" encoding="utf-8"?><html xmlns="http://www.w3.org/1999/xhtml" '
        'xmlns:epub="http://www.idpf.org/2007/ops"><head><title>q0h</title><style>q0h</style>'
        f"</head><body>{body}</body></html>"
    )


def _zipped(media_type: str, parts: dict[str, str]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as package:
        package.writestr("mimetype", media_type)
        for name, content in parts.items():
            package.writestr(name, content)
    return out.getvalue()
