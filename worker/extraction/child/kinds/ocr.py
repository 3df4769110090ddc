"""Text of pictures, and of pages that are pictures: recognised by rapidocr, from the extra `ocr`.

Runs in a child of its own kind, which may take more memory and time: see profiles.
"""

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from statistics import median
from types import FrameType
from typing import Any

from PIL import Image, ImageOps

from docmill.worker.errors import JobError
from docmill.worker.extraction.child.kinds.base import Reading, Source
from docmill.worker.extraction.child.kinds.page.elements import page_elements
from docmill.worker.extraction.child.kinds.page.layout import Line, Row, arranged
from docmill.worker.extraction.child.kinds.page.style import Style
from docmill.worker.extraction.shared.parts import PageEnd
from docmill.worker.models import Element

#: A page of A3 at 600 dpi has so many.
MAX_PIXELS = 70_000_000
#: More show no more letters, and take time.
_LONGEST_SIDE = 3_000
_FORMATS = ("PNG", "JPEG", "TIFF", "WEBP")
_MAX_FRAMES = 2_000
#: What is recognised with less is noise.
_LEAST_SCORE = 0.5
#: Time that one page may take; after that it counts as unread.
PAGE_SECONDS = 60


def read_image(source: Source) -> Reading:
    """The text of a picture; of a TIFF, page by page."""
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
    """What a picture says of its size, before its pixels take memory."""
    if image.width * image.height > MAX_PIXELS:
        raise JobError("document_too_large", f"{image.width} by {image.height} pixels")


def _pixels(image: Image.Image) -> Any:
    import numpy as np

    # A large JPEG is decoded at a part of its size.
    image.draft("RGB", (_LONGEST_SIDE, _LONGEST_SIDE))
    shown = ImageOps.exif_transpose(image)
    if "A" in shown.getbands() or "transparency" in shown.info:
        # What is transparent shows the paper, not the black that stands behind it in the file.
        paper = Image.new("RGBA", shown.size, "white")
        shown = Image.alpha_composite(paper, shown.convert("RGBA"))
    shown = shown.convert("RGB")
    shown.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    return np.asarray(shown)[:, :, ::-1]


def recognised(pixels: Any) -> list[Line]:
    """Lines in reading order of a picture in BGR; none when it takes too long."""
    try:
        with _time_limit(PAGE_SECONDS):
            found = _engine()(pixels)
    except _PageTimeoutError:
        return []
    if found.boxes is None:
        return []
    lines = [
        _line(text, box, pixels.shape[0])
        for text, box, score in zip(found.txts, found.boxes, found.scores, strict=True)
        if score >= _LEAST_SCORE and text.strip()
    ]
    return list(arranged(_rows(lines)))


@lru_cache(maxsize=1)
def _engine() -> Any:
    """The models, which are in the wheel, in one thread: a child may start no other."""
    import cv2
    from rapidocr import RapidOCR

    cv2.setNumThreads(0)
    return RapidOCR(
        params={
            "EngineConfig.onnxruntime.intra_op_num_threads": 1,
            "EngineConfig.onnxruntime.inter_op_num_threads": 1,
            # An arena would keep what the largest page took.
            "EngineConfig.onnxruntime.enable_cpu_mem_arena": False,
            "Global.use_cls": False,
            "Global.log_level": "critical",
            "Det.limit_side_len": 1280,
            "Det.limit_type": "max",
        }
    )


class _PageTimeoutError(BaseException):  # what recognises would take an Exception for its own
    """A page took too long."""


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Interrupt what takes longer, between two calls of the engine's native code."""

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


def _rows(lines: Sequence[Line]) -> list[Row]:
    """Pieces of text at one height make a row, from left to right."""
    rows: list[list[Line]] = []
    for line in sorted(lines, key=lambda line: -(line.top + line.bottom)):
        middle = (line.top + line.bottom) / 2
        if rows and rows[-1][-1].bottom < middle < rows[-1][-1].top:
            rows[-1].append(line)
        else:
            rows.append([line])
    return [_row(sorted(row, key=lambda piece: piece.left)) for row in rows]


def _row(pieces: list[Line]) -> Row:
    whole = Line(
        " ".join(piece.text for piece in pieces),
        pieces[0].left,
        max(piece.right for piece in pieces),
        top=max(piece.top for piece in pieces),
        bottom=min(piece.bottom for piece in pieces),
        size=median(piece.size for piece in pieces),
        bold=False,
    )
    return Row(whole, tuple(pieces) if len(pieces) > 1 else ())


def elements_of_lines(lines: Sequence[Line], page: int) -> Iterator[Element]:
    """Paragraphs and titles of a page that was recognised."""
    if not lines:
        return
    # Boxes are as high as the letters in them: a line without a tall one is no smaller text. So
    # sizes differ from line to line, and only a much larger one is a title.
    size = median(line.size for line in lines)
    even = [line if line.size > 1.5 * size else _sized(line, size) for line in lines]
    yield from page_elements(even, Style(body_size=size, running=frozenset()), page)


def _sized(line: Line, size: float) -> Line:
    middle = (line.top + line.bottom) / 2
    return replace(line, top=middle + size / 2, bottom=middle - size / 2, size=size)
