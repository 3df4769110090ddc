"""Reads the text of charts, SmartArt and shapes of DrawingML."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from lxml import etree  # type: ignore[import-untyped]  # ships no types

from docmill.worker.extraction.child.kinds.ooxml.names import CX, DGM, A, C, R
from docmill.worker.extraction.child.kinds.ooxml.number_formats import format_of

#: How many points of a chart are read; a normal chart has fewer.
MAX_POINTS = 2_000
#: Excel's own limit.
_MAX_SERIES = 255
_BREAKS = {f"{A}br": "\n", f"{A}tab": "\t"}
_PARSER = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)

_NUMBERS = frozenset({f"{C}numCache", f"{C}numLit"})

#: Finds the bytes of the file that a relationship names; None if there is none.
FindPart = Callable[[str], bytes | None]


def parsed(data: bytes) -> Any:
    """The root of a part's XML. Raises XMLSyntaxError."""
    return etree.fromstring(data, _PARSER)


def paragraphs(node: Any) -> Iterator[str]:
    """Text of each paragraph of DrawingML below a node, without the blank ones."""
    for paragraph in node.iter(f"{A}p"):
        text = paragraph_text(paragraph)
        if text.strip():
            yield text


def paragraph_text(paragraph: Any) -> str:
    """Text of one paragraph of DrawingML."""
    texts = (_BREAKS.get(node.tag, node.text or "") for node in paragraph.iter(f"{A}t", *_BREAKS))
    return "".join(texts)


def diagram_lines(root: Any) -> Iterator[str]:
    """Text of each point of a SmartArt's data part, in order, as a list."""
    for point in root.iter(f"{DGM}pt"):
        # Points that the layout made would repeat the text.
        if point.get("type", "node") in ("node", "asst", "doc"):
            yield from paragraphs(point)


def chart_rows(root: Any) -> Iterator[list[str]]:
    """A chart as a table: its titles, the names of its series, a row for each category."""
    yield from ([text] for title in root.iter(f"{C}title", f"{CX}title") for text in _words(title))
    series = list(islice(root.iter(f"{C}ser", f"{CX}data"), _MAX_SERIES))
    if not series:
        return
    names = [_name(one) for one in _series_names(root, series)]
    columns = [_points(one, "val", "yVal", "bubbleSize") for one in series]
    categories = _categories(series)
    if any(names):
        yield ["", *names]
    for number in sorted({key for points in [categories, *columns] for key in points})[:MAX_POINTS]:
        yield [categories.get(number, ""), *(points.get(number, "") for points in columns)]


def _series_names(root: Any, series: list[Any]) -> list[Any]:
    newer = list(root.iter(f"{CX}series"))
    return newer[: len(series)] if newer else series


def _words(node: Any) -> Iterator[str]:
    yield from paragraphs(node)
    for shown in node.iter(f"{C}v", f"{CX}v"):
        yield (shown.text or "").strip()


def _name(series: Any) -> str:
    for text in series.iterchildren(f"{C}tx", f"{CX}tx"):
        return " ".join(_words(text))
    return ""


def _categories(series: list[Any]) -> dict[int, str]:
    """The categories of the first series that has some; levels are joined in one text."""
    for one in series:
        if points := _points(one, "cat", "xVal"):
            return points
    return {}


def _points(series: Any, *names: str) -> dict[int, str]:
    """Values by their number."""
    points: dict[int, str] = {}
    for holder in _holders(series, names):
        for point in holder.iter(f"{C}pt", f"{CX}pt"):
            number, text = point.get("idx", ""), _shown(point)
            if number.isdecimal() and text and len(points) < MAX_POINTS:
                # Levels are listed from the inner to the outer one.
                key = int(number)
                points[key] = f"{text} {points[key]}" if key in points else text
    return points


def _shown(point: Any) -> str:
    """The text of a point; a number in the format of the sheet that it comes from."""
    text = " ".join(point.itertext()).strip()
    cache = point.getparent()
    if cache.tag not in _NUMBERS:
        return text
    code = point.get("formatCode") or cache.findtext(f"{C}formatCode")
    try:
        return format_of(code)(float(text))
    except (ValueError, OverflowError):
        return text


def _holders(series: Any, names: Iterable[str]) -> Iterator[Any]:
    yield from series.iterchildren(*(f"{C}{name}" for name in names))
    wanted = {"strDim": "cat", "numDim": "val"}
    for dimension in series.iterchildren(f"{CX}strDim", f"{CX}numDim"):
        if wanted[etree.QName(dimension).localname] in names:
            yield dimension


def finder(part: Any) -> FindPart:
    """Finds the parts that a part refers to, and reads each once, however often it is named."""
    found: set[str] = set()

    def find(name: str) -> bytes | None:
        relation = part.rels.get(name)
        if relation is None or relation.is_external or relation.target_part.partname in found:
            return None
        found.add(relation.target_part.partname)
        blob: bytes = relation.target_part.blob
        return blob

    return find


def reference_of(node: Any) -> str:
    """The name by which a chart or SmartArt refers to the part with its text."""
    return str(node.get(f"{R}dm" if node.tag == f"{DGM}relIds" else f"{R}id", ""))


def lines_of(node: Any, find_part: FindPart) -> list[str]:
    """The text of a chart or SmartArt that a node refers to; empty if it cannot be read."""
    data = find_part(reference_of(node))
    if data is None:
        return []
    try:
        root = parsed(data)
    except etree.XMLSyntaxError:
        return []
    if node.tag == f"{DGM}relIds":
        return list(diagram_lines(root))
    return [" | ".join(row).strip(" |") for row in chart_rows(root)]
