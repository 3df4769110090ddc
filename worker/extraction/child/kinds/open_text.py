"""ODT: the text as LibreOffice shows it, turned into HTML and read as a web page.

Each step is one pass over the XML. Hidden and deleted text is removed, notes and boxes are put
after the paragraph that they are anchored to, the rest gets the tags of HTML.
"""

import io
import zipfile
from collections.abc import Iterator
from typing import Any

from lxml import etree  # type: ignore[import-untyped]  # ships no types

from docmill.worker.errors import JobError
from docmill.worker.extraction.child.archive import check_archive, check_unlocked
from docmill.worker.extraction.child.kinds.base import Reading, Source
from docmill.worker.extraction.child.kinds.web import html_reading
from docmill.worker.extraction.shared.parts import ReadPart
from docmill.worker.models import Element

_SPACE = "urn:oasis:names:tc:opendocument:xmlns"
_TEXT, _TABLE, _DRAW, _STYLE, _OFFICE = (
    f"{{{_SPACE}:{name}:1.0}}" for name in ("text", "table", "drawing", "style", "office")
)
_LINK = "{http://www.w3.org/1999/xlink}href"
_MATH = "{http://www.w3.org/1998/Math/MathML}"
#: Never shown in the text.
_REMOVED = (
    f"{_OFFICE}annotation",
    f"{_OFFICE}forms",
    f"{_TEXT}tracked-changes",
    f"{_TEXT}note-citation",
    f"{_TEXT}sequence-decls",
    f"{_TEXT}user-field-decls",
    f"{_TEXT}variable-decls",
    f"{_TEXT}dde-connection-decls",
    f"{_TABLE}covered-table-cell",
    f"{_TABLE}table-column",
    f"{_TABLE}table-columns",
    f"{_TABLE}table-header-columns",
    f"{_TABLE}desc",
    f"{_TABLE}title",
    f"{{{_SPACE}:svg-compatible:1.0}}title",
    f"{{{_SPACE}:svg-compatible:1.0}}desc",
    *(
        f"{_TEXT}{index}-source"
        for index in (
            *("table-of-content", "illustration-index", "table-index", "object-index"),
            *("user-index", "alphabetical-index", "bibliography"),
        )
    ),
)
_TAGS = {
    f"{_TEXT}p": "p",
    f"{_TEXT}a": "a",
    f"{_TEXT}span": "span",
    f"{_TEXT}list": "ul",
    f"{_TEXT}list-item": "li",
    f"{_TEXT}list-header": "li",
    f"{_TEXT}line-break": "br",
    f"{_TABLE}table": "table",
    f"{_TABLE}table-header-rows": "thead",
    f"{_TABLE}table-rows": "tbody",
    f"{_TABLE}table-row-group": "tbody",
    f"{_TABLE}table-row": "tr",
    f"{_TABLE}table-cell": "td",
}
_PARAGRAPHS = (f"{_TEXT}p", f"{_TEXT}h")
_BLANKS = (f"{_TEXT}tab", f"{_TEXT}s")
_SPANS = {"colspan": f"{_TABLE}number-columns-spanned", "rowspan": f"{_TABLE}number-rows-spanned"}
#: Blocks within a paragraph, which are put after it.
_BESIDE = (
    f"{_TEXT}note-body",
    f"{_DRAW}text-box",
    *(
        f"{_DRAW}{shape}"
        for shape in (
            *("custom-shape", "rect", "ellipse", "circle", "line", "polyline", "polygon", "path"),
            *("regular-polygon", "connector", "caption", "measure"),
        )
    ),
)
_HEADS = (
    ("Header", ("header", "header-first", "header-left")),
    ("Footer", ("footer", "footer-first", "footer-left")),
)
_DEEPEST_HEADING = 6
_TITLE_STYLE = "Title"


def read_odt(source: Source) -> Reading:
    """Headings, paragraphs, lists, tables, notes, boxes; heads and feet once. Raises JobError."""
    check_archive(source.file)
    check_unlocked(source.file)
    archive = zipfile.ZipFile(source.file)
    content, styles, facts = (
        _root(archive, name) for name in ("content.xml", "styles.xml", "meta.xml")
    )
    body = next(content.iter(f"{_OFFICE}text"), None) if content is not None else None
    if body is None:
        raise JobError("corrupt", "ODT without a text")
    title = facts.findtext(".//{*}title") if facts is not None else None
    looks = _Looks(content, styles)
    return Reading(_parts(archive, body, styles, looks), title=(title or "").strip() or None)


def _parts(archive: zipfile.ZipFile, body: Any, styles: Any, looks: "_Looks") -> Iterator[ReadPart]:
    heads = dict(_beside_pages(styles, looks)) if styles is not None else {}
    yield from (Element("Header", text) for text in heads.get("Header", ()))
    _write_formulas(archive, body)
    _simplify(body, looks)
    markup = etree.tostring(body, encoding="unicode", method="html", with_tail=False)
    yield from html_reading(f"<html><body>{markup}</body></html>", is_site=False).parts
    yield from (Element("Footer", text) for text in heads.get("Footer", ()))


def _root(archive: zipfile.ZipFile, path: str) -> Any:
    """The root of a part; None if it is missing. Raises JobError if it is no XML."""
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True
    )
    try:
        return etree.parse(io.BytesIO(archive.read(path)), parser).getroot()
    except KeyError:
        return None
    except etree.XMLSyntaxError:
        raise JobError("corrupt", path) from None


class _Looks:
    """The few facts about styles that matter: which hide text, and which are the title's."""

    def __init__(self, *roots: Any) -> None:
        self.hidden: set[str] = set()
        self.titles = {_TITLE_STYLE}
        for style in (one for root in roots if root is not None for one in root.iter()):
            if style.tag != f"{_STYLE}style":
                continue
            name = style.get(f"{_STYLE}name", "")
            looks = next(style.iterchildren(f"{_STYLE}text-properties"), None)
            if looks is not None and looks.get(f"{_TEXT}display") == "none":
                self.hidden.add(name)
            if style.get(f"{_STYLE}parent-style-name") == _TITLE_STYLE:
                self.titles.add(name)


def _beside_pages(styles: Any, looks: _Looks) -> Iterator[tuple[str, list[str]]]:
    """Texts of all heads and feet of pages, each once."""
    for category, names in _HEADS:
        texts: dict[str, None] = {}
        for story in styles.iter(*(f"{_STYLE}{name}" for name in names)):
            if story.get(f"{_STYLE}display") == "false":
                continue
            _simplify(story, looks)
            lines = (" ".join("".join(one.itertext()).split()) for one in story.iter("p", "h1"))
            texts["\n".join(filter(None, lines))] = None
        yield category, list(filter(None, texts))


def _write_formulas(archive: zipfile.ZipFile, body: Any) -> None:
    """Replace objects that are formulas by their text; other objects have none."""
    for thing in list(body.iter(f"{_DRAW}object")):
        path = thing.get(_LINK, "").removeprefix("./")
        root = _root(archive, f"{path}/content.xml") if path else next(thing.iterchildren(), None)
        if root is None or not str(root.tag).startswith(_MATH):
            continue
        written = root.findtext(f".//{_MATH}annotation") or "".join(root.itertext())
        thing.clear(keep_tail=True)
        thing.tag, thing.text = "span", f" {' '.join(written.split())} "


def _simplify(body: Any, looks: _Looks) -> None:
    """Turn a story into the tags of HTML."""
    for node in list(body.iter(etree.Element)):
        if _is_unseen(node, looks):
            _remove(node)
    _write_marks(body)
    _set_beside(body)
    for node in list(body.iter(etree.Element)):
        _rename(node, looks)


def _is_unseen(node: Any, looks: _Looks) -> bool:
    if node.tag in _REMOVED:
        return True
    if node.tag == f"{_TEXT}section":
        return str(node.get(f"{_TEXT}display")) == "none"
    if node.tag in (f"{_TEXT}hidden-paragraph", f"{_TEXT}hidden-text"):
        return str(node.get(f"{_TEXT}is-hidden")) == "true"
    return node.get(f"{_TEXT}style-name", "") in looks.hidden


def _remove(node: Any) -> None:
    """Remove a node, and keep the text after it."""
    parent = node.getparent()
    if node.tail and node.tail.strip():
        # Joining the texts around very many nodes would take time that grows with their square.
        node.clear(keep_tail=True)
        node.tag = "span"
    elif parent is not None:
        parent.remove(node)


def _write_marks(body: Any) -> None:
    """Write blanks, readings of ruby and marks of notes as text."""
    for blank in list(body.iter(*_BLANKS)):
        blank.tag, blank.text = "span", " "
    for reading in body.iter(f"{_TEXT}ruby-text"):
        reading.text = f"({reading.text})" if reading.text else ""
    counts = {"footnote": 0, "endnote": 0}
    for note in body.iter(f"{_TEXT}note"):
        kind = note.get(f"{_TEXT}note-class", "footnote")
        counts[kind] = counts.get(kind, 0) + 1
        mark = f"[{counts[kind]}]" if kind == "footnote" else f"[{kind[0]}{counts[kind]}]"
        note.text = mark
        first = next(note.iter(*_PARAGRAPHS), None)
        if first is not None:
            first.text = f"{mark} {first.text or ''}"


def _set_beside(body: Any) -> None:
    """Move blocks in a paragraph after it, in the order in which they are anchored."""
    last: dict[Any, Any] = {}
    for node in list(body.iter(*_BESIDE)):
        anchor = next(node.iterancestors(*_PARAGRAPHS), None)
        if anchor is None:
            continue
        tail, node.tail = node.tail, None
        if tail:
            node.addprevious(node.makeelement("span"))
            node.getprevious().text = tail
        last.get(anchor, anchor).addnext(node)
        last[anchor] = node


def _rename(node: Any, looks: _Looks) -> None:
    attributes = {}
    if node.tag == f"{_TEXT}h":
        level = node.get(f"{_TEXT}outline-level", "1")
        tag = f"h{min(int(level), _DEEPEST_HEADING) or 1}" if level.isdecimal() else "h1"
    elif node.tag == f"{_TEXT}p" and node.get(f"{_TEXT}style-name") in looks.titles:
        tag = "h1"
    elif node.tag in _TAGS:
        tag = _TAGS[node.tag]
    else:
        inside = next(node.iterancestors("p", *(f"h{n}" for n in range(1, 7))), None)
        tag = "div" if inside is None else "span"
    if tag == "a":
        attributes["href"] = node.get(_LINK, "")
    elif tag == "td":
        attributes = {name: node.get(own) for name, own in _SPANS.items() if node.get(own)}
    node.attrib.clear()
    node.tag = tag
    node.attrib.update(attributes)
