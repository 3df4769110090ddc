"""Reading a document in windows gives the same as reading it in one go."""

import csv
import io
import json
import random
from collections.abc import Callable, Iterable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from docmill.worker.extraction.child.kinds import cuts, text
from docmill.worker.extraction.child.kinds.base import Reading, Source
from docmill.worker.extraction.child.kinds.data import read_delimited, read_json_lines
from docmill.worker.extraction.child.kinds.registry import open_reading
from docmill.worker.extraction.child.kinds.text import read_text
from docmill.worker.extraction.shared.parts import PageEnd
from docmill.worker.extraction.zygote.warm import use_blank_sentence_splitter
from docmill.worker.models import Element

Reader = Callable[[Source], Reading]

many = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(autouse=True)
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    use_blank_sentence_splitter()
    set_window_bytes(monkeypatch, 200)


def set_window_bytes(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(cuts, "WINDOW_BYTES", size)
    monkeypatch.setattr(cuts, "_SEARCH_BYTES", size // 4)


def elements_of(reading: Reading) -> list[Element]:
    return [part for part in reading.parts if isinstance(part, Element)]


def in_one_go(read: Reader, data: bytes) -> list[Element]:
    return elements_of(read(Source(io.BytesIO(data), "a")))


def in_windows(read: Reader, data: bytes) -> list[Element]:
    """Read each window alone, in any order, with only the context of the first one."""
    first = read(Source(io.BytesIO(data), "a", first_only=True))
    starts = [*first.starts, None]
    context = json.loads(json.dumps(first.context))
    numbers = list(range(1, len(first.starts)))
    random.Random(0).shuffle(numbers)
    found = {0: elements_of(first)}
    for number in numbers:
        bounds = (first.starts[number], starts[number + 1])
        source = Source(io.BytesIO(data), "a", window=bounds, context=context)
        found[number] = elements_of(read(source))
    return [element for number in sorted(found) for element in found[number]]


def table_of(rows: Iterable[list[str]], delimiter: str = ",", line_end: str = "\n") -> str:
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, lineterminator=line_end).writerows(rows)
    return out.getvalue()


words = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), max_size=12)
sentences = st.lists(words, min_size=1, max_size=20).map(" ".join)
texts = st.lists(st.one_of(sentences, sentences.map("{}.".format), st.just("")), max_size=60).map(
    "\n".join
)


@many
@given(texts, st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-be"]))
def test_text_in_any_unicode(written: str, encoding: str) -> None:
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    data = (mark + written).encode(encoding)
    assert in_windows(read_text, data) == in_one_go(read_text, data)


@many
@given(texts)
def test_no_text_is_lost_or_there_twice(written: str) -> None:
    found = "".join(element.text for element in in_windows(read_text, written.encode()))
    assert letters_of(found) == letters_of(written)


def letters_of(words: str) -> list[str]:
    """The words without signs of list items, which are not text."""
    return [character for character in words if character.isalnum()]


PARAGRAPHS = [
    "The kiln is fired on Thursdays, when the glaze has dried.",
    "A TITLE",
    "A paragraph that is long enough to be no title, because it goes on and on, until it ends.",
    "- an item of a list",
    "wrapped text goes on from line\nto line until it comes\nto its end, here.",
    "Without an end",
]


@many
@given(st.lists(st.sampled_from(PARAGRAPHS), max_size=40), st.integers(100, 400))
def test_a_cut_after_a_sentence_leaves_no_trace(
    monkeypatch: pytest.MonkeyPatch, paragraphs: list[str], size: int
) -> None:
    # The length of a full line is measured only in the first window.
    monkeypatch.setattr(text, "full_line_length", lambda _lines: 60)
    # A sentence ends wherever a cut may be.
    data = "\n\n".join(f"{paragraph}\n\nSo it is." for paragraph in paragraphs).encode()
    set_window_bytes(monkeypatch, 10**6)
    uncut = in_one_go(read_text, data)
    set_window_bytes(monkeypatch, size)
    monkeypatch.setattr(cuts, "_SEARCH_BYTES", 400)
    assert in_windows(read_text, data) == uncut


cells = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), max_size=10)
rows = st.lists(st.lists(cells, min_size=1, max_size=4), max_size=60)
broken_cells = st.one_of(cells, st.sampled_from(['say "so"', "two\nlines", 'a ""', "x,y", '"']))
broken_rows = st.lists(st.lists(broken_cells, min_size=2, max_size=4), max_size=60)


@many
@given(st.one_of(rows, broken_rows), st.sampled_from([",", "\t", ";"]), st.sampled_from("\n \r\n"))
def test_tables(table: list[list[str]], delimiter: str, line_end: str) -> None:
    data = table_of(table, delimiter, line_end.strip(" ") or "\n").encode()
    assert in_windows(read_delimited, data) == in_one_go(read_delimited, data)


def test_no_row_is_cut_though_its_cells_hold_lines() -> None:
    table = [["id", "note"], *([str(n), f'first "line"\nsecond of {n}'] for n in range(50))]
    data = table_of(table).encode()
    assert len(read_delimited(Source(io.BytesIO(data), "a.csv", first_only=True)).starts) > 5
    groups = [element.text.split("\n") for element in in_windows(read_delimited, data)]
    assert all(group[0] == "id | note" for group in groups)
    assert [line for group in groups for line in group[1:]] == [
        f'{n} | first "line" second of {n}' for n in range(50)
    ]


@many
@given(st.lists(st.dictionaries(words, st.one_of(words, st.integers())), max_size=60))
def test_json_lines(records: list[dict[str, object]]) -> None:
    data = "\n".join(json.dumps(record, ensure_ascii=False) for record in records).encode()
    assert in_windows(read_json_lines, data) == in_one_go(read_json_lines, data)


@pytest.mark.parametrize("encoding", ["cp1252", "shift_jis", "utf-16-le", "utf-8"])
def test_legacy_encodings_are_cut_between_characters(encoding: str) -> None:
    line = {"shift_jis": "日本語の文章です。", "cp1252": "Größe und Maß."}.get(
        encoding, "Größe € 日本"
    )
    data = "".join(f"{line} {number}\n\n" for number in range(100)).encode(encoding)
    found = [element.text for element in in_windows(read_text, data)]
    assert "\ufffd" not in "".join(found)
    assert sorted(" ".join(found).split()) == sorted(data.decode(encoding).split())


def test_lines_that_end_in_carriage_returns_alone_are_not_cut() -> None:
    data = b"".join(b"The kiln of house %d is fired.\r" % number for number in range(200))
    starts = read_text(Source(io.BytesIO(data), "a", first_only=True)).starts
    assert len(starts) > 10
    assert all(data[start - 1 : start] == b"\r" for start in starts[1:])


def test_a_sign_that_ends_lines_elsewhere_stays_within_its_value() -> None:
    data = json.dumps({"a": "one\u2028two"}, ensure_ascii=False).encode()
    (element,) = in_one_go(read_json_lines, data)
    assert element.text == "a: one\u2028two"


def test_a_large_file_has_few_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuts, "_MOST_WINDOWS", 8)
    data = b"A line of text.\n\n" * 1_000
    assert len(read_text(Source(io.BytesIO(data), "a", first_only=True)).starts) in (7, 8)
    lines = b'{"a": 1}\n' * 2_000
    assert len(read_json_lines(Source(io.BytesIO(lines), "a", first_only=True)).starts) in (7, 8)


def test_text_without_lines_is_cut_at_spaces() -> None:
    data = b"word " * 1000
    starts = read_text(Source(io.BytesIO(data), "a", first_only=True)).starts
    assert len(starts) > 10
    assert all(start % 5 == 0 for start in starts)


def test_text_without_a_place_to_cut_is_one_window() -> None:
    data = b"x" * 5000
    assert read_text(Source(io.BytesIO(data), "a", first_only=True)).starts == (0,)


def test_a_document_has_no_more_pages_than_its_bytes_can_hold() -> None:
    """A tree of pages that is its own child and claims 900,000 pages."""
    objects = (
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[2 0 R 2 0 R 3 0 R]/Count 900000>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]>>",
    )
    body = b"".join(b"%d 0 obj\n%s\nendobj\n" % pair for pair in enumerate(objects, start=1))
    data = b"%PDF-1.7\n" + body + b"trailer <</Root 1 0 R>>\n%%EOF\n"
    reading = open_reading(Source(io.BytesIO(data), "a.pdf"))[1]
    assert reading.page_count is not None
    assert reading.page_count <= len(data)
    assert sum(isinstance(part, PageEnd) for part in reading.parts) == reading.page_count
