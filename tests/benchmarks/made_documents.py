"""Documents of any length, made of common words, equal in every run.

Each begins with the same words, unless it gets a writer that continues.
"""

import datetime as dt
import io
import random
from collections.abc import Iterator

import docx
import openpyxl
from docx.oxml import OxmlElement

_COMMON = (
    "the of and a to in is was he for it with as his on be at by had not are but from or have an "
    "they which one you were all her she there would their we him been has when who will no more "
    "if out so said what up its about into than them can only other time new some could these two "
    "may first then do any like my now over such our man me even most made after also did many off "
    "before must well back through years where much your way down should because long each just "
    "state those people too how little good world make very year still see own work men day get"
)
WORDS = _COMMON.split()
PARAGRAPHS_A_PAGE = 6
_LINES_A_PAGE, _LINE_CHARACTERS = 46, 88


class Writer:
    """Random sentences and paragraphs, equal in every run; another seed makes others."""

    def __init__(self, seed: int = 1) -> None:
        self._chance = random.Random(seed)

    def word(self) -> str:
        """Any word."""
        return self._chance.choice(WORDS)

    def words(self, least: int, most: int) -> str:
        """Some words."""
        return " ".join(self.word() for _ in range(self._chance.randint(least, most)))

    def sentence(self) -> str:
        """A sentence."""
        return f"{self.words(8, 18).capitalize()}."

    def paragraph(self) -> str:
        """A few sentences."""
        return " ".join(self.sentence() for _ in range(self._chance.randint(3, 6)))


def make_docx(pages: int, writer: Writer | None = None) -> bytes:
    """Each page has a heading, paragraphs, a list and some bold text; every eighth page a table."""
    document, writer = docx.Document(), writer or Writer()
    for page in range(pages):
        heading = document.add_heading(f"{page + 1}. {writer.words(3, 5)}", level=1 + page % 3)
        if page:
            heading.runs[0]._r.insert(0, OxmlElement("w:lastRenderedPageBreak"))
        for _ in range(PARAGRAPHS_A_PAGE):
            document.add_paragraph(writer.paragraph())
        for _ in range(3):
            document.add_paragraph(writer.sentence(), style="List Bullet")
        note = document.add_paragraph()
        note.add_run("Note").bold = True
        note.add_run(f" {writer.sentence()}")
        if page % 8 == 0:
            for cell in document.add_table(rows=6, cols=4)._cells:
                cell.text = writer.word()
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def make_html(sections: int, writer: Writer | None = None) -> bytes:
    """Each section is like a page of `make_docx`."""
    writer = writer or Writer()
    parts = ["<html><head><title>Words</title></head><body><nav><a href='/'>Home</a></nav><main>"]
    for number in range(sections):
        level = 1 + number % 3
        parts.append(f"<section><h{level}>{number + 1}. {writer.words(3, 5)}</h{level}>")
        parts += (
            f"<div><p>{writer.paragraph()} <b>{writer.word()}</b> "
            f"<a href='https://example.org/{number}'>{writer.word()}</a>.</p></div>"
            for _ in range(PARAGRAPHS_A_PAGE)
        )
        parts += ("<ul>", *(f"<li>{writer.sentence()}</li>" for _ in range(3)), "</ul>")
        if number % 8 == 0:
            rows = ("".join(f"<td>{writer.word()}</td>" for _ in range(4)) for _ in range(6))
            parts.append(f"<table>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>")
        parts.append("</section>")
    return "\n".join([*parts, "</main></body></html>"]).encode()


def make_text(pages: int) -> bytes:
    """Paragraphs under short headings."""
    writer = Writer()
    return "\n\n".join(
        piece
        for page in range(pages)
        for piece in (
            f"{page + 1}. {writer.words(3, 5)}",
            *(writer.paragraph() for _ in range(PARAGRAPHS_A_PAGE)),
        )
    ).encode()


def make_xlsx(rows: int) -> bytes:
    """One sheet of numbers, dates and words."""
    book, writer, out = openpyxl.Workbook(), Writer(), io.BytesIO()
    book.active.append(["number", "name", "amount", "day", "note"])
    for row in range(rows):
        day = dt.date(2024, 1, 1) + dt.timedelta(days=row % 365)
        book.active.append([row, writer.word(), row / 7, day, writer.sentence()])
    book.save(out)
    return out.getvalue()


def make_pdf(pages: int, writer: Writer | None = None) -> bytes:
    """Pages full of prose in Helvetica, each with a heading, a running head and its number."""
    writer = writer or Writer()
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [%s] /Count %d >>"
        % (b" ".join(b"%d 0 R" % (5 + 2 * number) for number in range(pages)), pages),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica-Bold >>",
    ]
    for number in range(pages):
        drawing = _page(writer, number + 1).encode()
        objects += [
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents %d 0 R "
            b"/Resources << /Font << /F1 3 0 R /F2 4 0 R >> >> >>" % (6 + 2 * number),
            b"<< /Length %d >>\nstream\n%s\nendstream" % (len(drawing), drawing),
        ]
    return _file_of(objects)


def _page(writer: Writer, number: int) -> str:
    top = 730
    lines = [
        "BT /F1 8 Tf 72 760 Td (A report on common words) Tj ET",
        f"BT /F1 8 Tf 300 40 Td ({number}) Tj ET",
        f"BT /F2 14 Tf 72 {top} Td ({number}. {writer.words(3, 5)}) Tj ET",
    ]
    for line in _lines(writer):
        top -= 14
        lines.append(f"BT /F1 10 Tf 72 {top} Td ({line}) Tj ET")
    return "\n".join(lines)


def _lines(writer: Writer) -> Iterator[str]:
    """Paragraphs, broken into the lines of one page."""
    left = _LINES_A_PAGE
    while left:
        line = ""
        for word in writer.paragraph().split():
            if len(line) + len(word) > _LINE_CHARACTERS and left > 1:
                yield line
                line, left = "", left - 1
            line = f"{line} {word}".strip()
        yield line[:_LINE_CHARACTERS]
        left -= 1


def _file_of(objects: list[bytes]) -> bytes:
    out, places = bytearray(b"%PDF-1.4\n"), []
    for number, content in enumerate(objects, start=1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    out += b"trailer << /Root 1 0 R /Size %d >>\n" % (len(objects) + 1)
    out += b"startxref\n%d\n%%%%EOF\n" % table
    return bytes(out)
