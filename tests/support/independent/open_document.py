"""The visible text of ODT files and EPUB books, read only with the standard library."""

import io
import posixpath
import xml.etree.ElementTree as ET
import zipfile
from collections.abc import Iterator

from tests.support.independent import web

_UNSEEN = {"annotation", "tracked-changes", "note-citation", "forms", "title", "desc", "image"}
_BLANKS = {"tab": "\t", "s": " ", "line-break": "\n"}


def odt_letters(data: bytes) -> str:
    """The text with its notes and boxes where they are anchored, then heads and feet of pages."""
    with zipfile.ZipFile(io.BytesIO(data)) as package:
        content = ET.fromstring(package.read("content.xml"))
        styles = ET.fromstring(package.read("styles.xml"))
    texts = [node for node in content.iter() if _local(node) == "text"]
    stories = [node for node in styles.iter() if _local(node) in ("header", "footer")]
    return "".join(text for node in [*texts[:1], *stories] for text in _texts(node))


def _texts(node: ET.Element) -> Iterator[str]:
    name = _local(node)
    display = next((value for key, value in node.items() if key.endswith("}display")), "")
    if name in _UNSEEN or name.endswith("-source") or (name == "section" and display == "none"):
        return
    yield _BLANKS.get(name, node.text or "")
    for child in node:
        yield from _texts(child)
        yield child.tail or ""
    if name in ("p", "h"):
        yield "\n"


def epub_letters(data: bytes) -> str:
    """The pages of the book in the order of its spine."""
    with zipfile.ZipFile(io.BytesIO(data)) as book:
        container = ET.fromstring(book.read("META-INF/container.xml"))
        path = next(node.get("full-path", "") for node in container.iter() if node.get("full-path"))
        package = ET.fromstring(book.read(path))
        hrefs = {
            node.get("id", ""): node.get("href", "")
            for node in package.iter()
            if _local(node) == "item"
        }
        spine = [node.get("idref", "") for node in package.iter() if _local(node) == "itemref"]
        paths = [posixpath.join(posixpath.dirname(path), hrefs[name]) for name in spine]
        return "\n".join(web.lines(book.read(one)) for one in paths)


def _local(node: ET.Element) -> str:
    return node.tag.rpartition("}")[2]
