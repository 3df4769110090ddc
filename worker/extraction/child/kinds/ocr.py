"""Recognises text of pictures, and of pages that are pictures, by rapidocr from the extra `ocr`.

Runs in a child of its own kind, which may take more memory and time: see profiles.
"""

import re
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from statistics import mean, median
from types import FrameType
from typing import Any

from PIL import Image, ImageOps

from docmill.worker.errors import JobError
from docmill.worker.extraction.child.kinds.base import Reading, Source
from docmill.worker.extraction.child.kinds.page.elements import page_elements
from docmill.worker.extraction.child.kinds.page.layout import Line, arranged
from docmill.worker.extraction.child.kinds.page.rows import rows_of_pieces
from docmill.worker.extraction.child.kinds.page.style import Style
from docmill.worker.extraction.shared.parts import PageEnd
from docmill.worker.models import Element

#: The number of pixels of an A3 page at 600 dpi.
MAX_PIXELS = 70_000_000
#: More pixels on a side show no more letters, but take longer.
_LONGEST_SIDE = 3_000
_FORMATS = ("PNG", "JPEG", "TIFF", "WEBP")
_MAX_FRAMES = 2_000
#: Lines with a lower score are not published. Lines that are read correctly have 0.95 or more. All
#: lines upside down, and in unknown scripts, had less than 0.8.
LEAST_SCORE = 0.8
#: Below the first score a second look is useless; above the other one it is not needed.
_NOISE_SCORE, _SURE_SCORE = 0.5, 0.9
#: Lines are first recognised at this part of their width, which takes this part of the time. On the
#: test pages the result was as good: 98.5 % of the letters are found either way.
_SQUEEZED = 0.75
#: The longest lines show whether a picture is upright. If a box is taller than this many times its
#: width, its line is sideways, and the engine turns it before recognition.
_SAMPLE_LINES, _TALL = 5, 1.5
#: If a smaller share of a page's text is sure, nothing of the page is published: it would be only
#: single words.
_LEAST_SHARE = 0.2
#: Length of a word, and how many different letters it has at least; and of a long one.
_WORD, _LONG_WORD = (3, 2), (4, 3)
_WORDS = re.compile(r"[^\W_]+")
#: Words of scripts whose words have few letters.
_HAN_WORDS = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]{2,}")
#: So many letters, of which no more are different, are a pattern; so is one letter, or the same one
#: again and again.
_FEW_LETTERS, _PATTERN_LETTERS = 8, 2
#: If this share of the lines is sure, short ones such as numbers are no shapes. Of drawn circles
#: and rectangles 0.4 to 0.84 are sure.
_ALL_BUT_SOME = 0.9
#: Time that one page may take; after that it counts as unread.
PAGE_SECONDS = 60


Found = tuple[str, float]  # text and score


def read_image(source: Source) -> Reading:
    """The text of a picture; a TIFF is read page by page."""
    try:
        image = Image.open(source.file, formats=_FORMATS)
    except Image.DecompressionBombError as error:
        raise JobError("document_too_large", type(error).__name__) from None
    _check_pixels(image)
    frames = min(getattr(image, "n_frames", 1), _MAX_FRAMES)
    return Reading(_frames(image, frames), page_count=frames)


def _frames(image: Image.Image, frames: int) -> Iterator[Element | PageEnd]:
    for number in range(1, frames + 1):
        image.seek(number - 1)
        _check_pixels(image)
        lines = recognised(_pixels(image))
        yield from elements_of_lines(lines, number)
        yield PageEnd(number, has_text=bool(lines))


def _check_pixels(image: Image.Image) -> None:
    """Check the declared size of a picture, before its pixels take memory."""
    if image.width * image.height > MAX_PIXELS:
        raise JobError("document_too_large", f"{image.width} by {image.height} pixels")


def _pixels(image: Image.Image) -> Any:
    import numpy as np

    # A large JPEG is decoded at reduced size.
    image.draft("RGB", (_LONGEST_SIDE, _LONGEST_SIDE))
    shown = ImageOps.exif_transpose(image)
    if "A" in shown.getbands() or "transparency" in shown.info:
        # Transparent areas must be white like paper, not black as stored in the file.
        paper = Image.new("RGBA", shown.size, "white")
        shown = Image.alpha_composite(paper, shown.convert("RGBA"))
    shown = shown.convert("RGB")
    shown.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    return np.asarray(shown)[:, :, ::-1]


def recognised(pixels: Any) -> list[Line]:
    """Lines of a BGR picture in reading order, turned upright; none if it takes too long.

    Lines that are not sure are left out.
    """
    try:
        with _time_limit(PAGE_SECONDS):
            lines = _lines(_engine(), pixels)
    except _PageTimeoutError:
        return []
    return list(arranged(rows_of_pieces(lines)))


def _lines(engine: Any, pixels: Any) -> list[Line]:
    boxes = engine(pixels, use_det=True, use_cls=False, use_rec=False).boxes
    if boxes is None or not len(boxes):
        return []
    turns, known = _looked_at(engine, pixels, boxes)
    if turns:
        boxes, pixels = turned(boxes, turns, *pixels.shape[:2]), _rotated(pixels, turns)
    found = _read(engine, engine.crop_text_regions(pixels, boxes), known)
    lines = [
        _line(text, box, pixels.shape[0])
        for (text, _score), box, is_kept in zip(found, boxes, kept(found), strict=True)
        if is_kept
    ]
    extent = sum(line.right - line.left for line in lines)
    return lines if extent >= _LEAST_SHARE * sum(_extent(box)[0] for box in boxes) else []


def is_sure(text: str, score: float) -> bool:
    """Whether a recognised text may be published."""
    return score >= LEAST_SCORE and any(character.isalnum() for character in text)


def kept(found: Sequence[Found]) -> list[bool]:
    """For each recognised line of a page, whether it is published.

    A drawn circle is a sure 0, and a rectangle a sure \u53e3. So where many lines are unsure and
    hardly any sure one has a word, or letters only repeat, just lines with a long word are.
    """
    sure = [is_sure(text, score) for text, score in found]
    texts = [text for (text, _score), is_kept in zip(found, sure, strict=True) if is_kept]
    if _is_writing(texts, len(found)):
        return sure
    return [
        is_kept and _has_word(text, *_LONG_WORD)
        for (text, _score), is_kept in zip(found, sure, strict=True)
    ]


def _is_writing(texts: Sequence[str], count: int) -> bool:
    """Whether the sure ones of so many lines are writing, and not shapes."""
    letters = [letter for letter in "".join(texts).casefold() if letter.isalnum()]
    if len(set(letters)) <= (_PATTERN_LETTERS if len(letters) >= _FEW_LETTERS else 1):
        return False
    with_words = sum(_has_word(text, *_WORD) for text in texts)
    return with_words >= _LEAST_SHARE * len(texts) or len(texts) >= _ALL_BUT_SOME * count


def _has_word(text: str, length: int, different: int) -> bool:
    """Whether a text has a word of at least this length, with so many different letters."""
    return any(
        len(word) >= length and len(set(word)) >= different for word in _WORDS.findall(text)
    ) or any(len(set(word)) > 1 for word in _HAN_WORDS.findall(text))


def _looked_at(engine: Any, pixels: Any, boxes: Any) -> tuple[int, dict[int, Found]]:
    """How to turn a picture so that its text is upright, found by its longest lines.

    Returns quarter turns counterclockwise and, if the picture is upright, the text of these lines.
    """
    order = sorted(range(len(boxes)), key=lambda number: -max(_extent(boxes[number])))
    longest = order[:_SAMPLE_LINES]
    tall = [number for number in longest if _is_tall(boxes[number])]
    sideways = 2 * len(tall) > len(longest)
    alike = tall if sideways else [number for number in longest if number not in tall]
    # A tall box is cut out and turned one quarter counterclockwise.
    crops = engine.crop_text_regions(pixels, boxes[alike])
    found = _recognise(engine, crops, _SQUEEZED)
    score = _mean_score(found)
    flipped = score < _SURE_SCORE and score < _mean_score(
        _recognise(engine, [_rotated(crop, 2) for crop in crops], _SQUEEZED)
    )
    turns = int(sideways) + 2 * int(flipped)
    return turns, {} if turns else dict(zip(alike, found, strict=True))


def _is_tall(box: Any) -> bool:
    width, height = _extent(box)
    return height > _TALL * width


def _mean_score(found: Sequence[Found]) -> float:
    return mean(score for _text, score in found)


def _extent(box: Any) -> tuple[float, float]:
    """Width and height of a box."""
    xs, ys = box[:, 0], box[:, 1]
    return float(xs.max() - xs.min()), float(ys.max() - ys.min())


def _rotated(pixels: Any, turns: int) -> Any:
    import numpy as np

    return np.ascontiguousarray(np.rot90(pixels, turns))


def turned(boxes: Any, turns: int, height: int, width: int) -> Any:
    """The boxes after turning a picture counterclockwise, each from its upper left corner."""
    import numpy as np

    x, y = boxes[..., 0], boxes[..., 1]
    for _ in range(turns):
        x, y = y, width - x
        height, width = width, height
    corners = np.stack([x, y], axis=-1)
    # The order is still clockwise, but another corner is now the upper left one.
    return np.roll(corners, -turns, axis=1).astype(boxes.dtype)


def _read(engine: Any, crops: Sequence[Any], known: dict[int, Found]) -> list[Found]:
    """Text and score of each crop: first quickly, then unsure ones again more carefully."""
    new = [number for number in range(len(crops)) if number not in known]
    found = dict(known)
    glance = _recognise(engine, [crops[number] for number in new], _SQUEEZED)
    found.update(zip(new, glance, strict=True))
    unsure = [n for n, (_, score) in found.items() if _NOISE_SCORE <= score < _SURE_SCORE]
    again = _recognise(engine, [crops[number] for number in unsure], 1.0)
    for number, better in zip(unsure, again, strict=True):
        found[number] = max(found[number], better, key=lambda one: one[1])
    return [found[number] for number in range(len(crops))]


def _recognise(engine: Any, crops: Sequence[Any], width: float) -> list[Found]:
    if not crops:
        return []
    import cv2

    narrow = [
        cv2.resize(c, (max(1, round(width * c.shape[1])), c.shape[0]), interpolation=cv2.INTER_AREA)
        if width < 1
        else c
        for c in crops
    ]
    found = engine.recognize_txt(narrow)
    return [(text, float(score)) for text, score in zip(found.txts, found.scores, strict=True)]


@lru_cache(maxsize=1)
def _engine() -> Any:
    """The models, which are in the wheel, with one thread, because a child may start no other."""
    import cv2
    from rapidocr import RapidOCR

    cv2.setNumThreads(0)
    return RapidOCR(
        params={
            "EngineConfig.onnxruntime.intra_op_num_threads": 1,
            "EngineConfig.onnxruntime.inter_op_num_threads": 1,
            # An arena would keep the memory of the largest page.
            "EngineConfig.onnxruntime.enable_cpu_mem_arena": False,
            "Global.use_cls": False,
            "Global.log_level": "critical",
            # One line at a time takes less time than several, and less memory.
            "Rec.rec_batch_num": 1,
            "Det.limit_side_len": 1280,
            "Det.limit_type": "max",
        }
    )


class _PageTimeoutError(BaseException):  # the recognition would catch an Exception
    """A page took too long."""


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Interrupt work that takes longer, between two calls of the engine's native code."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise _PageTimeoutError

    signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _line(text: str, box: Any, height: int) -> Line:
    xs, ys = [float(x) for x, _ in box], [float(y) for _, y in box]
    top, bottom = height - min(ys), height - max(ys)
    return Line(
        " ".join(text.split()), min(xs), max(xs), top=top, bottom=bottom, size=top - bottom,
        bold=False,
    )  # fmt: skip


def elements_of_lines(lines: Sequence[Line], page: int) -> Iterator[Element]:
    """Paragraphs and titles of a page that was recognised."""
    if not lines:
        return
    # A box is as high as the letters in it, so a line without tall letters looks smaller. Sizes
    # differ from line to line, and only a much larger line is a title.
    size = median(line.size for line in lines)
    even = [line if line.size > 1.5 * size else _sized(line, size) for line in lines]
    yield from page_elements(even, Style(body_size=size, running=frozenset()), page)


def _sized(line: Line, size: float) -> Line:
    middle = (line.top + line.bottom) / 2
    return line._replace(top=middle + size / 2, bottom=middle - size / 2, size=size)
