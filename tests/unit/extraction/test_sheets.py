"""Sheets are read as shown, and each row under the names of its columns."""

import io
import re
import struct
import zipfile
from collections import Counter
from contextlib import suppress
from email.message import EmailMessage
from random import Random
from typing import Any

import openpyxl
import pytest
import python_calamine
from hypothesis import given, settings
from hypothesis import strategies as st
from openpyxl.chart import BarChart, Reference

from docmill.worker.extraction.child.kinds.base import Source
from docmill.worker.extraction.child.kinds.ooxml.binary_sheets import rows_of_binary, sheets_of
from docmill.worker.extraction.child.kinds.ooxml.cells import Book
from docmill.worker.extraction.child.kinds.ooxml.number_formats import format_of, plain
from docmill.worker.extraction.child.kinds.registry import open_reading
from docmill.worker.extraction.shared import media_types
from docmill.worker.extraction.shared.parts import PageEnd
from docmill.worker.extraction.zygote.warm import use_blank_sentence_splitter
from docmill.worker.models import Element
from tests.integration.extraction.ole import make_xls
from tests.support.independent import excel
from tests.support.xlsb import Cell, Shape, Styled, make_xlsb

use_blank_sentence_splitter()


def elements_of(data: bytes) -> list[Element]:
    _media_type, reading = open_reading(Source(io.BytesIO(data), "a.xlsx"))
    return [part for part in reading.parts if isinstance(part, Element)]


def written(book: openpyxl.Workbook) -> bytes:
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def texts_of(book: openpyxl.Workbook) -> list[str]:
    return [element.text for element in elements_of(written(book))]


def book_of(*rows: list[Any]) -> openpyxl.Workbook:
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    return book


# Excel's results: from its documentation and the examples of ISO 29500-1, 18.8.30 and 18.8.31.
FORMATS = [
    (0.256, "0.0%", "25.6%"),
    (1234.5, '#,##0.00 "€"', "1,234.50 €"),
    (1234.5, "[$€-407] #,##0.00", "€ 1,234.50"),
    (1234, "#,##0\\ [$zł-415]", "1,234 zł"),
    (1000000, "$#,##0.00", "$1,000,000.00"),
    (1234, "00000", "01234"),
    (123456789, "000-00-0000", "123-45-6789"),
    (1234567890, "(000) 000-0000", "(123) 456-7890"),
    (-1234.5, "#,##0.00", "-1,234.50"),
    (-5, "#,##0_);(#,##0)", "(5)"),
    (-12, "0;0", "12"),
    (-0.001, "0.00", "0.00"),
    (0, '_(* #,##0.00_);_(* \\(#,##0.00\\);_(* "-"??_);_(@_)', "-"),
    (1234567, '_(* #,##0.00_);_(* \\(#,##0.00\\);_(* "-"??_);_(@_)', "1,234,567.00"),
    (12345678, "#,##0.0,", "12,345.7"),
    (12345678, '0.0,,"M"', "12.3M"),
    (12345, "0.00E+00", "1.23E+04"),
    (1.005, "0.00", "1.01"),
    (12.5, "0.0##", "12.5"),
    (0.5, "#.##", ".5"),
    (5, 'General" kg"', "5 kg"),
    (150, '[>100]"big "0;"small "0', "big 150"),
    (50, '[>100]"big "0;"small "0', "small 50"),
    (5, ";;;", ""),
    (0.1 + 0.2, "General", "0.3"),
    (3.5, "# ?/?", "3.5"),
    (45000, "dd.mm.yyyy", "15.03.2023"),
    (45000, "mmm-yy", "Mar-23"),
    (45000, "[$-407]d. mmmm yyyy", "15. March 2023"),
    (45000.5, "yyyy-mm-dd hh:mm", "2023-03-15 12:00"),
    (45000.75, "h:mm AM/PM", "6:00 PM"),
    (0.604166667, "h:mm:ss", "14:30:00"),
    (1.0868055, "[hh]:mm:ss", "26:05:00"),
    (45000.123456, "ss.000", "46.598"),
    (59, "yyyy-mm-dd", "1900-02-28"),
]


@pytest.mark.parametrize(("value", "code", "shown"), FORMATS)
def test_a_number_is_written_as_its_format_shows_it(value: float, code: str, shown: str) -> None:
    assert format_of(code)(value) == shown


@settings(deadline=None)
@given(st.integers(0, 10**12), st.integers(0, 4), st.booleans())
def test_digits_are_those_that_python_writes(number: int, decimals: int, grouped: bool) -> None:
    code = ("#,##0" if grouped else "0") + ("." + "0" * decimals if decimals else "")
    value = number / 10**decimals
    assert format_of(code)(value) == format(value, f"{',' if grouped else ''}.{decimals}f")


@settings(deadline=None)
@given(st.text(alphabet='0#?.,%E+-/ymdhs[];"\\_*@ $€GAPM:', max_size=12), st.floats())
def test_any_format_writes_something_or_nothing(code: str, value: float) -> None:
    assert isinstance(format_of(code)(value), str)


def test_cells_are_shown_in_their_formats() -> None:
    book = book_of(["Share", "Price", "Number", "Paid"], [0.256, 1234.5, 1234, True])
    for cell, code in zip(book.active[2], ["0.0%", '#,##0.00 "€"', "00000"], strict=False):
        cell.number_format = code
    assert texts_of(book) == ["Share | Price | Number | Paid\n25.6% | 1,234.50 € | 01234 | TRUE"]


def test_a_formula_that_nobody_has_computed_stands_for_its_value_and_is_counted() -> None:
    book = book_of(["a", "b"], [1, "=SUM(A2:A2)"])
    book.create_sheet("Empty")
    book.create_sheet("Two").append(["=1+1", "=2+2"])
    assert texts_of(book)[0] == "a | b\n1 | =SUM(A2:A2)"
    message = EmailMessage()
    message.add_attachment(written(book), maintype="application", subtype="x", filename="a.xlsx")
    assert uncomputed(written(book)) == [1, 0, 2]
    assert uncomputed(b"Subject: s\n" + bytes(message)) == [0, 3]


def uncomputed(data: bytes) -> list[int]:
    _media_type, reading = open_reading(Source(io.BytesIO(data), "a.eml"))
    return [part.uncomputed_formulas for part in reading.parts if isinstance(part, PageEnd)]


def test_a_formula_whose_value_is_an_empty_text_is_computed() -> None:
    value = b'<c r="A1" t="str"><f>IF(B1,1,"")</f><v></v></c>'
    data = with_sheet(written(book_of([1, 2])), b'<c r="A1" t="n"><v>1</v></c>', value)
    assert [element.text for element in elements_of(data)] == ["2"]
    assert uncomputed(data) == [0]


def test_what_is_hidden_by_hand_is_not_read_and_what_a_filter_hides_is() -> None:
    book = book_of(["a", "b", "c"], [1, 2, 3], [4, 5, 6])
    book.active.row_dimensions[2].hidden = True
    book.active.column_dimensions["B"].hidden = True
    for state in ("hidden", "veryHidden"):
        book.create_sheet(state).append(["secret", "x"])
        book[state].sheet_state = state
    assert texts_of(book) == ["a | c\n4 | 6"]
    book.active.column_dimensions["B"].hidden = False
    book.active.auto_filter.ref = "A1:C3"
    book.active.auto_filter.add_filter_column(0, ["4"])
    assert texts_of(book) == ["a | b | c\n1 | 2 | 3\n4 | 5 | 6"]


def test_merged_cells_are_filled_and_titles_are_not() -> None:
    book = book_of(
        ["Sales of the year"],
        ["Region", "2023", None, "2024", None],
        ["North", 1, 2, 3, 4],
        [None, 5, 6, 7, 8],
    )
    for merged in ("A1:E1", "B2:C2", "D2:E2", "A3:A4"):
        book.active.merge_cells(merged)
    assert texts_of(book) == [
        "Sales of the year",
        "Region | 2023 | 2023 | 2024 | 2024\nNorth | 1 | 2 | 3 | 4\nNorth | 5 | 6 | 7 | 8",
    ]


def test_a_title_of_several_cells_is_not_the_row_of_names() -> None:
    rows = [[f"item {n}", "shelf", n, n, n, n] for n in range(90)]
    book = book_of(["Stock", None, "2024"], ["Article", "Rack", "A", "B", "C", "D"], *rows)
    title, *tables = texts_of(book)
    assert title == "Stock | 2024"
    assert len(tables) > 1
    assert all(table.startswith("Article | Rack | A | B | C | D\n") for table in tables)


def test_text_boxes_and_charts_are_read_after_the_rows() -> None:
    book = book_of(["Month", "Sales"], ["May", 3], ["June", 4])
    chart = BarChart()
    chart.title = "Sales by month"
    chart.add_data(Reference(book.active, min_col=2, min_row=1, max_row=3), titles_from_data=True)
    book.active.add_chart(chart, "D1")
    assert texts_of(book)[1:] == ["Sales by month"]


def test_a_binary_workbook_is_read_without_its_hidden_sheets() -> None:
    rows: list[list[str | float]] = [["Article", "Pieces"], ["Anvil", 19.5], ["Bellows", 23.0]]
    data = make_xlsb({"Stock": rows, "Secret": [["a", "b"]]}, hidden=["Secret"])
    media_type, reading = open_reading(Source(io.BytesIO(data), "a"))
    assert media_type == media_types.XLSB
    assert [part.text for part in reading.parts if isinstance(part, Element)] == [
        "Stock",
        "Article | Pieces\nAnvil | 19.5\nBellows | 23",
    ]


def test_a_binary_workbook_is_shown_in_its_formats_without_what_is_hidden() -> None:
    rows: list[list[Cell]] = [
        ["Share", "Price", "Secret", "Number", "Paid", "Sum"],
        [Styled(0.256, 1), Styled(1234.5, 2), "x", Styled(1234, 3), Styled(45000, 4), -7],
        [Styled(0.5, 1), 2.25, "y", True, Styled(-45, 2), 1e10],
        ["hidden", "row"],
    ]
    formats = ["0.0%", '#,##0.00 "€"', "00000", "dd.mm.yyyy"]
    shape = Shape(hidden_rows=[3], hidden_columns=[2])
    data = make_xlsb({"Sheet1": rows}, formats=formats, shape=shape)
    (table,) = elements_of(data)
    assert table.text.split("\n") == [
        "Share | Price | Number | Paid | Sum",
        "25.6% | 1,234.50 € | 01234 | 15.03.2023 | -7",
        "50.0% | 2.25 | TRUE | -45.00 € | 10000000000",
    ]
    merged = [["Region", "Town"], ["North", "A"], ["", "B"]]
    data = make_xlsb({"Sheet1": merged}, shape=Shape(merged=[(1, 2, 0, 0)]))
    assert [one.text for one in elements_of(data)] == ["Region | Town\nNorth | A\nNorth | B"]


_VALUES = st.one_of(
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=9),
    st.integers(-(10**12), 10**12).map(float),
    st.floats(-1e9, 1e9).filter(lambda number: abs(number) > 1e-3),
)
NO_BOOK = Book(["a"], [], from_1904=False)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(_VALUES, min_size=2, max_size=4), min_size=1, max_size=5))
def test_another_reader_of_binary_workbooks_finds_the_same_values(rows: list[list[Cell]]) -> None:
    data = make_xlsb({"Sheet1": rows})
    package = zipfile.ZipFile(io.BytesIO(data))
    (sheet,) = sheets_of(package)
    found = [cells for _row, cells in rows_of_binary(package.read(sheet.path), NO_BOOK)]
    other = python_calamine.load_workbook(io.BytesIO(data)).get_sheet_by_name("Sheet1").to_python()
    assert [list((cells or {}).values()) for cells in found] == [
        [plain(value) if isinstance(value, int | float) else value for value in row if value != ""]
        for row in other
    ]


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_read_as_records_or_refused(data: bytes) -> None:
    with suppress(struct.error, IndexError):
        assert isinstance(list(rows_of_binary(data, NO_BOOK)), list)


class Sheet:
    """A random sheet: tables below and beside each other; each value occurs once."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.book = openpyxl.Workbook()
        self.header_of: dict[str, str] = {}
        self.count = 0
        row = 1
        for _ in range(random.randint(1, 4)):
            widths = [random.randint(2, 4) for _ in range(random.choice([1, 1, 2, 3]))]
            column, heights = 1, []
            for width in widths:
                heights.append(self.table(row, column, width, alone=len(widths) == 1))
                column += width + random.randint(1, 2)
            row += max(heights) + random.randint(1, 2)

    def value(self) -> str:
        self.count += 1
        return f"q{self.count}z"

    def put(self, row: int, column: int, value: object) -> None:
        self.book.active.cell(row, column, value)

    def table(self, row: int, column: int, width: int, *, alone: bool) -> int:
        names = [self.value() for _ in range(width)]
        for place, name in enumerate(names):
            self.put(row, column + place, name)
        height = 1
        for _ in range(self.random.choice([2, 5, 40])):
            if alone and height > 2 and self.random.random() < 0.1:
                height += 1
            for place in range(width - 1):
                word = self.value()
                self.header_of[word] = " | ".join(names)
                self.put(row + height, column + place, word)
            self.put(row + height, column + width - 1, self.random.randint(1, 99))
            height += 1
        return height


@settings(deadline=None, max_examples=60)
@given(st.integers(min_value=0))
def test_each_value_is_read_once_under_the_names_of_its_own_table(seed: int) -> None:
    sheet = Sheet(Random(seed))
    data = written(sheet.book)
    found: Counter[str] = Counter()
    for element in elements_of(data):
        header = element.text.partition("\n")[0]
        for word in re.findall(r"q\d+z", element.text.partition("\n")[2]):
            found[word] += 1
            assert header == sheet.header_of[word]
    assert found == Counter(sheet.header_of.keys())
    assert set(re.findall(r"q\d+z", excel.letters(data))) >= found.keys()


def test_merged_cells_are_filled_so_far_only() -> None:
    book = book_of(["note " * 5_000, None, "a"], *[[None, None, n] for n in range(2_000)])
    book.active.merge_cells("A1:B2001")
    texts = texts_of(book)
    assert sum(map(len, texts)) < 10_000_000
    assert "1999" in texts[-1]


def test_hidden_columns_that_are_described_again_and_again_take_no_time() -> None:
    hidden = b"<cols>" + b'<col min="2" max="16384" hidden="1"/>' * 20_000 + b"</cols>"
    data = with_sheet(written(book_of(["a", "b"], [1, 2])), b"<sheetData>", hidden + b"<sheetData>")
    assert elements_of(data)[0].text == "a\n1"


def test_a_shared_formula_is_written_for_so_many_cells_only() -> None:
    book = openpyxl.Workbook()
    book.active["A1"] = "end"
    formula = "+".join(["B1"] * 1_000)
    first = f'<row r="1"><c r="A1"><f t="shared" si="0">{formula}</f></c></row>'
    rows = "".join(
        f'<row r="{n}"><c r="A{n}"><f t="shared" si="0"/></c></row>' for n in range(2, 2_000)
    )
    data = with_sheet(written(book), b"<sheetData>", f"<sheetData>{first}{rows}".encode())
    found = "".join(element.text for element in elements_of(data))
    assert "=B1+B1" in found
    assert "=B2+B2" in found
    assert len(found) < 300_000


@pytest.mark.parametrize(
    ("old", "new"), [(b"<cellStyle ", b'<cellStyle unknown="1" '), (b'xfId="0"', b'xfId="99"')]
)
def test_styles_that_break_the_rules_hide_no_cell(old: bytes, new: bytes) -> None:
    book = book_of(["a", "b"], [0.256, "word1x"])
    book.active["A2"].number_format = "0.0%"
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(written(book))) as before, zipfile.ZipFile(out, "w") as after:
        for name in before.namelist():
            part = before.read(name)
            assert name != "xl/styles.xml" or old in part
            after.writestr(name, part.replace(old, new) if name == "xl/styles.xml" else part)
    assert [element.text for element in elements_of(out.getvalue())] == ["a | b\n25.6% | word1x"]


def test_a_workbook_of_before_2007_is_shown_in_its_formats() -> None:
    rows: list[list[str | float]] = [["Name", "Share"], ["Ada", 0.256], ["Alan", 1.0]]
    data = make_xls({"Shares": rows}, number_format="0.0%")
    found = [element.text for element in elements_of(data)]
    assert found == ["Shares", "Name | Share\nAda | 25.6%\nAlan | 100.0%"]


def test_of_very_many_tables_side_by_side_a_row_stays_one_row() -> None:
    row = ["x", "y", None] * 500
    found = elements_of(written(book_of(row, row)))
    assert sum(element.text.count("x") for element in found) == 1_000
    assert len(found) < 10


def test_minutes_are_told_from_months_wherever_they_stand() -> None:
    assert format_of("m/d/yyyy h:mm:ss")(45000.5) == "3/15/2023 12:00:00"
    assert format_of("mm:ss mm h:mm")(45000.25) == "00:00 03 6:00"


def with_sheet(data: bytes, old: bytes, new: bytes) -> bytes:
    """The workbook with `old` replaced by `new` in its sheet."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as book, zipfile.ZipFile(out, "w") as changed:
        for name in book.namelist():
            part = book.read(name)
            changed.writestr(name, part.replace(old, new) if "/sheet1.xml" in name else part)
    return out.getvalue()
