"""Recognised text against the text that was drawn, and pictures of no text.

Needs the extra `ocr`, as the other tests of recognition do.
"""

import io
from collections.abc import Sequence

import numpy as np
import pytest
from rapidfuzz.distance import LCSseq

from docmill.worker.extraction.child.kinds import ocr
from docmill.worker.extraction.child.kinds.base import Source
from docmill.worker.extraction.shared.parts import PageEnd
from docmill.worker.models import Element
from tests.support.scanned_documents import Scan, drawn_shapes, scanned, tiff_of, without_text

#: Share of the letters that must be found, and the most letters that may be added.
_RECALL, _ADDED = 0.98, 0.02


def _letters(texts: Sequence[str]) -> str:
    return "".join("".join(texts).split())


def assert_is_read(words: Sequence[str], found: Sequence[str]) -> None:
    """The letters were found, in their order, and hardly any others."""
    drawn, read = _letters(words), _letters(found)
    alike = LCSseq.similarity(drawn, read)
    assert alike >= _RECALL * len(drawn), f"{words} was read as {found}"
    assert len(read) - alike <= _ADDED * len(drawn), f"{words} was read as {found}"


@pytest.mark.parametrize(
    "scan",
    [
        Scan(),
        Scan(size=15),
        Scan(size=36, turned=270),
        Scan(turned=90),
        Scan(turned=2),
        Scan(blur=1.2),
        Scan(turned=270, specks=0.002),
        Scan(ink=110, paper=200),
        Scan(ink=255, paper=20),
        Scan(turned=180, blur=1.0, ink=60, paper=230),
    ],
    ids=repr,
)
def test_the_letters_of_a_scan_are_read(scan: Scan) -> None:
    page, words = scanned(scan.size + scan.turned, scan)
    found = ocr.recognised(np.asarray(page.convert("RGB"))[:, :, ::-1])
    assert_is_read(words, [line.text for line in found])


def test_each_page_of_a_tiff_is_read_or_counted_as_unread() -> None:
    shapes = drawn_shapes(1, 30, 30)
    document = tiff_of([scanned(1, Scan()), (shapes, []), scanned(2, Scan(turned=180))])
    reading = ocr.read_image(Source(io.BytesIO(document.data), "scan.tiff"))
    parts = list(reading.parts)
    elements = [part for part in parts if isinstance(part, Element)]
    ends = [part for part in parts if isinstance(part, PageEnd)]
    assert reading.page_count == 3
    assert [end.has_text for end in ends] == [True, False, True]
    assert {element.page for element in elements} == {1, 3}
    assert_is_read(document.shown, [element.text for element in elements])


def test_what_shows_no_text_gives_none() -> None:
    found = {
        name: [line.text for line in ocr.recognised(np.asarray(picture.convert("RGB")))]
        for name, picture in without_text(1).items()
    }
    assert {name: lines for name, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    ("found", "kept"),
    [
        # A diagram: the label stays, circles and rectangles do not.
        ("Pump station|0|O|\u53e3?|4?|C|1|0?|0|\u65e5?|D", "Pump station"),
        ("0 0 0 0 0|O 0 0 0 0|000 00", ""),
        # A table of small numbers, all of them sure.
        ("4|7|12|9|3|1|8", "4|7|12|9|3|1|8"),
        # Prose with a page number and one line that nobody can read.
        ("It is said that|she came|12|iii?", "It is said that|she came|12"),
        ("\u4e2d\u6587\u7684|5|\u9875?", "\u4e2d\u6587\u7684|5"),
        ("74", "74"),
        ("O", ""),
    ],
)
def test_shapes_that_look_like_letters_are_no_text(found: str, kept: str) -> None:
    lines = [(text.rstrip("?"), 0.6 if text.endswith("?") else 0.95) for text in found.split("|")]
    published = zip(lines, ocr.kept(lines), strict=True)
    assert "|".join(text for (text, _), is_kept in published if is_kept) == kept
