"""The visible text of slides, read only with the standard library, by ISO 29500."""

import io
import posixpath
import re
import xml.etree.ElementTree as ET
import zipfile
from collections.abc import Iterator

_NUMBER = re.compile(r"ppt/slides/slide(\d+)\.xml")
#: The parts of a chart that hold its text; the others say how it looks.
_CHART_TEXTS = ("t", "v")
_SHAPES = ("sp", "grpSp", "graphicFrame", "pic")


def letters(data: bytes) -> str:
    """Texts of the slides, with their charts and diagrams, and of the notes."""
    with zipfile.ZipFile(io.BytesIO(data)) as package:
        return "\n".join(_texts(package))


def _texts(package: zipfile.ZipFile) -> Iterator[str]:
    presentation = ET.fromstring(package.read("ppt/presentation.xml"))
    size = next(node for node in presentation.iter() if _local(node) == "sldSz")
    slides = sorted(filter(_NUMBER.fullmatch, package.namelist()), key=_number)
    for slide in slides:
        root = ET.fromstring(package.read(slide))
        _drop_unseen(root, size)
        yield from _paragraphs(root)
        for target in _targets(package, slide):
            if "/charts/chart" in target:
                yield from _words(ET.fromstring(package.read(target)))
            elif "/diagrams/data" in target:
                yield from _points(ET.fromstring(package.read(target)))
            elif "/notesSlides/" in target:
                yield from _notes(ET.fromstring(package.read(target)))


def _drop_unseen(node: ET.Element, size: ET.Element) -> None:
    """Remove shapes that are hidden, and those that lie outside the slide."""
    for shape in list(node):
        if _local(shape) not in _SHAPES:
            _drop_unseen(shape, size)
        elif _is_hidden(shape) or (_local(node) == "spTree" and _is_outside(shape, size)):
            node.remove(shape)
        else:
            _drop_unseen(shape, size)


def _is_hidden(shape: ET.Element) -> bool:
    named = next((inner for inner in shape.iter() if _local(inner) == "cNvPr"), None)
    return named is not None and named.get("hidden") in ("1", "true")


def _is_outside(shape: ET.Element, size: ET.Element) -> bool:
    place = next((inner for inner in shape.iter() if _local(inner) == "xfrm"), None)
    if place is None or len(place) < 2:
        return False
    offset, extent = place[0], place[1]
    for along, length in (("x", "cx"), ("y", "cy")):
        start = int(offset.get(along, "0"))
        if start + int(extent.get(length, "0")) < 0 or start > int(size.get(length, "0")):
            return True
    return False


def _number(name: str) -> int:
    found = _NUMBER.fullmatch(name)
    return int(found[1]) if found else 0


def _targets(package: zipfile.ZipFile, part: str) -> Iterator[str]:
    folder, name = posixpath.split(part)
    references = f"{folder}/_rels/{name}.rels"
    if references in package.namelist():
        for found in ET.fromstring(package.read(references)):
            if found.get("TargetMode") != "External":
                yield posixpath.normpath(posixpath.join(folder, found.get("Target", "")))


def _paragraphs(node: ET.Element) -> Iterator[str]:
    if _local(node) == "AlternateContent":
        yield from _paragraphs(node[0])
    elif _local(node) == "p":
        yield "".join(text.text or "" for text in node.iter() if _local(text) == "t")
    else:
        for child in node:
            yield from _paragraphs(child)


def _words(chart: ET.Element) -> Iterator[str]:
    """Titles and values. Categories are stored with each series but shown once."""
    seen = False
    for node in chart.iter():
        if _local(node) == "title":
            yield from _paragraphs(node)
        elif _local(node) in ("tx", "val", "yVal") or (_local(node) == "cat" and not seen):
            seen = seen or _local(node) == "cat"
            yield from (text.text or "" for text in node.iter() if _local(text) == "v")


def _points(diagram: ET.Element) -> Iterator[str]:
    for point in diagram.iter():
        if _local(point) == "pt" and point.get("type", "node") == "node":
            yield from _paragraphs(point)


def _notes(notes: ET.Element) -> Iterator[str]:
    for shape in notes.iter():
        kinds = [node.get("type") for node in shape.iter() if _local(node) == "ph"]
        if _local(shape) == "sp" and kinds == ["body"]:
            yield from _paragraphs(shape)


def _local(node: ET.Element) -> str:
    return node.tag.rpartition("}")[2]
