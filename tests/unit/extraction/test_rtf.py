"""RTF as Word and WordPad write it, with code pages that the document names."""

import io
from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from docmill.worker.extraction.child.kinds.base import Source
from docmill.worker.extraction.child.kinds.registry import open_reading
from docmill.worker.models import Element
from tests.support.independent import rtf
from tests.support.judged_documents import words_in
from tests.support.languages import SENTENCES, prose
from tests.support.rtf_documents import random_rtf

#: By language: the encoding, Windows' code page, and the character set of a font.
PAGES = {
    "en": ("cp1252", 1252, 0),
    "fr": ("cp1252", 1252, 0),
    "pl": ("cp1250", 1250, 238),
    "ru": ("cp1251", 1251, 204),
    "el": ("cp1253", 1253, 161),
    "tr": ("cp1254", 1254, 162),
    "he": ("cp1255", 1255, 177),
    "ar": ("cp1256", 1256, 178),
    "lt": ("cp1257", 1257, 186),
    "th": ("cp874", 874, 222),
    "ja": ("cp932", 932, 128),
    "ko": ("cp949", 949, 129),
    "zh-hans": ("gbk", 936, 134),
    "zh-hant": ("cp950", 950, 136),
}


def elements(written: str) -> list[Element]:
    kind, reading = open_reading(Source(io.BytesIO(written.encode("latin-1")), "a.rtf"))
    assert kind == "application/rtf"
    return [part for part in reading.parts if isinstance(part, Element)]


def shown(written: str) -> str:
    return "\n".join(element.text for element in elements(written))


def in_bytes(text: str, encoding: str) -> str:
    """Like WordPad: each non-ASCII byte by its number."""
    written = ""
    for byte in text.encode(encoding):
        sign = chr(byte)
        escaped = f"\\'{byte:02x}" if byte >= 0x80 or sign in "\\{}" else sign
        written += escaped
    return written


def in_unicode(text: str, fallback: str = "?") -> str:
    """Like Word: halves of UTF-16 as signed numbers, each with a replacement for old readers."""
    data = text.encode("utf-16-le")
    numbers = (
        int.from_bytes(data[n : n + 2], "little", signed=True) for n in range(0, len(data), 2)
    )
    return "".join(
        chr(n) if 32 <= n < 127 and chr(n) not in "\\{}" else f"\\u{n} {fallback}" for n in numbers
    )


@pytest.mark.parametrize("language", PAGES)
def test_bytes_are_read_by_the_page_of_the_document_or_the_font(language: str) -> None:
    encoding, page, charset = PAGES[language]
    text = " ".join(prose(language, encoding, 600).split())
    body = in_bytes(text, encoding)
    fonts = f"{{\\fonttbl{{\\f0\\fnil\\fcharset{charset} A;}}{{\\f1\\fnil\\fcharset0 B;}}}}"
    assert shown(f"{{\\rtf1\\ansi\\ansicpg{page}\\deff0 {body}\\par}}") == text
    assert shown(f"{{\\rtf1\\ansi\\ansicpg1252\\deff1{fonts}\\pard\\f0 {body}\\par}}") == text
    assert shown(f"{{\\rtf1\\ansi\\ansicpg1252\\deff0{fonts}\\pard {body}\\par}}") == text


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(sorted(PAGES)), min_size=1, max_size=6), st.booleans())
def test_a_document_of_many_languages(languages: list[str], numbers: bool) -> None:
    """Each paragraph in its own font, or with Unicode numbers."""
    fonts = "".join(
        f"{{\\f{n}\\fnil\\fcharset{PAGES[language][2]} F{n};}}"
        for n, language in enumerate(languages)
    )
    body, expected = "", []
    for n, language in enumerate(languages):
        encoding = PAGES[language][0]
        text = " ".join(prose(language, encoding, 120, n).split())
        expected.append(text)
        written = in_unicode(text, "\\'3f") if numbers else in_bytes(text, encoding)
        body += f"{{\\pard\\f{n} {written}\\par}}\r\n"
    rtf = f"{{\\rtf1\\ansi\\ansicpg1252{{\\fonttbl{fonts}}}{body}}}"
    assert shown(rtf) == "\n".join(expected)


def test_what_stands_for_a_character_of_unicode_is_left_out() -> None:
    for text in ("Grüße 😀 日本", "\u2013"):
        for count, fallback in ((1, "?"), (0, ""), (2, "\\'93\\'fa"), (1, "\\'3f")):
            body = in_unicode(text, fallback)
            assert shown(f"{{\\rtf1\\uc{count} {body}\\par}}") == text


def test_headings_items_tables_notes_and_boxes() -> None:
    rtf = (
        r"{\rtf1\ansi{\stylesheet{\s0 Normal;}{\s1\outlinelevel0 \'dcberschrift 1;}"
        r"{\s2 heading 2;}}"
        r"{\info{\title A paper}{\author unseen}}{\header Running head\par}"
        r"\pard\s1 First\par\pard\s2 Second\par\pard A word{\v unseen}{\deleted unseen}"
        r"{\footnote\pard The note.}"
        r"{\shp{\*\shpinst{\sp{\sn unseen}{\sv unseen}}{\shptxt\pard In a box\par}}}"
        r" goes on.\par{\pntext\'b7\tab}An item\par{\listtext 1.\tab}One\par"
        r"{\field{\*\fldinst HYPERLINK unseen}{\fldrslt a link}}\par{\pict\bin4 }}{{unseen}"
        r"\trowd\clvmgf\cellx1\cellx2\pard\intbl North\par side\cell 2023\cell\row"
        r"\trowd\clvmrg\cellx1\cellx2\intbl\cell 2024\cell\row\pard Last \{word\}\par}"
    )
    found = elements(rtf)
    assert [
        (e.category, e.text, e.depth) for e in found if e.category in ("Title", "ListItem")
    ] == [
        ("Title", "First", 0),
        ("Title", "Second", 1),
        ("ListItem", "An item", None),
        ("ListItem", "1. One", None),
    ]
    texts = [element.text for element in found]
    assert "A word goes on." in texts
    assert texts.index("The note.") == texts.index("A word goes on.") + 1
    assert texts.index("In a box") == texts.index("The note.") + 1
    assert "North side | 2023\nNorth side | 2024" in texts
    assert "a link" in texts
    assert texts[-1] == "Last {word}"
    assert "unseen" not in " ".join(texts)
    assert "Running head" in texts


@pytest.mark.parametrize(
    "rtf",
    [r"{\rtf1 a}}}} b", r"{\rtf1 {{{{ a", "{\\rtf1 a\\", r"{\rtf1\bin99999999 a", r"{\rtf1\u"],
)
def test_broken_files_are_read_as_far_as_they_go(rtf: str) -> None:
    elements(rtf)


def test_time_grows_with_the_file() -> None:
    sentence = in_bytes(SENTENCES["ja"][0], "cp932")
    assert len(shown("{\\rtf1\\ansi\\ansicpg932 " + sentence * 5000 + "\\par}")) > 100_000
    assert shown("{\\rtf1" + "{" * 20_000 + "a" + "}" * 20_000 + "}") == "a"


def test_merged_cells_are_repeated_so_often_only() -> None:
    rows = "".join(r"\trowd\clvmrg\cellx1\cellx2\intbl \cell b\cell\row " for _ in range(500))
    written = r"{\rtf1 \trowd\cellx1\cellx2\intbl " + "long " * 4_000 + r"\cell a\cell\row " + rows
    text = shown(written + "}")
    assert text.count("long") < 250_000
    assert text.count("| b") == 500


def test_notes_within_notes_are_read_however_deep() -> None:
    text = shown(r"{\rtf1 body" + r"{\footnote note " * 5_000 + "}" * 5_001)
    assert text.count("note") == 5_000
    assert text.startswith("body")


def test_a_star_within_a_group_hides_nothing() -> None:
    assert shown(r"{\rtf1 {\f2\fs24\*\cs7\cf0 shown}{\*\unknown hidden}}") == "shown"


def test_of_an_embedded_object_its_picture_in_words_is_read() -> None:
    embedded = r"{\object\objemb{\*\objclass Word}{\*\objdata 0105}{\result {word1x}}}"
    rtf = rf"{{\rtf1 before {embedded} after}}"
    assert shown(rtf) == "before word1x after"


@settings(deadline=None, max_examples=150)
@given(st.integers(min_value=0))
def test_each_word_that_word_shows_is_read_once_in_order_and_no_other(seed: int) -> None:
    document = random_rtf(Random(seed))
    assert words_in(shown(document.data.decode("cp1252"))) == document.shown


@settings(deadline=None, max_examples=100)
@given(st.integers(min_value=0))
def test_an_independent_reader_agrees_with_who_wrote_the_file(seed: int) -> None:
    document = random_rtf(Random(seed))
    assert Counter(words_in(rtf.letters(document.data))) == Counter(document.shown)
