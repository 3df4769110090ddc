"""The contents of an XLSX workbook's cells, read only with the standard library."""

import io
import posixpath
import xml.etree.ElementTree as ET
import zipfile
from collections.abc import Iterator

_PHONETIC = "rPh"


def letters(data: bytes) -> str:
    """Texts of cells in visible sheets, and of drawings on them, without formats."""
    return "\n".join(texts(data))


def texts(data: bytes) -> Iterator[str]:
    """The text of each cell, and of each paragraph in a drawing."""
    with zipfile.ZipFile(io.BytesIO(data)) as package:
        names = package.namelist()
        strings = (
            [_text(item) for item in ET.fromstring(package.read("xl/sharedStrings.xml"))]
            if "xl/sharedStrings.xml" in names
            else []
        )
        for path in _visible_sheets(package):
            yield from _cells(ET.fromstring(package.read(path)), strings)
        for name in names:
            if name.startswith("xl/drawings/") and name.endswith(".xml"):
                drawing = ET.fromstring(package.read(name))
                yield from (_text(node) for node in drawing.iter() if _local(node) == "p")


def _visible_sheets(package: zipfile.ZipFile) -> Iterator[str]:
    relations = ET.fromstring(package.read("xl/_rels/workbook.xml.rels"))
    targets = {found.get("Id"): found.get("Target", "") for found in relations}
    for node in ET.fromstring(package.read("xl/workbook.xml")).iter():
        if _local(node) == "sheet" and node.get("state", "visible") == "visible":
            identity = next(value for name, value in node.items() if name.endswith("}id"))
            yield posixpath.normpath(posixpath.join("/xl", targets[identity])).lstrip("/")


def _cells(sheet: ET.Element, strings: list[str]) -> Iterator[str]:
    for cell in sheet.iter():
        if _local(cell) != "c":
            continue
        for child in cell:
            if _local(child) == "v" and child.text:
                yield strings[int(child.text)] if cell.get("t") == "s" else child.text
            elif _local(child) == "is":
                yield _text(child)


def _text(node: ET.Element) -> str:
    if _local(node) == _PHONETIC:
        return ""
    own = node.text or "" if _local(node) == "t" else ""
    return own + "".join(map(_text, node))


def _local(node: ET.Element) -> str:
    return node.tag.rpartition("}")[2]
