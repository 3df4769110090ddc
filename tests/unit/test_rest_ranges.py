"""Which rows are asked for, and what the answer says of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docmill.embedded.rest.errors import RestError
from docmill.embedded.rest.ranges import Range, asked_range, content_range, range_status


@pytest.mark.parametrize(
    ("limit", "offset", "header", "expected"),
    [
        (None, None, None, Range(0, None)),
        ("5", None, None, Range(0, 5)),
        ("5", "10", None, Range(10, 5)),
        (None, "10", None, Range(10, None)),
        ("0", "10", "3-4", Range(0, 0)),
        ("x", "y", "z", Range(0, None)),
        (None, "-3", None, Range(0, None)),
        ("5", "-3", None, Range(0, 2)),
        (None, None, "3-4", Range(3, 2)),
        (None, None, "3-", Range(3, None)),
        ("10", None, "3-20", Range(3, 7)),
        (None, None, "-4", Range(0, None)),
        (None, None, "items=3-4", Range(0, None)),
        ("9" * 30, None, None, Range(0, None)),
    ],
)
def test_limit_offset_and_header_are_all_kept(
    limit: str | None, offset: str | None, header: str | None, expected: Range
) -> None:
    assert asked_range(limit, offset, header) == expected


@pytest.mark.parametrize(
    ("limit", "offset", "header"),
    [("-1", None, None), ("2", "-2", None), ("2", None, "2-3"), (None, None, "3-2")],
)
def test_a_range_that_holds_no_row_is_refused(
    limit: str | None, offset: str | None, header: str | None
) -> None:
    with pytest.raises(RestError) as refused:
        asked_range(limit, offset, header)
    assert (refused.value.status, refused.value.code) == (416, "PGRST103")


@given(
    first=st.integers(0, 50),
    limit=st.none() | st.integers(0, 50),
    total=st.integers(0, 60),
    max_rows=st.integers(1, 50),
)
def test_what_is_told_fits_what_is_there(
    first: int, limit: int | None, total: int, max_rows: int
) -> None:
    asked = Range(first, limit)
    page = asked.at_most(max_rows)
    assert page.limit is not None
    rows = max(0, min(page.limit, total - first))
    told = content_range(asked, rows, total)
    if first > total:
        with pytest.raises(RestError) as refused:
            range_status(asked, rows, total)
        assert refused.value.headers == {"Content-Range": f"*/{total}"}
        return
    assert range_status(asked, rows, total) == (200 if rows == total else 206)
    shown, _slash, of = told.partition("/")
    assert of == str(total)
    if rows:
        assert shown == f"{first}-{first + rows - 1}"
    else:
        assert shown == "*"


def test_an_unknown_total_is_a_star_and_always_200() -> None:
    assert content_range(Range(5, 3), 2, None) == "5-6/*"
    assert content_range(Range(5, 3), 0, None) == "*/*"
    assert range_status(Range(5, 3), 0, None) == 200
