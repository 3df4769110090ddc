"""Scans of texts whose every letter is known, and pictures that show no text."""

import io
from dataclasses import dataclass
from random import Random

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from tests.support.judged_documents import JudgedDocument
from tests.support.prose import prose

_LINE_LENGTH = 40


@dataclass(frozen=True)
class Scan:
    """How a page is put on the glass, and what the glass does to it."""

    size: int = 24  #: of the font, in pixels
    turned: int = 0  #: counterclockwise, in degrees
    blur: float = 0.0
    specks: float = 0.0  #: share of the pixels that are black by chance
    ink: int = 0  #: grey of the letters
    paper: int = 255


def scanned(seed: int, scan: Scan, *, lines: int = 4) -> tuple[Image.Image, list[str]]:
    """A page of prose in a font that Pillow brings, and its words."""
    words = [word for element in prose(seed, 9) for word in element.text.split()]
    drawn: list[str] = []
    while len(drawn) < lines:
        line = words.pop(0)
        while len(line) + len(words[0]) < _LINE_LENGTH:
            line = f"{line} {words.pop(0)}"
        drawn.append(line)
    font, step = ImageFont.load_default(scan.size), int(1.6 * scan.size)
    page = Image.new("L", (_LINE_LENGTH * scan.size * 2 // 3, (lines + 2) * step), scan.paper)
    draw = ImageDraw.Draw(page)
    for number, line in enumerate(drawn, start=1):
        draw.text((step, number * step), line, font=font, fill=scan.ink)
    page = page.rotate(scan.turned, expand=True)
    if scan.blur:
        page = page.filter(ImageFilter.GaussianBlur(scan.blur))
    pixels = np.array(page)
    pixels[np.random.default_rng(seed).random(pixels.shape) < scan.specks] = 0
    return Image.fromarray(pixels), " ".join(drawn).split()


def tiff_of(pages: list[tuple[Image.Image, list[str]]]) -> JudgedDocument:
    """A TIFF of these pages."""
    file = io.BytesIO()
    (first, _), *others = pages
    first.save(file, "TIFF", save_all=True, append_images=[page for page, _ in others])
    return JudgedDocument(file.getvalue(), [word for _, words in pages for word in words])


def without_text(seed: int) -> dict[str, Image.Image]:
    """Pictures on which nobody could read a letter, by what they show."""
    rng, (y, x) = np.random.default_rng(seed), np.mgrid[0:300, 0:400]
    noise = rng.integers(0, 256, (300, 400))
    soft = Image.fromarray(noise.astype(np.uint8)).filter(ImageFilter.GaussianBlur(3))
    shades = {
        "noise": noise,
        "spots": np.where(np.array(soft) > 127, 255, 0),
        "stripes": x // 10 % 2 * 255,
        "checks": (x // 16 + y // 16) % 2 * 255,
        "rings": np.where(np.sin(np.hypot(x - 200, y - 150) / 6) > 0, 255, 0),
        "dots": np.where(np.hypot(x % 24 - 12, y % 24 - 12) > 5, 255, 0),
        "a grid": np.where((x % 40 > 1) & (y % 40 > 1), 255, 0),
        "a gradient": x * 255 // 400,
    }
    pictures = {name: Image.fromarray(shade.astype(np.uint8)) for name, shade in shades.items()}
    return pictures | {
        "small shapes": drawn_shapes(seed, 50, 24),
        "larger shapes": drawn_shapes(seed, 20, 60),
        "circles in rows": _rows_of_circles(),
    }


def drawn_shapes(seed: int, count: int, most: int) -> Image.Image:
    """Circles, rectangles and lines at random places, of at most so many pixels."""
    random, picture = Random(seed), Image.new("L", (400, 300), 255)
    draw = ImageDraw.Draw(picture)
    for _ in range(count):
        x, y = random.randrange(400), random.randrange(300)
        box = (x, y, x + random.randint(4, most), y + random.randint(4, most))
        shape = random.choice(("ellipse", "rectangle", "line"))
        if shape == "line":
            draw.line(box, fill=0, width=random.randint(1, 4))
        else:
            getattr(draw, shape)(box, outline=0, width=random.randint(1, 4))
    return picture


def _rows_of_circles() -> Image.Image:
    picture = Image.new("L", (400, 300), 255)
    draw = ImageDraw.Draw(picture)
    for y in range(40, 260, 60):
        for x in range(30, 360, 40):
            draw.ellipse((x, y, x + 18, y + 24), outline=0, width=3)
    return picture
