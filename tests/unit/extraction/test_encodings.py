"""Texts in 30 languages and their encodings: how many are read correctly."""

import csv
import io
import re
from collections.abc import Callable

import pytest

from docmill.worker.extraction.child.encodings import decode, encoding_of, looks_like_text
from docmill.worker.extraction.child.kinds.base import Source
from docmill.worker.extraction.child.kinds.registry import open_reading
from docmill.worker.extraction.zygote.warm import use_blank_sentence_splitter
from docmill.worker.models import Element
from tests.support.languages import pairs, prose, typed

use_blank_sentence_splitter()

_CONTROLS = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f]")
#: Smallest share of texts that are read without a wrong character, by length in bytes.
LEAST_RIGHT = {40: 0.98, 100: 0.98, 400: 0.99, 4000: 0.99}


def page(text: str) -> str:
    shown = "".join(f"<p class='a'>{line}</p>\n" for line in re.findall(r"[^.]+\.?", text))
    return f"<!DOCTYPE html><html><head><title>1</title></head><body>{shown}</body></html>"


def table(text: str) -> str:
    out = io.StringIO()
    csv.writer(out).writerows([str(n), word, "1.5"] for n, word in enumerate(text.split(". ")))
    return out.getvalue()


@pytest.mark.parametrize("length", LEAST_RIGHT)
def test_prose_in_the_encodings_of_its_language(length: int) -> None:
    right, wrong = 0, []
    for language, encoding in pairs():
        for seed in range(3):
            text = prose(language, encoding, length, seed)
            found = decode(text.encode(encoding))
            assert not _CONTROLS.search(found), (language, encoding)
            if found == text:
                right += 1
            else:
                wrong.append((language, encoding, text))
    assert right >= LEAST_RIGHT[length] * (right + len(wrong)), wrong


@pytest.mark.parametrize(("wrap", "html"), [(page, True), (table, False)])
def test_pages_and_tables(wrap: Callable[[str], str], html: bool) -> None:
    wrong = []
    for language, encoding in pairs():
        text = wrap(prose(language, encoding, 400))
        if decode(text.encode(encoding), html=html) != text:
            wrong.append((language, encoding))
    assert len(wrong) <= 0.01 * len(pairs()), wrong


@pytest.mark.parametrize("language", ["de", "ru", "ja", "el", "pl", "en"])
def test_a_long_text_whose_first_half_is_ascii(language: str) -> None:
    for encoding in [own for known, own in pairs() if known == language]:
        text = "A page of plain English comes first.\n" * 5000
        text += prose(language, encoding, 2000) + "\n"
        data = text.encode(encoding)
        assert decode(data) == text
        assert encoding_of(io.BytesIO(data)).decode(data).removeprefix("\ufeff") == text


@pytest.mark.parametrize(
    "line",
    [
        "Price: £18",
        "The ticket costs £18 at the door, or 20 € online.",
        "“Hello”, she said \u2013 and that\u2019s all…",
        "5 °C",
        "© 2024 Acme® widgets™",
        "½ cup, 100 µm, 10 \u00d7 20 mm, ±5 %",
        "§ 5 Abs. 2",
        "Müller GmbH & Co",
        "Straße 5",
        "A café in Paris",
        "The naïve reading is wrong, says the clerk at the desk.",
        "año nuevo",
        "São Paulo",
        "Fräulein Schröder",
        "• one\n• two\n",
        "name;größe\nAnna;1,70\n",
        "É",
    ],
)
def test_a_few_signs_are_windows_1252(line: str) -> None:
    assert decode(line.encode("cp1252")) == line


@pytest.mark.parametrize("encoding", ["mac-roman", "cp850", "cp437"])
def test_encodings_of_other_machines_where_the_text_is_long_enough(encoding: str) -> None:
    for language in ("de", "es", "sv"):
        text = prose(language, encoding, 2000)
        assert decode(text.encode(encoding)) == text


def test_utf8_with_a_few_bytes_from_elsewhere() -> None:
    text = "Größe über alles; čeština, русский. " * 5
    data = text.encode() + "Prüfung".encode("cp1252")
    assert decode(data) == f"{text}Prüfung"
    late = b"Plain English.\n" * 9000 + data
    assert decode(late).endswith(f"{text}Prüfung")
    assert encoding_of(io.BytesIO(late)).decode(late) == decode(late)


def test_what_a_page_declares_is_believed_if_it_can_be_true() -> None:
    head = '<html><head><meta charset="{}"></head><body>{}</body></html>'
    for declared, written in [("koi8-r", "koi8-r"), ("gb2312", "gbk"), ("iso-8859-1", "cp1252")]:
        text = head.format(declared, {"koi8-r": "да", "gbk": "镕", "cp1252": "“a”"}[written])
        assert decode(text.encode(written), html=True) == text
    wrong = head.format("utf-8", "Die Prüfung")
    assert decode(wrong.encode("cp1252"), html=True) == wrong
    other = head.format("utf-16", "Die Prüfung")
    assert decode(other.encode("utf-8"), html=True) == other
    xml = '<?xml version="1.0" encoding="windows-1251"?><html><body>да</body></html>'
    assert decode(xml.encode("cp1251"), html=True) == xml


def test_escapes_of_a_terminal_and_of_lisp_are_no_encoding() -> None:
    for text in ("\x1b[31mred\x1b[0m\n" * 9, "(format t ~{~a~^, ~}) ~{ab~} ~a", "~{x~}"):
        assert decode(text.encode()) == text


@pytest.mark.parametrize("data", [bytes(range(256)) * 8, b"\x00\x01\x02\x03" * 99])
def test_what_is_no_text_is_not_taken_for_utf16(data: bytes) -> None:
    assert not looks_like_text(data)


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.html"])
@pytest.mark.parametrize(
    ("language", "encoding"),
    [
        *[("de", "cp1252"), ("pl", "iso8859-2"), ("ru", "koi8-r"), ("ja", "shift_jis")],
        *[("ja", "iso2022_jp"), ("zh-hans", "gbk"), ("ko", "euc_kr"), ("fr", "utf-16")],
    ],
)
def test_files_of_any_kind(name: str, language: str, encoding: str) -> None:
    text = typed(prose(language, encoding, 600).replace(",", ""), encoding)
    written = {"a.txt": text, "a.csv": f"1,{text}\n2,b\n", "a.html": page(text)}[name]
    source = Source(file=io.BytesIO(written.encode(encoding)), file_name=name)
    _type, reading = open_reading(source)
    found = "".join(part.text for part in reading.parts if isinstance(part, Element))
    # Chinese has no spaces: ignore what is between two lines or sentences.
    assert "".join(text.split()) in "".join(found.split())
