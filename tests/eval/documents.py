"""Makes documents of several kinds from sources in plain text.

A source has the name of its document: `leave.docx.md` becomes `leave.docx`. Its Markdown has only
headings, paragraphs and lists; the source of a sheet is a CSV file.
"""

import csv
import html
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

_LINE_CHARACTERS: Final = 88
_PAGE_LINES: Final = 44

#: The level of a heading, 0 for a paragraph, -1 for a list item; and the text.
Block = tuple[int, str]


def made(source: Path, folder: Path) -> Path:
    """Make the document of a source in a folder; any other file is returned unchanged."""
    kinds = [suffix.removeprefix(".") for suffix in source.suffixes]
    if len(kinds) < 2 or kinds[-2] not in _WRITERS:
        return source
    target = folder / source.name.removesuffix(source.suffix)
    _WRITERS[kinds[-2]](source.read_text(), target)
    return target


def blocks_of(text: str) -> Iterator[Block]:
    """Headings, paragraphs and list items, in order."""
    for part in text.strip().split("\n\n"):
        for line in part.split("\n") if part.startswith(("- ", "#")) else [" ".join(part.split())]:
            marks = len(line) - len(line.lstrip("#"))
            if marks:
                yield marks, line[marks:].strip()
            elif line.startswith("- "):
                yield -1, line[2:].strip()
            elif line.strip():
                yield 0, line.strip()


def _write_docx(text: str, target: Path) -> None:
    from docx import Document

    document = Document()
    for level, line in blocks_of(text):
        if level > 0:
            document.add_heading(line, level=level)
        else:
            document.add_paragraph(line, style="List Bullet" if level else None)
    document.save(str(target))


def _write_html(text: str, target: Path) -> None:
    tags = {0: "p", -1: "li"}
    lines = [
        f"<{(tag := tags.get(level, f'h{level}'))}>{html.escape(line)}</{tag}>"
        for level, line in blocks_of(text)
    ]
    head = '<!doctype html><html><head><meta charset="utf-8"></head><body>'
    target.write_text(f"{head}\n{chr(10).join(lines)}\n</body></html>\n")


def _write_pptx(text: str, target: Path) -> None:
    """A slide for each heading."""
    from pptx import Presentation

    presentation = Presentation()
    body = None
    for level, line in blocks_of(text):
        if level > 0:
            slide = presentation.slides.add_slide(presentation.slide_layouts[1])
            slide.shapes.title.text = line
            body = slide.placeholders[1].text_frame
        elif body is not None:
            body.text = f"{body.text}\n{line}" if body.text else line
    presentation.save(str(target))


def _write_xlsx(text: str, target: Path) -> None:
    from openpyxl import Workbook

    workbook = Workbook()
    sheet = workbook.active
    assert sheet is not None
    for row in csv.reader(text.splitlines()):
        sheet.append(row)
    workbook.save(target)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines of a page with their font size."""
    for level, block in blocks_of(text):
        size = {1: 18, 2: 14}.get(level, 11)
        line = "- " if level < 0 else ""
        for word in block.split():
            if len(line) + len(word) > _LINE_CHARACTERS:
                yield size, line
                line = ""
            line += f"{word} "
        yield size, line
        yield 11, ""


def _write_pdf(text: str, target: Path) -> None:
    """Pages in Helvetica with the letters of Western Europe (PDF 1.4, ISO 32000-1)."""
    lines = list(_lines(text))
    pages = [lines[start : start + _PAGE_LINES] for start in range(0, len(lines), _PAGE_LINES)]
    kids = " ".join(f"{4 + 2 * number} 0 R" for number in range(len(pages)))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    for number, page in enumerate(pages):
        shown = " ".join(f"/F1 {size} Tf ({_escaped(line)}) Tj T*" for size, line in page)
        stream = f"BT 16 TL 60 780 Td {shown} ET"
        place = f"/Parent 2 0 R /MediaBox [0 0 595 842] /Contents {5 + 2 * number} 0 R"
        objects += [
            f"<< /Type /Page {place} /Resources << /Font << /F1 3 0 R >> >> >>",
            f"<< /Length {len(stream.encode('cp1252'))} >>\nstream\n{stream}\nendstream",
        ]
    target.write_bytes(_pdf_of(objects))


def _escaped(line: str) -> str:
    return line.strip().replace("\\", "\\\\").replace("(", "\\(").replace(")", "\\)")


def _pdf_of(objects: list[str]) -> bytes:
    content, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(content))
        content += f"{number} 0 obj\n{body}\nendobj\n".encode("cp1252")
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    trailer = (
        f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}"
        f"trailer << /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{len(content)}\n%%EOF\n"
    )
    return content + trailer.encode()


_WRITERS: Final[dict[str, Callable[[str, Path], None]]] = {
    "docx": _write_docx,
    "html": _write_html,
    "pptx": _write_pptx,
    "xlsx": _write_xlsx,
    "pdf": _write_pdf,
}
