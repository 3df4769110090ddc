"""The bytes show the media type; the name is a hint for text formats."""
# ruff: noqa: RUF001 -- letters of other scripts look like Latin letters, on purpose

import io
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docmill.worker.extraction.child import sniff
from docmill.worker.extraction.child.encodings import decode, looks_like_text
from docmill.worker.extraction.shared import media_types


def sniffed(content: bytes, name: str = "") -> str:
    return sniff.sniff(io.BytesIO(content), name)


def zipped(*names: str, **contents: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
        for name, content in contents.items():
            archive.writestr(name, content)
    return out.getvalue()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"%PDF-1.7\n", "application/pdf"),
        (b"\xef\xbb\xbf\n%PDF-1.4", "application/pdf"),
        (b"\x89PNG\r\n\x1a\n\0\0", "image/png"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "image/jpeg"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
        (b"\0\0\0\x18ftypheic", "image/heic"),
        (b"{\\rtf1\\ansi hello}", "application/rtf"),
        (b"\x1f\x8b\x08\0\0\0\0\0", "application/gzip"),
        (b"\x7fELF\x02\x01\x01\0", "application/x-executable"),
        (b"", sniff.EMPTY),
        (b" \n\t \n", sniff.EMPTY),
        (b"PK\x03\x04 cut off", sniff.BROKEN),
        (bytes(range(256)) * 8, sniff.UNKNOWN),
    ],
)
def test_bytes_decide(content, expected):
    assert sniffed(content, "notes.txt") == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (zipped("[Content_Types].xml", "word/document.xml"), media_types.DOCX),
        (zipped("[Content_Types].xml", "ppt/presentation.xml"), media_types.PPTX),
        (zipped("[Content_Types].xml", "xl/workbook.xml"), media_types.XLSX),
        (zipped(mimetype=b"application/epub+zip"), "application/epub+zip"),
        (
            zipped(mimetype=b"application/vnd.oasis.opendocument.text"),
            "application/vnd.oasis.opendocument.text",
        ),
        (zipped("word/document.xml"), "application/zip"),
        (
            zipped(
                "word/document.xml",
                **{"[Content_Types].xml": b"ms-word.document.macroEnabled.main+xml"},
            ),
            "application/vnd.ms-word.document.macroenabled.12",
        ),
    ],
)
def test_containers_are_told_apart_by_what_is_in_them(content, expected):
    assert sniffed(content, "table.csv") == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.md", "text/markdown"),
        ("a.CSV", "text/csv"),
        ("a.tsv", "text/tab-separated-values"),
        ("a.json", "application/json"),
        ("a.jsonl", "application/x-ndjson"),
        ("a.html", "text/html"),
        ("a.xml", "application/xml"),
        ("a.eml", media_types.EML),
        ("a.py", "text/x-py"),
        ("a.yaml", "text/x-yaml"),
        ("deploy/Dockerfile", "text/x-dockerfile"),
        ("a.txt", "text/plain"),
        ("a.pdf", "text/plain"),
        ("../../etc/passwd", "text/plain"),
        ("", "text/plain"),
    ],
)
def test_a_name_tells_text_formats_apart(name, expected):
    assert sniffed(b"one, two\n", name) == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"<!DOCTYPE html><html></html>", "text/html"),
        (b"<!-- a --><!-- b -->\n<HTML>", "text/html"),
        (b'<?xml version="1.0"?><feed/>', "application/xml"),
        (b'<?xml version="1.0"?><html xmlns="x"/>', "text/html"),
        (b'<?xml version="1.0"?><svg/>', "image/svg+xml"),
        (b'{"a": 1}', "application/json"),
        (b"From: a@b.c\nTo: d@e.f\nSubject: x\n\nbody", media_types.EML),
        (b"From: the start\nthis is prose", "text/plain"),
        (b"BMW and MZ are vehicles", "text/plain"),
        (b"{curly} prose", "text/plain"),
        (b'{"a": 1}\n{"a": 2}\n', "application/x-ndjson"),
        (b'{"a": 1,\n "b": {}}\n', "application/json"),
        (b"a\tb\n1\t2\n3\t4\n", "text/tab-separated-values"),
        (b'name,year,city\nAda,1815,London\n"Doe, J",1900,Bath\n', "text/csv"),
        (b"One, two, and three.\nFour, five, and six.\nNo, not, at all.\n", "text/plain"),
        (b"#!/usr/bin/env python3\nprint(1)\n", "text/x-py"),
        (b"#!/bin/bash -e\nls\n", "text/x-sh"),
        (b"Files of this kind begin with %PDF-1.7 and end so.\n", "text/plain"),
        (b"HTTP/1.1 200 OK\n\n%PDF-1.4\n1 0 obj\n", "application/pdf"),
        (b"GIF89a\n%PDF-1.4\n1 0 obj\n", "application/pdf"),
    ],
)
def test_text_that_says_what_it_is_needs_no_name(content, expected):
    assert sniffed(content) == expected


def test_many_comments_take_no_time():
    assert sniffed(b"<!-- x --> " * 5000 + b"text", "a.md") == "text/markdown"


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]
)
def test_unicode_text_is_found_and_decoded(encoding):
    text = "Déjà vu: ordinary text, long enough to be told from binary data.\n"
    assert sniffed(text.encode(encoding)) == "text/plain"
    assert decode(text.encode(encoding)) == text


def test_legacy_text_is_decoded():
    text = "Größe, Fläche und Maß der Straßen in München übertreffen die früheren bei weitem.\n" * 5
    assert decode(text.encode("cp1252")) == text


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        (
            "windows-1251",
            "Все счастливые семьи похожи друг на друга, каждая несчастливая по-своему.",
        ),
        ("koi8-r", "Все счастливые семьи похожи друг на друга, каждая несчастливая по-своему."),
        ("windows-1255", "בראשית ברא אלהים את השמים ואת הארץ והארץ היתה תהו ובהו וחשך על פני תהום"),
        ("shift_jis", "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。"),
        ("gb18030", "话说天下大势，分久必合，合久必分。周末七国分争，并入于秦。"),
        ("big5", "話說天下大勢，分久必合，合久必分。周末七國分爭，并入於秦。"),
        ("euc-kr", "모든 국민은 인간으로서의 존엄과 가치를 가지며 행복을 추구할 권리를 가진다."),
    ],
)
def test_text_in_the_encodings_of_other_scripts_is_decoded(encoding, text):
    content = f"{text}\n".encode(encoding) * 8
    assert looks_like_text(content)
    assert decode(content) == f"{text}\n" * 8


def test_a_page_is_decoded_as_it_declares():
    page = '<html><head><meta charset="windows-1251"></head><body>Привет</body></html>'
    assert "Привет" in decode(page.encode("windows-1251"), html=True)


@pytest.mark.parametrize("declared", [b"undefined", b"zlib", b"base64", b"nonsense"])
def test_a_page_that_declares_nonsense_is_decoded_all_the_same(declared):
    assert "text" in decode(b"<meta charset=" + declared + b">text \xe9", html=True)


def test_a_text_with_a_nul_is_text():
    assert looks_like_text(b"hello\x00world")


@given(st.binary(max_size=300), st.text(max_size=20))
def test_no_bytes_make_it_raise(content, name):
    assert "/" in sniffed(content, name)
    decode(content)
    decode(content, html=True)


@pytest.mark.parametrize(
    "start", [b"PK\x03\x04", b"PK\x05\x06", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"]
)
@given(rest=st.binary(max_size=2000))
def test_no_container_makes_it_raise(start, rest):
    assert "/" in sniffed(start + rest)
