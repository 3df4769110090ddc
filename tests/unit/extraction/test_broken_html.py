"""The words of markup that is wrong: all that a browser shows is read, whatever is never closed."""

import io
import re
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from docmill.worker.errors import JobError
from docmill.worker.extraction.child.kinds.base import Source
from docmill.worker.extraction.child.kinds.registry import open_reading
from docmill.worker.extraction.zygote.warm import use_blank_sentence_splitter
from docmill.worker.models import Element
from tests.support.independent.browser import text_of

use_blank_sentence_splitter()

_WORD: Final = re.compile(r"w\d+x")
_TAGS: Final = """
    div p b i a span ul li ol table tr td th tbody thead caption h1 h2 pre code blockquote dl dt dd
    form button label section article main center font sub br hr img figure figcaption details
    summary html body address xmp listing nobr ruby ins q tfoot input output p:x x-y
    """.split()  # noqa: SIM905 -- would take a page
_ODD: Final = ("<", "&", "</", "<!-- a -->", "&lt;b&gt;", "<1>", "</ p>", "<p/>", "<?a?>", "\f")

_tags = st.sampled_from(_TAGS)
_pieces = st.lists(
    st.one_of(
        st.just("w"),
        _tags.map("<{}>".format),
        _tags.map("</{}>".format),
        st.sampled_from(_ODD),
    ),
    min_size=2,
    max_size=25,
)


def read(markup: str) -> list[str]:
    """The numbered words that docmill finds."""
    try:
        _, reading = open_reading(Source(io.BytesIO(markup.encode()), "a.html"))
        parts = list(reading.parts)
    except JobError as error:
        if error.code != "empty_document":
            raise
        return []
    return _WORD.findall("\n".join(part.text for part in parts if isinstance(part, Element)))


@settings(deadline=None, max_examples=300)
@given(pieces=_pieces, begins=st.booleans(), ends=st.booleans())
def test_no_word_of_wrong_markup_is_lost(
    pieces: list[str],
    *,
    begins: bool,
    ends: bool,
) -> None:
    markup = "".join(
        f" w{number}x " if piece == "w" else piece for number, piece in enumerate(pieces)
    )
    begin = "<!DOCTYPE html><html><head><title>t</title></head><body>" if begins else ""
    markup = f"{begin}<p>w99x</p>{markup}{'</body></html> w100x' if ends else ''}"
    shown = set(_WORD.findall(text_of(markup)))
    assert shown - set(read(markup)) == set()


@pytest.mark.parametrize(
    "markup",
    [
        "<html><body><p>w1x</p></body></html>\n-- \nw2x\n",
        "<html><body><p>w1x</p></body></html><html><body><p>w2x</p></body></html>",
        "<body><div>w1x</body >w2x</div></HTML\n>w3x",
        "<body><p>w1x</p><!-- </body> --><p>w2x</p>",
    ],
    ids=["a line of a mailing list", "two pages in one file", "odd ends", "an end in a comment"],
)
def test_what_follows_the_end_of_the_page_is_read(markup: str) -> None:
    assert read(markup) == _WORD.findall(text_of(markup))


@pytest.mark.parametrize("header", ["<header>{}</header>", "<header><p>{}</p></header>"])
def test_a_header_of_prose_is_content_and_a_header_of_links_is_none(header: str) -> None:
    prose = "w1x is the first of many words that say what this whole page is about. " * 3
    links = '<a href="/">w2x home</a> <a href="/about">w3x about</a> ' * 20
    body = "<p>" + "w4x goes on with more text. " * 20 + "</p>"
    words = set(read(f"<body>{header.format(prose)}{body}</body>"))
    assert words == {"w1x", "w4x"}
    assert set(read(f"<body>{header.format(links)}{body}</body>")) == {"w4x"}
