"""Reads the drawings on an Excel sheet: text boxes, shapes, charts, SmartArt."""

import zipfile
from collections.abc import Iterator
from typing import Any

from lxml import etree  # type: ignore[import-untyped]  # ships no types

from docmill.worker.extraction.child.kinds.ooxml import graphics
from docmill.worker.extraction.child.kinds.ooxml.alternatives import keep_one_alternative
from docmill.worker.extraction.child.kinds.ooxml.hidden_shapes import drop_hidden_shapes
from docmill.worker.extraction.child.kinds.ooxml.names import CX, DGM, XDR, C
from docmill.worker.extraction.child.kinds.ooxml.package import targets_of
from docmill.worker.extraction.child.kinds.tables import table_elements
from docmill.worker.models import Element

_REFERRING = (f"{C}chart", f"{CX}chart", f"{DGM}relIds")


def drawn_on(package: zipfile.ZipFile, sheet: str) -> Iterator[Element]:
    """Elements of the drawings on the sheet with this path, in their order."""
    for path in dict.fromkeys(targets_of(package, sheet).values()):
        if "/drawings/" in path and path.endswith(".xml"):
            root = _root(package, path)
            if root is not None:
                yield from _elements(package, path, root)


def _elements(package: zipfile.ZipFile, path: str, root: Any) -> Iterator[Element]:
    keep_one_alternative(root)
    drop_hidden_shapes(root)
    targets = targets_of(package, path)
    read: set[str] = set()  # each is read once; a drawing may refer to one any number of times
    for node in root.iter(f"{XDR}txBody", *_REFERRING):
        if node.tag == f"{XDR}txBody":
            text = "\n".join(graphics.paragraphs(node))
            yield from [Element("Text", text)] if text else []
            continue
        target = targets.get(graphics.reference_of(node))
        part = _root(package, target) if target is not None and target not in read else None
        read.add(target or "")
        if part is not None:
            yield from graphics_elements(node, part)


def graphics_elements(node: Any, part: Any) -> Iterator[Element]:
    """Elements of a chart, as a table under its title, or of a SmartArt, as a list."""
    if node.tag == f"{DGM}relIds":
        yield from (Element("ListItem", line) for line in graphics.diagram_lines(part))
        return
    yield from table_elements(graphics.chart_rows(part))


def _root(package: zipfile.ZipFile, path: str) -> Any:
    try:
        return graphics.parsed(package.read(path))
    except (KeyError, etree.XMLSyntaxError):
        return None
