"""Visible text of slides is read: shapes, groups, tables, charts, SmartArt, equations, notes."""

import io
import re
import zipfile
from collections import Counter
from random import Random
from typing import Any

import pptx
from hypothesis import given, settings
from hypothesis import strategies as st
from pptx.chart.data import CategoryChartData
from pptx.enum.chart import XL_CHART_TYPE
from pptx.util import Emu, Inches

from docmill.worker.extraction.child.kinds.base import Source
from docmill.worker.extraction.child.kinds.registry import open_reading
from docmill.worker.extraction.shared import media_types
from docmill.worker.extraction.zygote.warm import use_blank_sentence_splitter
from docmill.worker.models import Element
from tests.support.independent import powerpoint
from tests.support.judged_documents import words_in
from tests.support.slide_documents import random_slides

use_blank_sentence_splitter()

INCH = Inches(1)
DIAGRAM = "http://schemas.openxmlformats.org/drawingml/2006/diagram"
DRAWING = "http://schemas.openxmlformats.org/drawingml/2006/main"
MATH = "http://schemas.openxmlformats.org/officeDocument/2006/math"


def elements_of(data: bytes) -> list[Element]:
    _media_type, reading = open_reading(Source(io.BytesIO(data), "a.pptx"))
    return [part for part in reading.parts if isinstance(part, Element)]


def written(deck: pptx.presentation.Presentation) -> bytes:
    out = io.BytesIO()
    deck.save(out)
    return out.getvalue()


def make_deck() -> pptx.presentation.Presentation:
    """A slide with an example of everything."""
    deck = pptx.Presentation()
    slide = deck.slides.add_slide(deck.slide_layouts[5])
    slide.shapes.title.text = "Results"
    outer = slide.shapes.add_group_shape()
    inner = outer.shapes.add_group_shape()
    inner.shapes.add_textbox(0, 0, INCH, INCH).text_frame.text = "Within two groups"
    outside = slide.shapes.add_textbox(Emu(-9_000), Emu(-9_000), INCH, INCH)
    outside.text_frame.text = "Begins outside"
    table = slide.shapes.add_table(2, 2, INCH, INCH, INCH, INCH).table
    for cell, text in zip(table.iter_cells(), ("Team", "Wins", "Blues", "1"), strict=True):
        cell.text = text
    data: Any = CategoryChartData()  # type: ignore[no-untyped-call]
    data.categories = ["North", "South"]
    data.add_series("Sales", (19, 23))
    data.add_series("Costs", (7, 5))
    chart = slide.shapes.add_chart(
        XL_CHART_TYPE.COLUMN_CLUSTERED, INCH, 4 * INCH, INCH, INCH, data
    ).chart
    chart.has_title = True
    chart.chart_title.text_frame.text = "Sales by region"
    slide.notes_slide.notes_text_frame.text = "Speak slowly."
    return deck


def changed(data: bytes, part: str, old: str, new: str, extra: dict[str, str]) -> bytes:
    """The package with one part changed, and with further parts."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as before, zipfile.ZipFile(out, "w") as after:
        for name in before.namelist():
            content = before.read(name)
            if name == part:
                content = content.replace(old.encode(), new.encode(), 1)
            if name.endswith("slides/_rels/slide1.xml.rels") and extra:
                target = f"../{next(iter(extra))}"
                relation = f'<Relationship Id="rIdD" Type="{DIAGRAM}" Target="{target}"/>'
                content = content.replace(
                    b"</Relationships>", f"{relation}</Relationships>".encode()
                )
            after.writestr(name, content)
        for name, text in extra.items():
            after.writestr(f"ppt/{name}", text)
    return out.getvalue()


def test_shapes_groups_tables_charts_and_notes_are_read() -> None:
    texts = [element.text for element in elements_of(written(make_deck()))]
    assert set(texts) == {
        "Results",
        "Within two groups",
        "Begins outside",
        "Team | Wins\nBlues | 1",
        "Sales by region",
        " | Sales | Costs\nNorth | 19 | 7\nSouth | 23 | 5",
        "Speak slowly.",
    }
    assert len(texts) == 7


def test_smart_art_is_read_point_by_point() -> None:
    text = "<a:p><a:r><a:t>{}</a:t></a:r></a:p>"
    point = "<dgm:pt modelId='{}' type='{}'><dgm:t>" + text + "</dgm:t></dgm:pt>"
    points = point.format(1, "node", "Plan") + point.format(2, "node", "Build")
    points += point.format(3, "pres", "Plan")
    declared = f"xmlns:dgm='{DIAGRAM}' xmlns:a='{DRAWING}'"
    model = f"<dgm:dataModel {declared}><dgm:ptLst>{points}</dgm:ptLst></dgm:dataModel>"
    frame = (
        "<p:graphicFrame><p:nvGraphicFramePr><p:cNvPr id='9' name='d'/><p:cNvGraphicFramePr/>"
        "<p:nvPr/></p:nvGraphicFramePr><p:xfrm><a:off x='9' y='9'/><a:ext cx='9' cy='9'/></p:xfrm>"
        f"<a:graphic><a:graphicData uri='{DIAGRAM}'><dgm:relIds xmlns:dgm='{DIAGRAM}' r:dm='rIdD' "
        "xmlns:r='http://schemas.openxmlformats.org/officeDocument/2006/relationships'/>"
        "</a:graphicData></a:graphic></p:graphicFrame></p:spTree>"
    )
    deck = pptx.Presentation()
    deck.slides.add_slide(deck.slide_layouts[6])
    data = changed(
        written(deck), "ppt/slides/slide1.xml", "</p:spTree>", frame, {"diagrams/data1.xml": model}
    )
    read = elements_of(data)
    assert [(element.category, element.text) for element in read] == [
        ("ListItem", "Plan"),
        ("ListItem", "Build"),
    ]


def test_an_equation_is_read_where_it_stands() -> None:
    deck = pptx.Presentation()
    slide = deck.slides.add_slide(deck.slide_layouts[6])
    slide.shapes.add_textbox(0, 0, INCH, INCH).text_frame.text = "The area is"
    equation = (
        "</a:r><a14:m xmlns:a14='http://schemas.microsoft.com/office/drawing/2010/main'>"
        f"<m:oMath xmlns:m='{MATH}'><m:r><m:t>A=π</m:t></m:r><m:sSup><m:e><m:r><m:t>r</m:t></m:r>"
        "</m:e><m:sup><m:r><m:t>2</m:t></m:r></m:sup></m:sSup></m:oMath></a14:m>"
    )
    data = changed(written(deck), "ppt/slides/slide1.xml", "</a:r>", equation, {})
    assert [element.text for element in elements_of(data)] == ["The area isA=πr^2"]


def test_shows_and_templates_are_read() -> None:
    main = "presentationml.presentation.main+xml"
    for other in ("presentationml.slideshow.main+xml", "presentationml.template.main+xml"):
        data = changed(written(make_deck()), "[Content_Types].xml", main, other, {})
        media_type, reading = open_reading(Source(io.BytesIO(data), "a"))
        assert media_type in media_types.SLIDE_TYPES - {media_types.PPTX}
        assert len(list(reading.parts)) == 8


def test_an_independent_reader_finds_no_letter_more() -> None:
    data = written(make_deck())
    read = "".join(element.text for element in elements_of(data))
    assert sorted(re.findall(r"\w", read)) == sorted(re.findall(r"\w", powerpoint.letters(data)))


@settings(deadline=None, max_examples=60)
@given(st.integers(min_value=0))
def test_each_word_that_a_slide_shows_is_read_once_in_order_and_no_other(seed: int) -> None:
    deck = random_slides(Random(seed))
    assert words_in("\n".join(element.text for element in elements_of(deck.data))) == deck.shown


@settings(deadline=None, max_examples=60)
@given(st.integers(min_value=0))
def test_an_independent_reader_agrees_with_who_wrote_the_slides(seed: int) -> None:
    deck = random_slides(Random(seed))
    assert Counter(words_in(powerpoint.letters(deck.data))) == Counter(deck.shown)
