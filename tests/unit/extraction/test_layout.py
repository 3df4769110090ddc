"""Lines side by side are columns of prose, rows of a table, or one line."""

from hypothesis import given
from hypothesis import strategies as st

from docmill.worker.extraction.child.kinds.page.layout import Line, Row, arranged

PROSE = "words of a column that go on"


def row(y: float, *pieces: tuple[float, str]) -> Row:
    """Pieces of text at their left edges; a character is 5 wide."""
    lines = [
        Line(text, left, left + 5 * len(text), top=y + 10, bottom=y, size=10, bold=False)
        for left, text in pieces
    ]
    whole = Line(" ".join(text for _, text in pieces), lines[0].left, lines[-1].right,
                 top=y + 10, bottom=y, size=10, bold=False)  # fmt: skip
    return Row(whole, tuple(lines) if len(lines) > 1 else ())


def rows(*pieces: list[tuple[float, str]]) -> list[Row]:
    return [row(700 - 12 * number, *line) for number, line in enumerate(pieces)]


def shown(rows: list[Row]) -> list[str]:
    return [" | ".join(line.cells) if line.cells else line.text for line in arranged(rows)]


def test_prose_in_columns_is_read_column_by_column():
    title = "A title across the page, over both columns of it"
    lines: list[list[tuple[float, str]]] = [[(60, title)]]
    lines += [[(60, f"{PROSE} {n}"), (300, f"{PROSE} {n + 9}")] for n in range(4)]
    lines += [[(60, "left only")]]
    assert shown(rows(*lines)) == [
        title,
        *(f"{PROSE} {n}" for n in range(4)),
        "left only",
        *(f"{PROSE} {n + 9}" for n in range(4)),
    ]


def test_short_pieces_in_line_are_a_table():
    assert shown(
        rows(
            [(60, "Before the table there is a line of text that is longer than a cell")],
            [(60, "Name"), (200, "Year")],
            [(60, "Ada"), (200, "1815")],
            [(60, "Alan"), (200, "1912")],
            [(60, "After the table there is a line of text that is longer than a cell")],
        )
    )[1:4] == ["Name | Year", "Ada | 1815", "Alan | 1912"]


def test_a_cell_may_have_several_lines():
    assert shown(
        rows(
            [(60, "Name"), (200, "What")],
            [(60, "Ada"), (200, "wrote the first")],
            [(200, "program")],
            [(60, "Alan"), (200, "a test")],
        )
    ) == ["Name | What", "Ada | wrote the first program", "Alan | a test"]


def test_a_header_beside_its_column_is_its_header():
    assert shown(
        rows([(60, "Line"), (200, "What")], [(100, "1"), (200, "one")], [(100, "2"), (200, "two")])
    ) == ["Line | What", "1 | one", "2 | two"]


def test_the_two_ends_of_one_line_are_one_line():
    assert shown(rows([(60, "Chapter 1"), (400, "Page 3")], [(60, "It was a dark night")])) == [
        "Chapter 1 Page 3",
        "It was a dark night",
    ]


def test_pieces_that_share_no_gap_are_lines():
    lines: list[list[tuple[float, str]]]
    lines = [[(60, "a" * 20), (190, "b" * 20)], [(60, "c" * 34), (250, "d" * 9)]]
    assert shown(rows(*lines)) == [f"{a} {b}" for (_, a), (_, b) in lines]


pieces = st.lists(
    st.tuples(st.integers(0, 100), st.text("ab", min_size=1, max_size=40)), min_size=1, max_size=4
)


@given(st.lists(pieces, max_size=12))
def test_no_text_is_lost_and_none_comes_twice(lines: list[list[tuple[int, str]]]):
    made = []
    for number, line in enumerate(lines):
        left, placed = 60.0, []
        for gap, text in line:
            placed.append((left, text))
            left += 5 * len(text) + 15 + gap
        made.append(row(700 - 12 * number, *placed))
    found = "".join(sorted("".join(shown(made)).replace(" ", "").replace("|", "")))
    assert found == "".join(sorted(text for line in lines for _, text in line for text in text))


def test_a_line_far_below_a_row_is_not_in_its_cell():
    found = list(
        arranged(
            [
                row(760, (60, "10"), (200, "A running head")),
                row(728, (200, "A title of the table")),
                row(714, (60, "class"), (200, "what it is")),
                row(702, (60, "dat"), (200, "one data set")),
            ]
        )
    )
    assert [line.cells for line in found][1] == ("", "A title of the table")


def test_the_text_of_a_row_is_that_of_all_its_cells():
    found = arranged(
        rows(
            [(60, "Name"), (200, "What")],
            [(60, "Ada"), (200, "wrote the")],
            [(200, "program")],
            [(60, "Alan"), (200, "asked")],
        )
    )
    assert [line.text for line in found][1] == "Ada wrote the program"
