"""The visible text of a Word document, read only with the standard library, by ISO 29500."""

import io
import posixpath
import re
import xml.etree.ElementTree as ET
import zipfile
from collections.abc import Iterator
from html.parser import HTMLParser

_SKIPPED = {
    "del",
    "moveFrom",
    "rPrChange",
    "pPrChange",
    "tblPrChange",
    "tcPrChange",
    "trPrChange",
    "sectPrChange",
    "instrText",
    "delText",
    "delInstrText",
    "sdtPr",
    "customXmlPr",
    "smartTagPr",
    "fldData",
}
_BREAKS = {"br": "\n", "cr": "\n", "tab": "\t", "noBreakHyphen": "-"}
_OFF = ("0", "false", "off")


def letters(data: bytes) -> str:
    """The text of the body with boxes, equations, notes and imports, and of headers and footers."""
    return "".join(_Reader(data).texts())


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._package = zipfile.ZipFile(io.BytesIO(data))
        self._names = set(self._package.namelist())
        self._main = self._target("", "officeDocument") or "word/document.xml"
        self._fields: list[bool] = []  # whether the result of each open field has begun
        self._seen_notes: set[tuple[str, str]] = set()

    def texts(self) -> Iterator[str]:
        yield from self._story(self._main)
        for kind in ("header", "footer"):
            for name, target in self._targets(self._main):
                if name == kind and target in self._names:
                    yield from self._story(target)

    def _targets(self, part: str) -> Iterator[tuple[str, str]]:
        folder, name = posixpath.split(part)
        references = posixpath.join(folder, "_rels", f"{name}.rels")
        if references in self._names:
            for found in ET.fromstring(self._package.read(references)):
                if found.get("TargetMode") != "External":
                    target = posixpath.normpath(
                        posixpath.join("/", folder, found.get("Target", ""))
                    )
                    yield found.get("Type", "").rpartition("/")[2], target.lstrip("/")

    def _target(self, part: str, kind: str) -> str | None:
        return next((target for name, target in self._targets(part) if name == kind), None)

    def _story(self, part: str) -> Iterator[str]:
        root = ET.fromstring(self._package.read(part))
        yield from self._texts(root, part)

    def _texts(self, node: ET.Element, part: str) -> Iterator[str]:
        name = _local(node.tag)
        if name in _SKIPPED or _is_deleted_row(node) or _is_hidden(node) or _goes_on(node):
            return
        if name == "AlternateContent":
            for child in list(node)[:1]:
                yield from self._texts(child, part)
        elif name == "fldChar":
            self._field(_attribute(node, "fldCharType"))
        elif name == "t":
            yield (node.text or "") if all(self._fields) else ""
        elif name in _BREAKS:
            yield _BREAKS[name]
        elif name in ("footnoteReference", "endnoteReference"):
            yield from self._note(name.removesuffix("Reference"), _attribute(node, "id"))
        elif name == "altChunk":
            yield from self._imported(part, _attribute(node, "id"))
        else:
            for child in node:
                yield from self._texts(child, part)
            yield "\n" if name == "p" else ""

    def _field(self, kind: str) -> None:
        if kind == "begin":
            self._fields.append(False)
        elif self._fields and kind == "separate":
            self._fields[-1] = True
        elif self._fields:
            self._fields.pop()

    def _note(self, kind: str, identity: str) -> Iterator[str]:
        target = self._target(self._main, f"{kind}s")
        if target is None or (kind, identity) in self._seen_notes:
            return
        self._seen_notes.add((kind, identity))
        for note in ET.fromstring(self._package.read(target)):
            if _attribute(note, "id") == identity:
                yield from self._texts(note, target)

    def _imported(self, part: str, identity: str) -> Iterator[str]:
        folder, name = posixpath.split(part)
        references = ET.fromstring(self._package.read(f"{folder}/_rels/{name}.rels"))
        for found in references:
            if found.get("Id") == identity:
                target = posixpath.normpath(posixpath.join("/", folder, found.get("Target", "")))
                data = self._package.read(target.lstrip("/"))
                if data[:2] == b"PK":
                    yield letters(data)
                else:
                    yield _without_tags(data.decode())


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]


def _attribute(node: ET.Element, name: str) -> str:
    return next((value for key, value in node.attrib.items() if _local(key) == name), "")


def _child(node: ET.Element, *path: str) -> ET.Element | None:
    for name in path:
        found = next((child for child in node if _local(child.tag) == name), None)
        if found is None:
            return None
        node = found
    return node


def _is_deleted_row(node: ET.Element) -> bool:
    return _local(node.tag) == "tr" and _child(node, "trPr", "del") is not None


def _goes_on(node: ET.Element) -> bool:
    """Whether a cell is only the lower part of a cell that spans rows."""
    merge = _child(node, "tcPr", "vMerge") if _local(node.tag) == "tc" else None
    return merge is not None and _attribute(merge, "val") in ("", "continue")


def _is_hidden(node: ET.Element) -> bool:
    if _local(node.tag) != "r":
        return False
    hidden = _child(node, "rPr", "vanish")
    return hidden is not None and _attribute(hidden, "val") not in _OFF


def _without_tags(html: str) -> str:
    parser = _Texts()
    parser.feed(re.sub(r"(?s)<(title|style|script).*?</\1>", "", html))
    return "\n".join(parser.texts)


class _Texts(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
