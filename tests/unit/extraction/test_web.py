"""The text that is read from a page, compared with the text that a browser shows."""

import io
import re
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from docmill.worker.extraction.child.kinds.base import Source
from docmill.worker.extraction.child.kinds.registry import open_reading
from docmill.worker.extraction.zygote.warm import use_blank_sentence_splitter
from docmill.worker.models import Element
from tests.support.independent.web import letters

use_blank_sentence_splitter()

_WORD = re.compile(r"w\d+x")
_INLINE = (
    "b",
    "i",
    "a",
    "span",
    "sup",
    "code",
    "label",
    "button",
    "my-tag",
    "font",
    "q",
    "output",
    "textarea",
)
_BLOCK = (
    *("div", "section", "article", "main", "aside", "p", "blockquote", "figure", "details"),
    *("fieldset", "form", "address", "center", "pre", "h2", "h5", "my-block"),
)
_UNSEEN = (
    *("<script>{}</script>", "<style>{}</style>", "<template>{}</template>", "<nav>{}</nav>"),
    *("<div hidden>{}</div>", "<select><option>{}</option></select>", "<!-- {} -->"),
    "<div role='navigation'>{}</div>",
)
#: Puts text into tags: one tag for its first part, one for the others.
_PAIRS = (("figure", "figcaption"), ("details", "summary"), ("fieldset", "legend"))


def tagged(tag: str) -> Callable[[str], str]:
    return lambda inner: f"<{tag}>{inner}</{tag}>"


def inline() -> st.SearchStrategy[str]:
    word = st.just("w#x")
    wrapped = st.builds(lambda tag, inner: tagged(tag)(inner), st.sampled_from(_INLINE), word)
    pieces = st.lists(st.one_of(word, wrapped, st.sampled_from([" ", "\n", "<br>"])), max_size=5)
    return pieces.map("".join)


def grid(cells: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    cell = st.one_of(cells.map(tagged("td")), st.just("<!-- unseen -->"))
    row = st.lists(cell, min_size=1, max_size=3).map("".join).map(tagged("tr"))
    rows = st.lists(row, min_size=1, max_size=3).map("".join)
    body = st.one_of(rows, rows.map(tagged("tbody")), rows.map(lambda r: f"<form>{r}</form>"))
    caption = st.sampled_from(["", "<caption>w#x</caption>", "w#x"])
    return st.builds(lambda top, inner: f"<table>{top}{inner}</table>", caption, body)


def listed(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    item = inner.map(tagged("li"))
    terms = st.builds(lambda a, b: f"<dt>{a}</dt><dd>{b}</dd>", inline(), inner)
    return st.one_of(
        st.lists(item, max_size=3).map("".join).map(tagged("ul")),
        st.lists(item, max_size=3).map("".join).map(tagged("ol")),
        st.lists(terms, max_size=3).map("".join).map(tagged("dl")),
        terms.map(tagged("div")).map(tagged("dl")),
    )


@st.composite
def blocks(draw: st.DrawFn, inner: st.SearchStrategy[str]) -> str:
    pair = st.builds(
        lambda tags, first, rest: tagged(tags[0])(tagged(tags[1])(first) + rest),
        st.sampled_from(_PAIRS),
        inline(),
        inner,
    )
    block = st.builds(lambda tag, text: tagged(tag)(text), st.sampled_from(_BLOCK), inner)
    unseen = st.sampled_from(_UNSEEN).map(lambda form: form.format("unseen"))
    one = st.one_of(block, pair, listed(inner), grid(inner), inline(), unseen)
    return "".join(draw(st.lists(one, min_size=1, max_size=4)))


def numbered(markup: str) -> str:
    parts = markup.split("w#x")
    return "".join(f"{part}w{n}x" for n, part in enumerate(parts[:-1])) + parts[-1]


PAGES = st.recursive(inline(), blocks, max_leaves=25).map(numbered)


def elements(markup: str | bytes, name: str = "a.html") -> list[Element]:
    data = markup if isinstance(markup, bytes) else markup.encode()
    _type, reading = open_reading(Source(io.BytesIO(data), name))
    return [part for part in reading.parts if isinstance(part, Element)]


def text(markup: str, name: str = "a.html") -> str:
    return "\n".join(element.text for element in elements(markup, name))


#: So much that navigation is never most of a page: otherwise it would be read.
_TEXT = " ".join(f"w{8000 + number}x" for number in range(500))


@settings(max_examples=200, deadline=None)
@given(PAGES)
def test_each_word_of_a_page_is_read_once(body: str) -> None:
    body = f"{body}<p>{_TEXT}</p>"
    page = f"<!DOCTYPE html><html><head><title>w9999x</title></head><body>{body}</body></html>"
    found = text(page)
    read, shown = _WORD.findall(found), _WORD.findall(letters(page.encode()))
    assert sorted(read) == sorted(shown)
    if "<table" not in page:
        assert read == shown
    assert "unseen" not in found


@st.composite
def spanned_grids(draw: st.DrawFn) -> tuple[str, list[list[str]]]:
    """A table with spanning cells, and the text at each place in it."""
    height, width = draw(st.integers(2, 5)), draw(st.integers(2, 5))
    places = [[""] * width for _ in range(height)]
    rows = []
    for y in range(height):
        cells = []
        for x in range(width):
            if places[y][x]:
                continue
            free = next((n for n in range(x, width) if places[y][n]), width) - x
            # One cell less, because a cell as wide as the table is a line of its own.
            columns = draw(st.integers(1, max(1, min(free, width - 1))))
            down = draw(st.integers(1, height - y))
            word = f"w{y}{x}x"
            for below in range(y, y + down):
                places[below][x : x + columns] = [word] * columns
            cells.append(f"<td colspan={columns} rowspan='{down}'><p>{word}</p></td>")
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return f"<table>{''.join(rows)}</table>", places


@settings(max_examples=150, deadline=None)
@given(spanned_grids())
def test_each_row_of_a_table_stands_alone(table: tuple[str, list[list[str]]]) -> None:
    markup, places = table
    assert text(f"<html><body>{markup}</body></html>") == "\n".join(map(" | ".join, places))


def test_a_cell_as_wide_as_the_table_is_there_once() -> None:
    rows = "<tr><td>a<td>b</tr><tr><td colspan=2>East</tr><tr><td>1<td>2</tr>"
    assert text(f"<table>{rows}</table>") == "a | b\nEast\n1 | 2"


def test_spans_without_measure_cost_nothing() -> None:
    cells = "<td rowspan=65000 colspan=999999>word word</td>" * 50
    rows = "<tr><td>a</td><td>b</td></tr>" * 500
    assert len(text(f"<table><tr>{cells}</tr>{rows}</table>")) < 3_000_000


def test_words_of_a_cell_are_not_torn() -> None:
    cell = "H<sub>2</sub>O<br>and<ul><li>one</li><li>two</li></ul><b>B</b>old"
    assert text(f"<table><tr><td>{cell}<td>b</table>") == "H2O and one two Bold | b"


@pytest.mark.parametrize(
    "links",
    [
        "<ul class='lang-switcher'><li><a href=/de>Deutsch</a><li><a href=/fr>unseen</a></ul>",
        "<div id=breadcrumbs><a href=/>Home</a> > <a href=/a>unseen</a></div>",
        "<ul><li><a hreflang=de>D</a><li><a hreflang=fr>unseen</a><li><a hreflang=es>E</a></ul>",
    ],
)
def test_links_to_other_pages_and_languages_are_no_content(links: str) -> None:
    prose = "<p>What this page is about is written in a paragraph of its own, beside them.</p>"
    found = text(f"<html><body>{links}<main>{prose}</main></body></html>")
    assert "unseen" not in found
    assert "a paragraph of its own" in found


def test_a_menu_of_dishes_is_content() -> None:
    dishes = "<div class=menu><p>Soup of the day</p><p>Bread with <a href=/b>butter</a></p></div>"
    assert "Soup of the day" in text(f"<html><body>{dishes}<p>Open daily.</p></body></html>")


def test_panels_that_are_opened_on_the_page_are_read() -> None:
    panels = (
        "<button aria-controls=p1>Question</button><div id=p1 hidden>Answer one.</div>"
        "<div role=tabpanel hidden>Second tab.</div><div hidden>unseen</div>"
    )
    found = text(f"<html><body><p>Some text before.</p>{panels}</body></html>")
    assert "Answer one." in found
    assert "Second tab." in found
    assert "unseen" not in found


def test_a_single_letter_is_text() -> None:
    assert text("<html><body><h2>Grade</h2><p>A</p><div>7</div></body></html>") == "Grade\nA\n7"


@pytest.mark.parametrize(
    ("opening", "closing", "indent"),
    [
        ('```python title="a.py" hl_lines="2"', "```", ""),
        ("~~~ {.python #id startFrom=10}", "~~~~", ""),
        ("```js {1,3} showLineNumbers", "```", "   "),
        ("````text", "````", "  "),
        ("```", "", ""),
    ],
)
def test_fences_with_attributes_are_code(opening: str, closing: str, indent: str) -> None:
    code = "def f():\n    return 1\n\nprint(f())"
    lines = [opening, *code.split("\n"), closing]
    markdown = "Before.\n\n" + "\n".join(f"{indent}{line}".rstrip() for line in lines)
    found = [(one.category, one.text.strip("\n")) for one in elements(markdown, "a.md")]
    assert ("CodeSnippet", code) in found


def test_code_in_a_line_is_no_fence() -> None:
    assert text("Say ```a``` b.\n\n```a``` begins.\n\nThe end.", "a.md").endswith("The end.")


def test_a_table_that_arranges_the_page_is_read_block_by_block() -> None:
    inner = "<table><tr><th>Name<th>Age<tr><td>Ann<td>31</table>"
    page = f"<table><tr><td>Left words<td>Middle {inner} After<tr><td colspan=2>Foot</table>"
    assert text(page) == "Left words\nMiddle\nName | Age\nAnn | 31\nAfter\nFoot"


def test_tables_in_tables_take_time_as_they_are_long() -> None:
    rows = "<tr><td>w1x<td>b" * 5_000
    assert text("<table><tr><td>x" * 300 + rows).count("w1x") == 5_000


def test_cells_of_all_tables_together_are_repeated_so_often_only() -> None:
    table = "<table><tr><td colspan=200 rowspan=999>x<td>y" + "<tr><td>z" * 60 + "</table>"
    assert text(table * 60).count("z") == 3_600
