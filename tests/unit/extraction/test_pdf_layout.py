"""Lines on a page become paragraphs and titles."""

from docmill.worker.extraction.child.kinds.page.elements import page_elements
from docmill.worker.extraction.child.kinds.page.layout import Line
from docmill.worker.extraction.child.kinds.page.style import Style, style_of
from docmill.worker.extraction.child.kinds.pdf.lines import join_fragments, repaired

STYLE = Style(body_size=10, running=frozenset())


def line(
    text: str,
    y: float = 700,
    *,
    left: float = 70,
    right: float = 500,
    size: float = 10,
    bold: bool = False,
) -> Line:
    return Line(text, left, right, top=y + size, bottom=y, size=size, bold=bold)


def elements(*lines: Line) -> list[tuple[str, str, int | None]]:
    return [(e.category, e.text, e.depth) for e in page_elements(lines, STYLE, 1)]


def body(*texts: str, start: float = 700, size: float = 10) -> list[Line]:
    return [line(text, start - 12 * n, size=size) for n, text in enumerate(texts)]


def test_lines_of_a_paragraph_are_joined():
    assert elements(*body("The first line goes", "on in the second.")) == [
        ("NarrativeText", "The first line goes on in the second.", None)
    ]


def test_a_larger_distance_ends_a_paragraph():
    lines = [*body("One", "two"), *body("Three", "four", start=650)]
    assert [text for _, text, _ in elements(*lines)] == ["One two", "Three four"]


def test_an_indent_after_a_full_stop_begins_a_paragraph():
    lines = body("First", "paragraph.")
    new = line("Second paragraph", 676, left=90)
    assert len(elements(*lines, new)) == 2


def test_a_short_last_line_ends_a_paragraph():
    lines = [line("A long line", 700), line("ends here.", 688, right=120), line("New one", 676)]
    assert [text for _, text, _ in elements(*lines)] == ["A long line ends here.", "New one"]


def test_a_sentence_goes_on_in_the_next_column():
    lines = [line("goes", 50, right=280), line("on at the top", 700, left=300)]
    assert [text for _, text, _ in elements(*lines)] == ["goes on at the top"]


def test_larger_lines_are_titles_the_larger_the_higher():
    lines = [
        line("Document Title", 700, size=20),
        line("Chapter", 660, size=15),
        line("Section", 630, size=12),
        line("Bold heading", 600, bold=True),
        line("and the body text.", 580),
    ]
    assert [(category, depth) for category, _, depth in elements(*lines)] == [
        ("Title", 0),
        ("Title", 1),
        ("Title", 2),
        ("Title", 3),
        ("NarrativeText", None),
    ]


def test_a_title_on_two_lines_is_one_title():
    lines = [line("A Unified Toolkit", 700, size=14), line("for Deep Learning", 682, size=14)]
    assert elements(*lines) == [("Title", "A Unified Toolkit for Deep Learning", 1)]


def test_large_numbers_and_long_large_texts_are_no_titles():
    assert elements(line("42", size=30))[0][0] == "NarrativeText"
    assert elements(line("long " * 60, size=14))[0][0] == "NarrativeText"


def test_a_bold_sentence_is_no_title():
    assert elements(line("This is important for all readers.", bold=True))[0][0] == "NarrativeText"


def test_bullets_and_numbers_are_list_items():
    lines = body("• first", "goes on", "• second", "1. third", "(iv) fourth")
    assert [(category, text) for category, text, _ in elements(*lines)] == [
        ("ListItem", "first goes on"),
        ("ListItem", "second"),
        ("ListItem", "1. third"),
        ("ListItem", "(iv) fourth"),
    ]


def test_words_broken_at_a_line_end_are_whole_again():
    assert repaired("recur\ufffesive and dual\ufffeencoder", {"dual-encoder"}) == (
        "recursive and dual-encoder"
    )
    assert repaired("a d\ufffedimensional \ufffe", set()) == "a d-dimensional "


def test_a_superscript_joins_its_line():
    name, mark = line("Zejiang Shen", right=190), line("1", 704, left=190, right=194, size=6)
    rest = line(", Ruochen Zhang", left=194, right=280)
    (joined,) = join_fragments([name, mark, rest])
    assert joined.text == "Zejiang Shen1, Ruochen Zhang"
    assert (joined.size, joined.left, joined.right) == (10, 70, 280)


def test_fragments_with_a_gap_get_a_space():
    (joined,) = join_fragments([line("Chapter", right=100), line("One", left=105)])
    assert joined.text == "Chapter One"


def test_the_body_size_is_the_commonest_by_characters():
    pages = {1: [line("Title", size=30), *body("long text " * 9, "more text " * 9, size=9)]}
    assert style_of(pages).body_size == 9


def test_running_lines_are_headers_whatever_their_page_number():
    pages = {
        n: [
            line("Annual Report", 780),
            line(f"page {n + 2}", 20),
            line(f"Sum {n * n} EUR", 40),
            line(f"The body of chapter {n * n}", 400),
        ]
        for n in range(1, 7)
    }
    style = style_of(pages)
    shown = [(e.category, e.text) for e in page_elements(pages[5], style, 5)]
    assert [text for category, text in shown if category == "Header"] == [
        "Annual Report",
        "page 7",
    ]
