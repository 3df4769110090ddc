"""Running lines pass once; a child's list of them costs little."""

from docmill.worker.extraction.shared.running import RunningLines, marks_of
from docmill.worker.models import Element


def header(text: str, page: int) -> Element:
    return Element("Header", text, page=page)


def test_a_running_line_passes_where_it_stands_first() -> None:
    lines = RunningLines()
    first = [header("Annual report, page 1", 1), Element("Text", "a", page=1)]
    assert list(lines.without_repeats(first)) == first
    later = [header("Annual report, page 2", 2), header("Annual report, page 7", 3)]
    # The number of another page is new text.
    assert list(lines.without_repeats(later)) == later[1:]


def test_a_long_line_is_no_running_line() -> None:
    assert marks_of("1 " * 1_000, 1) == set()
    lines = RunningLines()
    long = [header("x" * 1_000, 1), header("x" * 1_000, 2)]
    assert list(lines.without_repeats(long)) == long


def test_a_line_of_numbers_has_few_marks() -> None:
    assert len(marks_of("1 2 3 4 5 6 7 8 9 10 11 12 13 14 15", 1)) <= 11
