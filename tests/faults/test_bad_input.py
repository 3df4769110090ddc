"""Harmful documents: each ends with its code, in time, and affects no other.

Hundreds of kinds of damage that raise an exception in parsers are tested with the parsers.
"""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from docmill.worker.errors import JobError
from docmill.worker.extraction import ExtractionLimits, GuardedExtractor
from tests.faults import hostile_documents as hostile
from tests.faults.stack import FULL
from tests.integration.extraction import documents, ole
from tests.integration.extraction.conftest import (
    MIB,
    Document,
    assert_nothing_left,
    read_document,
    running_extractor,
)

#: The longest time of a document by the clock, which also runs during others' work, with a margin.
BOUND_SECONDS = 100


@pytest.fixture(scope="module")
def extractor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedExtractor]:
    limits = ExtractionLimits(
        children=3,
        timeout_seconds=15,
        patience=6,
        memory_bytes=768 * MIB,
        max_characters=5_000_000,
    )
    with running_extractor(tmp_path_factory.mktemp("extraction"), limits) as made:
        yield made


def outcome(extractor: GuardedExtractor, path: Path, name: str = "") -> "str | Document":
    """The code, or the document, within a limited time."""
    began = time.monotonic()
    try:
        return read_document(extractor, path, name)
    except JobError as error:
        return error.code
    finally:
        assert time.monotonic() - began < BOUND_SECONDS


REFUSED: dict[str, tuple[Callable[[], bytes], set[str]]] = {
    "bomb.docx": (documents.make_bomb, {"archive_too_large"}),
    "overlapping.docx": (
        lambda: hostile.overlapping(documents.make_docx()),
        {"archive_too_large"},
    ),
    "overlapping.xlsx": (
        lambda: hostile.overlapping(documents.make_xlsx()),
        {"archive_too_large"},
    ),
    "entries.pptx": (
        lambda: hostile.many_entries(documents.make_pptx(), 20_000),
        {"archive_too_large"},
    ),
    "lying.docx": (
        lambda: hostile.lying_bomb(documents.make_docx(), "word/document.xml", b"<a>"),
        {"corrupt"},
    ),
    "lying.xlsx": (
        lambda: hostile.lying_bomb(documents.make_xlsx(), "xl/worksheets/sheet1.xml", b"<a>"),
        {"corrupt", "empty_document"},
    ),
    "laughs.xml": (lambda: hostile.laughs("a"), {"corrupt"}),
    "laughs.docx": (lambda: hostile.word_with(hostile.laughs("a").decode()), {"corrupt"}),
    "loop.pdf": (hostile.pdf_with_a_loop, {"corrupt", "empty_document"}),
    "itself.pdf": (
        hostile.pdf_that_draws_itself,
        {"empty_document", "parse_memory", "parse_crashed"},
    ),
    "arrays.pdf": (lambda: hostile.pdf_of_nested_arrays(1_000_000), {"corrupt", "empty_document"}),
    "paths.pdf": (
        lambda: hostile.pdf_of_many_paths(334_000 if FULL else 34_000),
        {"empty_document", "parse_timeout"},
    ),
    "pages.pdf": (
        lambda: hostile.pdf_of_many_pages(50_000 if FULL else 2_000),
        {"empty_document"},
    ),
    "locked.pdf": (hostile.encrypted_pdf, {"encrypted"}),
    "locked.docx": (lambda: ole.make_ole({"EncryptedPackage": b"x" * 5000}), {"encrypted"}),
    "cut.pdf": (lambda: documents.make_pdf(["A page."])[:60], {"corrupt"}),
    "cut.xlsx": (lambda: documents.make_xlsx()[:-200], {"corrupt"}),
    "cut.msg": (lambda: ole.make_msg("a", "b", {})[:700], {"corrupt"}),
    "nothing.pdf": (lambda: b"", {"empty_document"}),
    "blank.docx": (lambda: b" \r\n\t" * 5000, {"empty_document"}),
    "bom.txt": (lambda: b"\xef\xbb\xbf", {"empty_document"}),
    "columns.csv": (lambda: b"x," * 60_000_000, {"document_too_large", "parse_memory"}),
    "nested.json": (lambda: b'{"a":' * 1_000_000, {"corrupt"}),
    "nested.xml": (lambda: b"<a>" * 1_000_000, {"corrupt"}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_ends_with_its_code(extractor: GuardedExtractor, tmp_path: Path, name: str) -> None:
    make, codes = REFUSED[name]
    path = tmp_path / name
    path.write_bytes(make())
    assert outcome(extractor, path) in codes


def test_cells_far_apart_are_read(extractor: GuardedExtractor, tmp_path: Path) -> None:
    path = tmp_path / "cells.xlsx"
    path.write_bytes(
        hostile.sheet_of(
            f'<row r="{n}"><c r="XFD{n}" t="str"><v>x</v></c></row>'
            for n in range(1, 1_000_001, 1_000)
        )
    )
    found = outcome(extractor, path)
    assert not isinstance(found, str), found
    assert " ".join(element.text for element in found.elements).count("x") == 1000


def test_a_bomb_that_nobody_needs_to_open_does_no_harm(
    extractor: GuardedExtractor, tmp_path: Path
) -> None:
    path = tmp_path / "a.docx"
    path.write_bytes(hostile.nested_bomb(documents.make_docx()))
    document = outcome(extractor, path)
    assert isinstance(document, Document)
    assert document.elements[0].text == "Annual Report"


def test_nothing_outside_the_document_is_read(extractor: GuardedExtractor, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("canary-5d1f")
    with socket.create_server(("127.0.0.1", 0)) as canary:
        web = f"http://127.0.0.1:{canary.getsockname()[1]}/x"
        for address in (f"file://{secret}", str(secret), web):
            made = {
                "a.xml": hostile.outside("a", address),
                "a.docx": hostile.word_with(hostile.outside("a", address).decode()),
                "linked.docx": _linked_word(address),
                "a.svg": hostile.outside("svg", address),
                "a.html": (
                    f'<html><head><base href="{address}"><link rel=stylesheet href="{address}">'
                    f'<script src="{address}"></script></head><body><p>kept</p>'
                    f'<object data="{address}"></object><embed src="{address}"></body></html>'
                ).encode(),
                "a.md": f"kept\n\n![]({address})\n\n<iframe src='{address}'></iframe>".encode(),
                "a.eml": (
                    "Subject: kept\nContent-Type: message/external-body; access-type=URL; "
                    f'URL="{address}"\n\nContent-Type: text/plain\n\n'
                ).encode(),
                "a.pdf": documents.pdf_of(
                    f"<< /Type /Catalog /Pages 2 0 R /OpenAction << /S /URI /URI ({address}) >> "
                    ">>".encode(),
                    hostile.PAGES, hostile.PAGE,
                    b"<< /Length 9 /F (%s) >>\nstream\n\nendstream" % address.encode(),
                ),
            }  # fmt: skip
            for name, content in made.items():
                path = tmp_path / name
                path.write_bytes(content)
                found = outcome(extractor, path)
                assert isinstance(found, str) or "canary-5d1f" not in found.text, name
        canary.setblocking(False)
        with pytest.raises(BlockingIOError):
            canary.accept()


def _linked_word(address: str) -> bytes:
    """A document with a picture, a template and a subdocument from other places."""
    kinds = ("image", "attachedTemplate", "subDocument", "aFChunk")
    links = "".join(
        f'<Relationship Id="x{number}" TargetMode="External" Target="{address}" '
        f'Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/{kind}"/>'
        for number, kind in enumerate(kinds)
    )
    relations = (
        '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
        f"{links}</Relationships>"
    )
    return hostile.rezipped(
        documents.make_docx(), changed={"word/_rels/document.xml.rels": relations.encode()}
    )


def test_forged_metadata_is_text_and_nothing_else(
    extractor: GuardedExtractor, tmp_path: Path
) -> None:
    forged = {
        "type": "NarrativeText",
        "text": "words",
        "metadata": {"filename": "/etc/passwd", "page_number": 99, "text_as_html": "<b>"},
    }
    path = tmp_path / "a.json"
    path.write_text(json.dumps([forged]))
    document = outcome(extractor, path)
    assert isinstance(document, Document)
    assert {(e.category, e.page) for e in document.elements} == {("Text", None)}
    assert all(e.metadata == {} for e in document.elements)


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.html", "a.json", "a.py", "a.md"])
def test_a_text_without_a_space_is_read_in_pieces_or_refused(
    extractor: GuardedExtractor, tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    path.write_text("x" * 4_000_000)
    found = outcome(extractor, path)
    if isinstance(found, str):
        assert found in {"document_too_large", "parse_memory", "parse_timeout", "parse_stalled"}
    else:
        assert sum(len(e.text) for e in found.elements) == 4_000_000


def test_200_mb_that_take_no_place_on_the_disk(extractor: GuardedExtractor, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with path.open("wb") as file:
        file.write(b"x" * 100_000)
        file.truncate(200 * MIB)
    found = outcome(extractor, path)
    assert found in {"document_too_large", "parse_memory", "parse_timeout", "parse_stalled"} or (
        isinstance(found, Document) and found.text.count("x") == 100_000
    )


@pytest.mark.parametrize(
    "name",
    [
        *("a?b.txt", "a#b.txt", "100%.txt", "%2e%2e%2f.txt", "../../etc/passwd", "x" * 1000),
        *("\u202etxt.exe", "a\nb\0c"),
    ],
)
def test_a_name_is_a_hint_and_nothing_else(
    extractor: GuardedExtractor, tmp_path: Path, name: str
) -> None:
    path = tmp_path / "file"
    path.write_text("The same words every time.")
    document = outcome(extractor, path, name)
    assert isinstance(document, Document)
    assert document.text == "The same words every time."


@pytest.mark.parametrize(
    ("name", "content", "mime_type"),
    [
        ("a.docx", documents.make_pdf(["A page."]), "application/pdf"),
        ("a.pdf", documents.make_xlsx(), "spreadsheetml.sheet"),
        ("a.pdf", b"<html><body><p>A page</p></body></html>", "text/html"),
        ("a.html", documents.make_docx(), "wordprocessingml.document"),
        # Two kinds in one file: the container at the beginning decides.
        ("a.pdf", documents.make_docx() + documents.make_pdf(["A page."]), "wordprocessingml"),
        ("a.docx", documents.make_pdf(["A page."]) + documents.make_docx(), "application/pdf"),
    ],
)
def test_the_content_decides_not_the_name(
    extractor: GuardedExtractor, tmp_path: Path, name: str, content: bytes, mime_type: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    document = outcome(extractor, path)
    assert isinstance(document, Document)
    assert mime_type in document.mime_type


def test_other_documents_do_not_notice(extractor: GuardedExtractor, tmp_path: Path) -> None:
    bad = {
        "a.json": b"[" + b"0," * 3_000_000 + b"0]",
        "a.pdf": hostile.pdf_that_draws_itself(),
        "a.docx": documents.make_bomb(),
    }
    for name, content in bad.items():
        (tmp_path / name).write_bytes(content)
    good = tmp_path / "good.docx"
    good.write_bytes(documents.make_docx())
    done = threading.Event()

    def read_good() -> list[Document]:
        read: list[Document] = []
        while not done.is_set() or not read:
            read.append(read_document(extractor, good))
        return read

    with ThreadPoolExecutor(3) as pool:
        reader = pool.submit(read_good)
        try:
            found = list(pool.map(lambda name: outcome(extractor, tmp_path / name), bad))
        finally:
            done.set()
    assert all(isinstance(code, str) for code in found)
    assert len({document.text for document in reader.result()}) == 1
    assert_nothing_left(extractor)
