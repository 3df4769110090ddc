"""Documents that the tests make, one of each kind."""

import email
import email.policy
import io
import zipfile
from collections.abc import Mapping, Sequence
from email.message import EmailMessage
from random import Random

import docx
import openpyxl
import pptx


def make_docx(*, title: str = "") -> bytes:
    document, out = docx.Document(), io.BytesIO()
    document.core_properties.title = title
    document.add_heading("Annual Report", level=1)
    document.add_paragraph("The year was a good one. Nobody had expected that.")
    table = document.add_table(rows=2, cols=2)
    for cell, text in zip(table._cells, ("Team", "Wins", "Blues", "1"), strict=True):
        cell.text = text
    document.save(out)
    return out.getvalue()


def make_docm() -> bytes:
    """The same document with macros: its package must be rewritten before reading."""
    plain = b"openxmlformats-officedocument.wordprocessingml.document.main"
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(make_docx())) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, content.replace(plain, b"ms-word.document.macroEnabled.main"))
    return out.getvalue()


def make_pptx() -> bytes:
    deck, out = pptx.Presentation(), io.BytesIO()
    first = deck.slides.add_slide(deck.slide_layouts[1])
    first.shapes.title.text = "Roadmap"
    first.placeholders[1].text = "Ship the pipeline"
    deck.slides.add_slide(deck.slide_layouts[6])
    last = deck.slides.add_slide(deck.slide_layouts[1])
    last.shapes.title.text = "Questions"
    last.notes_slide.notes_text_frame.text = "Ask about the budget."
    deck.save(out)
    return out.getvalue()


def make_xlsx() -> bytes:
    book, out = openpyxl.Workbook(), io.BytesIO()
    sheet = book.active
    sheet.title = "Cups"
    for row in (
        ["Stanley Cups"],
        ["Team", "Wins"],
        ["Blues", 1.0],
        [],
        ["Other", "Table"],
        [2, 3.5],
    ):
        sheet.append(row)
    book.create_sheet("Empty")
    book.save(out)
    return out.getvalue()


def make_large_xlsx(sheets: int) -> bytes:
    """Sheets of a few rows each, in more than 4 MB of XML."""
    book, out = openpyxl.Workbook(), io.BytesIO()
    book.remove(book.active)
    for number in range(sheets):
        sheet = book.create_sheet(f"S{number}")
        sheet.append(["number", "of"])
        sheet.append([number, "sheet"])
    book.save(out)
    noise = Random(0).randbytes(2_200_000).hex().encode()
    with zipfile.ZipFile(out) as archive:
        return zipped(
            {
                name: archive.read(name).replace(b"<sheetData>", b"<sheetData><!-- %s -->" % noise)
                for name in archive.namelist()
            }
        )


def make_eml() -> bytes:
    message = EmailMessage()
    message["From"], message["To"] = "Ada <ada@example.org>", "bob@example.org"
    message["Subject"] = "The plan"
    message.set_content("Dear Bob,\n\nthis is the plan of which we spoke. It is short.\n")
    return message.as_bytes()


def make_mail_with(
    *attachments: tuple[str, bytes], subject: str = "The papers", text: str = "See below.\n"
) -> bytes:
    """A message with attachments of these names, all declared with an unknown type."""
    message = EmailMessage()
    message["From"], message["Subject"] = "ada@example.org", subject
    message.set_content(text)
    for name, content in attachments:
        message.add_attachment(
            content, maintype="application", subtype="octet-stream", filename=name
        )
    return message.as_bytes()


def make_forwarded(inner: bytes, subject: str) -> bytes:
    """A message with another one attached, as mail programs forward it."""
    message = EmailMessage()
    message["From"], message["Subject"] = "ada@example.org", subject
    message.set_content(f"About {subject}.\n")
    message.add_attachment(email.message_from_bytes(inner, policy=email.policy.default))
    return message.as_bytes()


def pdf_of(*objects: bytes, trailer: bytes = b"<< /Root 1 0 R >>") -> bytes:
    """A PDF of numbered objects; readers rebuild the missing table."""
    body = b"".join(b"%d 0 obj\n%s\nendobj\n" % pair for pair in enumerate(objects, start=1))
    return b"%PDF-1.5\n" + body + b"trailer " + trailer + b"\n%%EOF\n"


def make_pdf(pages: Sequence[str], *, title: str = "") -> bytes:
    """One line of text per page, of any length; an empty string is a page without text."""
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [%s] /Count %d >>"
        % (b" ".join(b"%d 0 R" % (5 + 2 * n) for n in range(len(pages))), len(pages)),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        b"<< /Title (%s) >>" % title.encode(),
    ]
    for number, text in enumerate(pages):
        drawing = b"BT /F1 12 Tf 72 720 Td (%s) Tj ET" % text.encode() if text else b""
        objects += [
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9000 792] /Contents %d 0 R "
            b"/Resources << /Font << /F1 3 0 R >> >> >>" % (6 + 2 * number),
            b"<< /Length %d >>\nstream\n%s\nendstream" % (len(drawing), drawing),
        ]
    return pdf_of(*objects, trailer=b"<< /Root 1 0 R /Info 4 0 R >>")


def make_drawn_pdf(
    drawing: bytes,
    *,
    rotate: int = 0,
    catalog: bytes = b"",
    page: bytes = b"",
    more: Sequence[bytes] = (),
) -> bytes:
    """One page with this drawing, with Helvetica as F1; further objects are numbered from 6."""
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R %s >>" % catalog,
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R /Rotate %d "
        b"/Resources << /Font << /F1 5 0 R >> >> %s >>" % (rotate, page),
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(drawing), drawing),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        *more,
    ]
    return pdf_of(*objects)


def draw(*lines: tuple[float, float, str], matrix: bytes = b"1 0 0 1") -> bytes:
    """Texts of 10 points at their places."""
    return b"".join(
        b"BT /F1 10 Tf %s %d %d Tm (%s) Tj ET\n" % (matrix, x, y, text.encode("cp1252"))
        for x, y, text in lines
    )


def zipped(entries: Mapping[str, bytes]) -> bytes:
    """A zip of these files."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return out.getvalue()


def make_odt() -> bytes:
    """A text of OpenDocument with a heading and a paragraph."""
    names = "urn:oasis:names:tc:opendocument:xmlns"
    content = (
        f'<office:document-content xmlns:office="{names}:office:1.0" xmlns:text="{names}:text:1.0">'
        "<office:automatic-styles/><office:body><office:text>"
        '<text:h text:outline-level="1">Annual Report</text:h>'
        "<text:p>It was a good year for everybody.</text:p>"
        "</office:text></office:body></office:document-content>"
    )
    return zipped(
        {
            "mimetype": b"application/vnd.oasis.opendocument.text",
            "content.xml": content.encode(),
            "styles.xml": f'<office:document-styles xmlns:office="{names}:office:1.0"/>'.encode(),
        }
    )


def make_epub() -> bytes:
    """A book of one chapter."""
    package = (
        '<package xmlns="http://www.idpf.org/2007/opf" version="3.0" unique-identifier="id">'
        '<metadata xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:identifier id="id">x'
        "</dc:identifier><dc:title>The Year</dc:title><dc:language>en</dc:language></metadata>"
        '<manifest><item id="one" href="one.xhtml" media-type="application/xhtml+xml"/></manifest>'
        '<spine><itemref idref="one"/></spine></package>'
    )
    container = (
        '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container" version="1.0">'
        '<rootfiles><rootfile full-path="book.opf" media-type="application/oebps-package+xml"/>'
        "</rootfiles></container>"
    )
    chapter = (
        '<html xmlns="http://www.w3.org/1999/xhtml"><head><title>One</title></head><body>'
        "<h1>Annual Report</h1><p>It was a good year for everybody.</p></body></html>"
    )
    return zipped(
        {
            "mimetype": b"application/epub+zip",
            "META-INF/container.xml": container.encode(),
            "book.opf": package.encode(),
            "one.xhtml": chapter.encode(),
        }
    )


def make_bomb() -> bytes:
    """A Word document of 60 KB that would unpack to 60 MB."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        with archive.open("word/document.xml", "w") as entry:
            for _ in range(60):
                entry.write(bytes(1024 * 1024))
    return out.getvalue()
