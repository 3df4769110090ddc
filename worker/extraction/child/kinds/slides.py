"""Slides: unstructured reads shapes; docmill reads charts, SmartArt and equations itself."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from lxml import etree  # type: ignore[import-untyped]  # ships no types
from pptx.oxml import parse_xml
from pptx.shapes.group import GroupShape
from pptx.shapes.picture import Picture
from unstructured.documents.elements import Element as Found
from unstructured.partition.pptx import PptxPartitionerOptions, _PptxPartitioner

from docmill.worker.extraction.child.kinds.ooxml import graphics
from docmill.worker.extraction.child.kinds.ooxml.alternatives import (
    keep_one_alternative,
    replace_with,
)
from docmill.worker.extraction.child.kinds.ooxml.equations import linear
from docmill.worker.extraction.child.kinds.ooxml.hidden_shapes import drop_hidden_shapes
from docmill.worker.extraction.child.kinds.ooxml.names import CX, DGM, A, C, M, P
from docmill.worker.extraction.child.kinds.ooxml.sheet_drawings import graphics_elements
from docmill.worker.models import Element

_REFERRING = (f"{C}chart", f"{CX}chart", f"{DGM}relIds")
_EQUATIONS = (f"{M}oMathPara", f"{M}oMath")


def partition_slides(file: BinaryIO) -> tuple[int, Iterator[Found | Element]]:
    """The number of slides, and their content, slide by slide, notes first.

    `file` is a plain package: see ooxml.package. A broken file may raise anything.
    """
    options = PptxPartitionerOptions(
        file=file,
        file_path=None,
        include_page_breaks=False,
        include_slide_notes=True,
        infer_table_structure=True,
        strategy="fast",
    )
    partitioner = _Partitioner(options)
    return len(partitioner.slides), partitioner.elements()


class _Partitioner(_PptxPartitioner):
    @property
    def slides(self) -> Any:
        return self._presentation.slides

    def elements(self) -> Iterator[Found | Element]:
        for slide in self.slides:
            for _page_break in self._opts.increment_page_number():
                pass
            keep_one_alternative(slide.element)
            drop_hidden_shapes(slide.element)
            _drop_ink(slide.element)
            _write_equations(slide.element)
            yield from self._iter_maybe_slide_notes(slide)
            title, shapes = self._order_shapes(slide)
            find_part = graphics.finder(slide.part)
            for shape in shapes:
                yield from self._elements_of(shape, title, find_part)

    def _elements_of(
        self, shape: Any, title: Any, find_part: graphics.FindPart
    ) -> Iterator[Found | Element]:
        if shape.has_table:
            yield from self._iter_table_element(shape)
        elif shape.has_text_frame:
            is_title = shape == title
            read = self._iter_title_shape_element if is_title else self._iter_shape_elements
            yield from read(shape)
        elif not isinstance(shape, Picture):
            for found in _drawn(shape.element, find_part):
                yield Element(found.category, found.text, self._opts.page_number)

    def _order_shapes(self, slide: Any) -> tuple[Any, list[Any]]:
        """The title, and all shapes from top to bottom, those in groups at their place."""
        placed = sorted(_placed(slide.shapes), key=lambda one: one[0])
        return slide.shapes.title, [shape for _place, shape in placed]

    def _shape_is_off_slide(self, shape: Any) -> bool:
        # Positions within a group are relative to it; and a shape that begins outside may reach in.
        if shape.element.getparent().tag != shape.part.slide.shapes.element.tag:
            return False
        place = (shape.left, shape.top, shape.width, shape.height)
        if None in place:
            return False
        left, top, width, height = place
        slide_width = self._presentation.slide_width or left + 1
        slide_height = self._presentation.slide_height or top + 1
        is_beside = left + width < 0 or left > slide_width
        return bool(is_beside or top + height < 0 or top > slide_height)


@dataclass(frozen=True)
class _Frame:
    """Turns the places in a group into places on the slide."""

    left: float = 0
    top: float = 0
    across: float = 1
    down: float = 1

    def place(self, left: float, top: float) -> tuple[float, float]:
        """First from the top, because shapes are read in this order."""
        return self.top + top * self.down, self.left + left * self.across

    def of_group(self, group: Any) -> "_Frame":
        """The frame for the shapes in a group, whose own places are in this frame."""
        own = group.find(f"{P}grpSpPr/{A}xfrm")
        numbers = [_numbers(own, f"{A}{name}") for name in ("off", "chOff", "ext", "chExt")]
        if any(found is None for found in numbers):
            return self
        (x, y), (inner_x, inner_y), (wide, high), (inner_wide, inner_high) = filter(None, numbers)
        across, down = wide / (inner_wide or wide or 1), high / (inner_high or high or 1)
        top, left = self.place(x - inner_x * across, y - inner_y * down)
        return _Frame(left, top, self.across * across, self.down * down)


def _numbers(transform: Any, name: str) -> tuple[float, float] | None:
    node = transform.find(name) if transform is not None else None
    values = list(node.attrib.values()) if node is not None else []
    try:
        return (float(values[0]), float(values[1])) if len(values) == 2 else None
    except ValueError:
        return None


def _placed(shapes: Any) -> Iterator[tuple[tuple[float, float], Any]]:
    """All shapes with their places on the slide."""
    stack = [(iter(shapes), _Frame())]
    while stack:
        inside, frame = stack[-1]
        shape = next(inside, None)
        if shape is None:
            stack.pop()
        elif isinstance(shape, GroupShape):
            stack.append((iter(shape.shapes), frame.of_group(shape.element)))
        else:
            yield frame.place(shape.left or 0, shape.top or 0), shape


def _drop_ink(root: Any) -> None:
    """Remove drawings by hand: python-pptx fails at them if they are no alternative."""
    for ink in list(root.iter(f"{P}contentPart")):
        replace_with(ink, [])


def _write_equations(root: Any) -> None:
    for equation in list(root.iter(*_EQUATIONS)):
        if next(equation.iterancestors(*_EQUATIONS), None) is not None:
            continue
        place = next(equation.iterancestors(f"{A}p"), None)
        # An element between the two names the version of Office that supports equations.
        node = equation
        while place is not None and node.getparent() is not place:
            node = node.getparent()
        if place is not None:
            run = parse_xml(f'<a:r xmlns:a="{A.strip("{}")}"><a:t/></a:r>')
            run[0].text = linear(equation)
            replace_with(node, [run])


def _drawn(element: Any, find_part: graphics.FindPart) -> Iterator[Element]:
    for node in element.iter(*_REFERRING):
        data = find_part(graphics.reference_of(node))
        try:
            root = graphics.parsed(data) if data is not None else None
        except etree.XMLSyntaxError:
            root = None
        if root is not None:
            yield from graphics_elements(node, root)
