"""Tables become lines that can be understood alone."""

from docmill.worker.extraction.child.kinds import tables
from docmill.worker.extraction.child.kinds.grouping import GROUP_CHARACTERS
from docmill.worker.models import Element


def test_a_small_table_is_one_element_with_its_html():
    rows = [["Team", "Wins"], ["Blues", "1"]]
    assert list(tables.table_elements(rows, page=2, html="<table/>")) == [
        Element("Table", "Team | Wins\nBlues | 1", page=2, metadata={"text_as_html": "<table/>"})
    ]


def test_each_group_of_a_long_table_repeats_the_header():
    rows = [["number", "text"], *([str(n), "x" * 50] for n in range(1000))]
    groups = list(tables.table_elements(rows, html="<table/>"))
    assert len(groups) > 20
    for group in groups:
        assert group.text.startswith("number | text\n")
        assert len(group.text) <= GROUP_CHARACTERS + 100
    assert [group.metadata for group in groups] == [
        {"rows": "first"},
        *[{"rows": "more"}] * (len(groups) - 1),
    ]
    lines = [line for group in groups for line in group.text.split("\n")[1:]]
    assert lines == [f"{n} | {'x' * 50}" for n in range(1000)]


def test_a_row_longer_than_a_group_is_a_group():
    rows = [["a", "b"], ["x" * 5000, "1"], ["y", "2"]]
    long, short = tables.table_elements(rows)
    assert long.text.startswith("a | b\nxxx")
    assert short.text == "a | b\ny | 2"


def test_single_cells_above_a_table_are_its_captions():
    rows = [["Report"], ["Stanley Cups", ""], ["Team", "Wins"], ["Blues", "1"]]
    assert [(e.category, e.text) for e in tables.table_elements(rows, caption_depth=0)] == [
        ("Text", "Report"),
        ("Title", "Stanley Cups"),
        ("Table", "Team | Wins\nBlues | 1"),
    ]


def test_one_column_is_a_list_without_a_header():
    rows = [[f"line {n}" + "x" * 100] for n in range(50)]
    elements = list(tables.table_elements(rows))
    assert {element.category for element in elements} == {"Text"}
    assert "\n".join(element.text for element in elements).count("line 0x") == 1


def test_no_rows_are_no_element():
    assert list(tables.table_elements([[], ["", " "]])) == []


def test_cells_are_on_one_line():
    (element,) = tables.table_elements([["a\nb", " c\t d "], ["1", "2"]])
    assert element.text == "a b | c d\n1 | 2"


def test_rows_are_read_from_html():
    html = "<table><tr><th>A</th><th>B</th></tr><tr><td>1</td><td>&gt;2</td></tr></table>"
    assert tables.rows_of_html(html) == [["A", "B"], ["1", ">2"]]


def test_a_table_without_two_cells_in_a_row_is_layout():
    assert tables.is_layout([["", "menu"], ["text"]])
    assert not tables.is_layout([["a", "b"]])
