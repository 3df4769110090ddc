"""Limits on recognising a page."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import pytest

from docmill.worker.extraction.child.kinds import ocr


def test_a_page_that_takes_too_long_is_unread_whatever_the_engine_makes_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import numpy as np

    def engine(_pixels: object, **_steps: object) -> NoReturn:
        try:
            while True:
                time.sleep(0.01)
        except Exception as error:
            raise RuntimeError("inference failed") from error

    monkeypatch.setattr(ocr, "_engine", lambda: engine)
    monkeypatch.setattr(ocr, "PAGE_SECONDS", 0.1)
    assert ocr.recognised(np.zeros((10, 10, 3), dtype=np.uint8)) == []


@dataclass
class Found:
    """The engine's result for lines."""

    txts: list[str]
    scores: list[float]


@dataclass
class Boxes:
    """The places of lines that the engine found."""

    boxes: Any


@dataclass
class Engine:
    """A fake engine: an upright line has a dark left half and a light right half."""

    boxes: Any
    sure: float = 0.99
    read: list[Any] = field(default_factory=list)

    def __call__(self, _pixels: Any, **_steps: object) -> Boxes:
        return Boxes(self.boxes)

    def crop_text_regions(self, pixels: Any, boxes: Any) -> list[Any]:
        """Like rapidocr: tall boxes are turned counterclockwise."""
        import numpy as np

        crops = []
        for box in boxes:
            (left, top), (right, bottom) = box.min(0).astype(int), box.max(0).astype(int)
            crop = pixels[top:bottom, left:right]
            crops.append(np.rot90(crop) if crop.shape[0] >= 1.5 * crop.shape[1] else crop)
        return crops

    def recognize_txt(self, crops: Sequence[Any]) -> Found:
        """A line that is upside down or no line gives noise."""
        self.read += crops
        upright = [crop[:, : crop.shape[1] // 4].mean() < 100 for crop in crops]
        scores = [self.sure if is_upright else 0.6 for is_upright in upright]
        return Found(["The words" if is_upright else "noise" for is_upright in upright], scores)


def lines_drawn(count: int) -> Any:
    """A picture of lines, and their boxes."""
    import numpy as np

    pixels = np.full((40 * count + 40, 400, 3), 255, dtype=np.uint8)
    boxes = []
    for number in range(count):
        top = 20 + 40 * number
        pixels[top : top + 20, 50:200] = 0
        boxes.append([(50, top), (350, top), (350, top + 20), (50, top + 20)])
    return pixels, np.array(boxes, dtype=np.float32)


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_a_picture_is_turned_upright_before_it_is_read(
    monkeypatch: pytest.MonkeyPatch, turns: int
) -> None:
    import numpy as np

    pixels, boxes = lines_drawn(6)
    shown = np.ascontiguousarray(np.rot90(pixels, turns))
    engine = Engine(ocr.turned(boxes, turns, *pixels.shape[:2]))
    monkeypatch.setattr(ocr, "_engine", lambda: engine)
    found = ocr.recognised(shown)
    assert [line.text for line in found] == ["The words"] * 6
    assert [line.left for line in found] == [50] * 6
    assert [round(line.top - line.bottom) for line in found] == [20] * 6
    if turns == 0:
        # The lines that showed the direction are not read again.
        assert len(engine.read) == 6


@pytest.mark.parametrize(
    ("text", "score", "sure"),
    [("Invoice 4711", 0.95, True), ("Do n d tto", 0.79, False), ("\uff0c\uff0c", 0.95, False)],
)
def test_what_recognition_is_not_sure_of_is_not_published(
    text: str, score: float, *, sure: bool
) -> None:
    assert ocr.is_sure(text, score) == sure


def test_a_page_of_which_little_is_sure_has_no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels, boxes = lines_drawn(6)
    monkeypatch.setattr(ocr, "_engine", lambda: Engine(boxes, sure=0.7))
    assert ocr.recognised(pixels) == []
