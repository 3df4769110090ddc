"""Harmful documents, each as small as possible."""

import io
import struct
import zipfile
from collections.abc import Iterable

from tests.integration.extraction import documents
from tests.integration.extraction.documents import pdf_of

#: A text that the provider of chaos refuses to embed.
FORBIDDEN = "forbidden-word"
MIB = 1024 * 1024


def rezipped(content: bytes, *, changed: dict[str, bytes]) -> bytes:
    """An Office file with some of its parts replaced or added."""
    out = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(content)) as old,
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            if name not in changed:
                new.writestr(name, old.read(name))
        for name, data in changed.items():
            new.writestr(name, data)
    return out.getvalue()


def lying_bomb(content: bytes, part: str, beginning: bytes) -> bytes:
    """A part that declares a small size and unpacks to 100 MB."""
    made = bytearray(rezipped(content, changed={part: beginning + b" " * (100 * MIB)}))
    directory = made.rindex(b"PK\x01\x02")
    struct.pack_into("<I", made, directory + 24, 1000)
    local = struct.unpack_from("<I", made, directory + 42)[0]
    struct.pack_into("<I", made, local + 22, 1000)
    return bytes(made)


def overlapping(content: bytes) -> bytes:
    """Many entries of the directory share one place: 10 MB become 1 GB."""
    made = rezipped(content, changed={"zeros": bytes(10 * MIB)})
    end = made.rindex(b"PK\x05\x06")
    start, size = struct.unpack_from("<I", made, end + 16)[0], end
    entry = made[made.rindex(b"PK\x01\x02") : end]
    directory = made[start:size] + entry * 100
    tail = bytearray(made[end:])
    count = struct.unpack_from("<H", tail, 10)[0] + 100
    struct.pack_into("<2H2I", tail, 8, count, count, len(directory), start)
    return made[:start] + directory + bytes(tail)


def many_entries(content: bytes, count: int) -> bytes:
    """An Office file among very many empty files."""
    return rezipped(content, changed={f"x{number}": b"" for number in range(count)})


def nested_bomb(content: bytes) -> bytes:
    """A bomb in a zip in a zip, as an embedded object: nothing needs to open it."""
    bomb = documents.make_bomb()
    for level in range(5):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(f"{level}.zip", bomb)
        bomb = out.getvalue()
    return rezipped(content, changed={"word/embeddings/x.zip": bomb})


def laughs(root: str) -> bytes:
    """Entities that expand to 10 billion words."""
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10 if n else "lol"}">' for n in range(11))
    return (
        f'<?xml version="1.0"?><!DOCTYPE {root} [{entities}]><{root}><b>&e10;</b></{root}>'.encode()
    )


def outside(root: str, address: str) -> bytes:
    """Entities, a DTD, a style sheet and an inclusion from other places."""
    return (
        f'<?xml version="1.0"?><?xml-stylesheet href="{address}"?>'
        f'<!DOCTYPE {root} SYSTEM "{address}" [<!ENTITY e SYSTEM "{address}">'
        f'<!ENTITY % p SYSTEM "{address}"> %p;]>'
        f'<{root} xmlns:xi="http://www.w3.org/2001/XInclude"><b>&e;</b>'
        f'<xi:include href="{address}" parse="text"/><c>kept</c></{root}>'
    ).encode()


def word_with(body: str) -> bytes:
    """A Word document with this main part."""
    return rezipped(documents.make_docx(), changed={"word/document.xml": body.encode()})


CATALOG = b"<< /Type /Catalog /Pages 2 0 R >>"
PAGE = b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R >>"
PAGES = b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>"


def stream(data: bytes, extra: bytes = b"") -> bytes:
    return b"<< /Length %d %s >>\nstream\n%s\nendstream" % (len(data), extra, data)


def pdf_with_a_loop() -> bytes:
    """Pages whose child is their parent."""
    return pdf_of(CATALOG, b"<< /Type /Pages /Kids [3 0 R] /Count 9 >>",
                  b"<< /Type /Pages /Parent 2 0 R /Kids [2 0 R 3 0 R] /Count 9 >>")  # fmt: skip


def pdf_that_counts_too_many(count: int) -> bytes:
    """One page; the list of pages contains itself and claims this many pages."""
    pages = b"<< /Type /Pages /Kids [2 0 R 2 0 R 3 0 R] /Count %d >>" % count
    return pdf_of(CATALOG, pages, PAGE, stream(b""))


def pdf_of_many_pages(count: int) -> bytes:
    """The same empty page very many times."""
    kids = b"3 0 R " * count
    pages = b"<< /Type /Pages /Count %d /Kids [%s] >>" % (count, kids)
    return pdf_of(CATALOG, pages, PAGE, stream(b""))


def pdf_that_draws_itself() -> bytes:
    """A form that draws itself, twice."""
    page = PAGE.replace(b">>", b"/Resources << /XObject << /F 5 0 R >> >> >>")
    form = stream(
        b"/F Do /F Do", b"/Type /XObject /Subtype /Form /BBox [0 0 9 9] "
        b"/Resources << /XObject << /F 5 0 R >> >>"
    )  # fmt: skip
    return pdf_of(CATALOG, PAGES, page, stream(b"/F Do"), form)


def pdf_of_many_paths(count: int) -> bytes:
    """This many lines, with three operators each."""
    return pdf_of(CATALOG, PAGES, PAGE, stream(b"0 0 m 9 9 l S\n" * count))


def pdf_of_nested_arrays(depth: int) -> bytes:
    return pdf_of(CATALOG, PAGES, PAGE, b"[" * depth + b"]" * depth)


def encrypted_pdf() -> bytes:
    lock = b"<< /Filter /Standard /V 1 /R 2 /O <%s> /U <%s> /P -4 >>" % (b"11" * 32, b"22" * 32)
    trailer = b"<< /Root 1 0 R /Encrypt 5 0 R /ID [<00> <00>] >>"
    return pdf_of(CATALOG, PAGES, PAGE, stream(b""), lock, trailer=trailer)


def sheet_of(rows: Iterable[str]) -> bytes:
    """A workbook whose sheet has this XML as its rows."""
    body = (
        '<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>'
        + "".join(rows)
        + "</sheetData></worksheet>"
    )
    return rezipped(documents.make_xlsx(), changed={"xl/worksheets/sheet1.xml": body.encode()})


def small_monsters() -> list[tuple[str, bytes]]:
    """Files of every harmful kind that cost seconds to read: ending and content."""
    word, sheet = documents.make_docx(), documents.make_xlsx()
    return [
        ("md", b"[" * 20_000),
        ("md", b"\\[" * 400_000),
        ("md", b"> " * 5_000),
        ("txt", "\u4e00".encode() * 100_000),
        ("txt", b"a" * 300_000),
        ("txt", b"\xff\xfe" + b"\x00" * 999),
        ("txt", b""),
        ("txt", f"A {FORBIDDEN} alone.".encode()),
        ("md", "\n\n".join(f"# {n}\n\nA {FORBIDDEN}, {n}." for n in range(60)).encode()),
        ("json", b"[" * 100_000),
        ("csv", b"," * 100_000),
        ("html", b"<table><tr><td>" * 5_000),
        ("xml", laughs("a")),
        ("pdf", pdf_with_a_loop()),
        ("pdf", pdf_that_draws_itself()),
        ("pdf", pdf_that_counts_too_many(900_000)),
        ("pdf", pdf_of_nested_arrays(50_000)),
        ("pdf", encrypted_pdf()),
        ("pdf", b"%PDF-1.7\n" + b"\x00" * 1000),
        ("docx", word[: len(word) // 2]),
        ("docx", nested_bomb(word)),
        ("xlsx", lying_bomb(sheet, "xl/sharedStrings.xml", b"<sst>")),
        ("xlsx", overlapping(sheet)),
        ("zip", documents.make_bomb()),
    ]
