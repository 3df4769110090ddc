"""Cron expressions: parsing, and the next due time compared with a scan of all minutes."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from docmill.worker.cron import next_due, read_cron

MINUTE = timedelta(minutes=1)
#: Zones that change at night, in the other half of the year, by half an hour, at midnight, and
#: never.
ZONES = tuple(
    map(
        ZoneInfo,
        (
            "Europe/Berlin",
            "America/New_York",
            "Australia/Sydney",
            "Australia/Lord_Howe",
            "America/Santiago",
            "Asia/Kolkata",
            "UTC",
        ),
    )
)
SCANNED = 3 * 24 * 60


@dataclass(frozen=True)
class Wanted:
    """A generated expression: its text, and its numbers."""

    text: str
    numbers: tuple[frozenset[int], ...]


@st.composite
def fields(draw: st.DrawFn, least: int, most: int) -> tuple[str, frozenset[int]]:
    """A field of an expression, and its numbers."""
    numbers = st.integers(least, most)
    form = draw(st.sampled_from(("*", "step", "list", "range", "stepped range")))
    step = draw(st.integers(1, most))
    first, last = sorted((draw(numbers), draw(numbers)))
    if form == "*":
        return "*", frozenset(range(least, most + 1))
    if form == "step":
        return f"*/{step}", frozenset(range(least, most + 1, step))
    if form == "range":
        return f"{first}-{last}", frozenset(range(first, last + 1))
    if form == "stepped range":
        return f"{first}-{last}/{step}", frozenset(range(first, last + 1, step))
    listed = draw(st.lists(numbers, min_size=1, max_size=4))
    return ",".join(map(str, listed)), frozenset(listed)


@st.composite
def expressions(draw: st.DrawFn) -> Wanted:
    """Expressions for all months, so that a scan of a few days often finds a time."""
    minute, hour = draw(fields(0, 59)), draw(fields(0, 23))
    day = draw(st.one_of(st.just(("*", frozenset(range(1, 32)))), fields(1, 31)))
    month = ("*", frozenset(range(1, 13)))
    weekday = draw(st.one_of(st.just(("*", frozenset(range(7)))), fields(0, 6)))
    made = (minute, hour, day, month, weekday)
    return Wanted(" ".join(text for text, _ in made), tuple(numbers for _, numbers in made))


#: At or shortly after changes of the clock in ZONES.
CHANGES = tuple(
    map(
        datetime.fromisoformat,
        (
            "2026-03-29T01:00Z",
            "2026-10-25T01:00Z",
            "2026-03-08T07:00Z",
            "2026-11-01T06:00Z",
            "2026-10-03T15:30Z",
            "2026-04-04T15:00Z",
            "2026-09-06T04:00Z",
            "2026-04-05T03:00Z",
        ),
    )
)


def moments() -> st.SearchStrategy[datetime]:
    """Any minute of six years, and minutes around changes of the clock."""
    anywhere = st.integers(0, 6 * 366 * 24 * 60).map(
        lambda minutes: datetime(2024, 1, 1, tzinfo=UTC) + minutes * MINUTE
    )
    near = st.builds(
        lambda change, minutes: change + minutes * MINUTE,
        st.sampled_from(CHANGES),
        st.integers(-1500, 120),
    )
    return st.one_of(anywhere, near)


def fits(local: datetime, wanted: Wanted) -> bool:
    minutes, hours, days, months, weekdays = wanted.numbers
    return (
        local.minute in minutes
        and local.hour in hours
        and local.day in days
        and local.month in months
        and (local.weekday() + 1) % 7 in weekdays
    )


def scanned(wanted: Wanted, zone: ZoneInfo, after: datetime) -> datetime | None:
    """The first minute at which the clock first shows a fitting time, or skips one.

    None: not within SCANNED minutes.
    """
    moment = after.replace(second=0, microsecond=0)
    before = moment.astimezone(zone).replace(tzinfo=None)
    for _ in range(SCANNED):
        moment += MINUTE
        shown = moment.astimezone(zone)
        local = shown.replace(tzinfo=None, fold=0)
        # One minute later; more if the clock skipped some, none if it was put back.
        passed = range(1, (local - before) // MINUTE + 1)
        if shown.fold == 0 and any(fits(before + number * MINUTE, wanted) for number in passed):
            return moment
        before = local
    return None


@settings(deadline=None, max_examples=300)
@given(wanted=expressions(), zone=st.sampled_from(ZONES), after=moments())
@example(
    wanted=Wanted("30 2 * * *", tuple(map(frozenset, ({30}, {2}, range(32), range(13), range(7))))),
    zone=ZONES[0],
    after=datetime(2026, 3, 29, 0, 30, tzinfo=UTC),
)
def test_the_next_due_time_is_the_first_minute_that_fits(
    wanted: Wanted, zone: ZoneInfo, after: datetime
) -> None:
    found = scanned(wanted, zone, after)
    due = next_due(read_cron(wanted.text), zone, after)
    if found is None:
        assert due > after.replace(second=0, microsecond=0) + SCANNED * MINUTE
    else:
        assert due == found


def due_times(expression: str, zone: str, first: datetime, last: datetime) -> list[str]:
    """All due times between two times, in UTC."""
    cron, found, moment = read_cron(expression), [], first
    while (moment := next_due(cron, ZoneInfo(zone), moment)) < last:
        found.append(f"{moment:%d %H:%M}")
    return found


@pytest.mark.parametrize(
    ("expression", "zone", "day", "expected"),
    [
        # On the 29th of March, 02:00 to 03:00 are skipped; on the 25th of October they come twice.
        ("30 2 * * *", "Europe/Berlin", (3, 28), ["28 01:30", "29 01:00", "30 00:30"]),
        (
            "*/20 2 * * *",
            "Europe/Berlin",
            (3, 29),
            ["29 01:00", "30 00:00", "30 00:20", "30 00:40"],
        ),
        ("0 2,3 * * *", "Europe/Berlin", (3, 29), ["29 01:00", "30 00:00", "30 01:00"]),
        ("30 2 * * *", "Europe/Berlin", (10, 24), ["24 00:30", "25 00:30", "26 01:30"]),
        ("0 0 6 * *", "America/Santiago", (9, 6), ["06 04:00"]),  # this day has no midnight
    ],
)
def test_a_time_that_is_skipped_or_comes_twice_is_due_once(
    expression: str, zone: str, day: tuple[int, int], expected: list[str]
) -> None:
    first = datetime(2026, *day, tzinfo=UTC) - MINUTE
    last = first + timedelta(days=len({line[:2] for line in expected}), minutes=1)
    assert due_times(expression, zone, first, last) == expected


def test_a_day_that_a_zone_left_out_is_due_when_it_is_over() -> None:
    """Samoa had no 30th of December 2011."""
    after = datetime(2011, 12, 29, 12, tzinfo=UTC)
    due = next_due(read_cron("0 12 30 12 *"), ZoneInfo("Pacific/Apia"), after)
    assert due == datetime(2011, 12, 30, 10, tzinfo=UTC)


def test_where_both_days_are_given_both_have_to_fit() -> None:
    due = next_due(read_cron("0 3 1-7 * mon"), ZoneInfo("UTC"), datetime(2026, 11, 3, tzinfo=UTC))
    assert due == datetime(2026, 12, 7, 3, tzinfo=UTC)
    rare = next_due(read_cron("0 0 29 2 mon"), ZoneInfo("UTC"), datetime(2081, 1, 1, tzinfo=UTC))
    assert rare == datetime(2112, 2, 29, tzinfo=UTC)


def test_spaces_between_fields_do_not_matter() -> None:
    assert read_cron("  0\t3  *  * mon-fri ").expression == "0 3 * * mon-fri"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "0 fields, and not five"),
        ("0 3 * *", "4 fields, and not five: minute, hour"),
        ("@daily", "1 fields"),
        ("60 * * * *", "Invalid end range: 60 > 59. Write minute, hour"),
        ("0 24 * * *", "as 30 3 * * sun"),
        ("0 3 * * 7", "7 > 6"),
        ("0 3 31 2 *", "never occurs"),
        ("*/0 * * * *", "Write minute"),
        ("*/5-3 * * * *", "its minute is '*/5-3'"),
        ("0 3 1- * *", "its day of the month is '1-'"),
        ("0 3 , * *", "its day of the month is ','"),
        ("0 -1 * * *", "its hour is '-1'"),
        ("0 3 * * someday", "someday"),
    ],
)
def test_a_bad_expression_is_answered_by_what_to_write(text: str, said: str) -> None:
    with pytest.raises(ValueError) as raised:
        read_cron(text)
    assert said in str(raised.value)


@given(st.text(alphabet="0123456789*/-, monjan?#L", max_size=20))
def test_whatever_is_written_is_read_or_refused(text: str) -> None:
    try:
        cron = read_cron(text)
    except ValueError:
        return
    assert next_due(cron, ZoneInfo("UTC"), datetime(2026, 1, 1, tzinfo=UTC))
