"""PDFs drawn operator by operator, so that a test knows the place of everything."""

from collections.abc import Sequence
from dataclasses import dataclass

#: Matrices that turn text counterclockwise by quarters.
TURNS = (b"1 0 0 1", b"0 1 -1 0", b"-1 0 0 -1", b"0 -1 1 0")
Box = tuple[float, float, float, float]  # left, bottom, right, top


@dataclass(frozen=True)
class DrawnPage:
    """A page: its drawing, its boxes, and its annotations, each an object."""

    drawing: bytes
    media: Box = (0, 0, 612, 792)
    crop: Box | None = None
    rotate: int = 0
    annotations: Sequence[bytes] = ()


def text(x: float, y: float, words: str, *, size: float = 10, turn: int = 0) -> bytes:
    """Draw a text in Helvetica at a place, turned counterclockwise by quarters."""
    escaped = words.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")
    return b"BT /F1 %g Tf %s %g %g Tm (%s) Tj ET\n" % (
        size, TURNS[turn], x, y, escaped.encode("cp1252"),
    )  # fmt: skip


def rule(x: float, y: float, to_x: float, to_y: float) -> bytes:
    """Draw a line."""
    return b"%g %g m %g %g l S\n" % (x, y, to_x, to_y)


def appearance(drawing: bytes, box: Box) -> bytes:
    """A form that an annotation shows: its stream, with the font F1."""
    return (
        b"<< /Type /XObject /Subtype /Form /BBox [%s] /Resources << /Font << /F1 3 0 R >> >> "
        b"/Length %d >>\nstream\n%s\nendstream" % (_numbers(box), len(drawing), drawing)
    )


def pdf_of(
    pages: Sequence[DrawnPage], *, catalog: bytes = b"", more: Sequence[bytes] = ()
) -> bytes:
    """A PDF of these pages; further objects have numbers from 4 on."""
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R %s >>" % catalog,
        b"",
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
        *more,
    ]
    kids = []
    for page in pages:
        objects.append(
            b"<< /Length %d >>\nstream\n%s\nendstream" % (len(page.drawing), page.drawing)
        )
        contents = len(objects)
        objects += page.annotations
        noted = b" ".join(b"%d 0 R" % (contents + 1 + n) for n in range(len(page.annotations)))
        crop = b"/CropBox [%s]" % _numbers(page.crop) if page.crop else b""
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [%s] %s /Rotate %d /Contents %d 0 R "
            b"/Annots [%s] /Resources << /Font << /F1 3 0 R >> >> >>"
            % (_numbers(page.media), crop, page.rotate, contents, noted)
        )
        kids.append(b"%d 0 R" % len(objects))
    objects[1] = b"<< /Type /Pages /Kids [%s] /Count %d >>" % (b" ".join(kids), len(kids))
    body = b"".join(b"%d 0 obj\n%s\nendobj\n" % pair for pair in enumerate(objects, start=1))
    return b"%PDF-1.5\n" + body + b"trailer << /Root 1 0 R >>\n%%EOF\n"


def _numbers(box: Box) -> bytes:
    return b" ".join(b"%g" % side for side in box)
