"""Cron expressions: reads those that Celery's crontab accepts, and finds the next due time."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from celery.schedules import ParseException, crontab

FIELDS: Final = ("minute", "hour", "day of the month", "month", "day of the week")
#: A list of these. Celery itself reads `*/5-3` as `*/5`.
_PART: Final = re.compile(r"(\*|\w+-\w+)(/\d+)?|\w+")
_MINUTE: Final = timedelta(minutes=1)
_DAY: Final = timedelta(days=1)
#: Longer than the time between two 29ths of February on the same day of the week.
_LONGEST_DAYS: Final = 50 * 366


@dataclass(frozen=True)
class Cron:
    """The local times of an expression.

    If both the day of the month and the day of the week are given, BOTH must fit, as in Celery's
    crontab: `0 3 1-7 * mon` is the first Monday of a month. For cron itself one of them would be
    enough.
    """

    expression: str  #: one space between fields
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]  #: Sunday is 0


def read_cron(text: str) -> Cron:
    """Read `minute hour day-of-month month day-of-week`. Raises ValueError that says what to write.

    Everything that Celery's `crontab.from_string` reads, with any white space between the fields.
    """
    fields = text.split()
    if len(fields) != len(FIELDS):
        raise ValueError(f"it has {len(fields)} fields, and not five: {', '.join(FIELDS)}")
    for name, field in zip(FIELDS, fields, strict=True):
        if not all(_PART.fullmatch(part) for part in field.split(",")):
            raise ValueError(f"its {name} is {field!r}, and not as 5, 1,3, 1-5, */10 or *")
    expression = " ".join(fields)
    try:
        read: Any = crontab.from_string(expression)
    except (ValueError, ParseException) as error:
        raise ValueError(
            f"{str(error).rstrip('.')}. Write {', '.join(FIELDS)}, as 30 3 * * sun"
        ) from None
    return Cron(
        expression,
        tuple(sorted(read.minute)),
        tuple(sorted(read.hour)),
        frozenset(read.day_of_month),
        frozenset(read.month_of_year),
        frozenset(read.day_of_week),
    )


def next_due(cron: Cron, zone: ZoneInfo, after: datetime) -> datetime:
    """The first time after `after` that the expression names in this zone, in UTC.

    Times that the clock skips are due once, right after the skip. A time that comes twice is due
    the first time.
    """
    # Later local times are never due earlier, so local times up to this one are over.
    local = after.astimezone(zone).replace(tzinfo=None)
    for day in _days(cron, local.date()):
        for hour in cron.hours:
            for minute in cron.minutes:
                wanted = datetime.combine(day, time(hour, minute))
                if wanted > local and (due := _instant(wanted, zone)) > after:
                    return due
    raise ValueError(f"{cron.expression} is never due")


def _days(cron: Cron, first: date) -> Iterator[date]:
    for number in range(_LONGEST_DAYS):
        day = first + number * _DAY
        fits = day.day in cron.days and day.month in cron.months
        if fits and day.isoweekday() % 7 in cron.weekdays:
            yield day


def _instant(local: datetime, zone: ZoneInfo) -> datetime:
    due = local.replace(tzinfo=zone).astimezone(UTC)
    if due.astimezone(zone).replace(tzinfo=None) == local:
        return due
    # The clock skips this time: its two readings lie on both sides of the change.
    return _change_between(local.replace(tzinfo=zone, fold=1).astimezone(UTC), due, zone)


def _change_between(before: datetime, after: datetime, zone: ZoneInfo) -> datetime:
    """The first minute with the same offset from UTC as `after`."""
    offset = after.astimezone(zone).utcoffset()
    while after - before > _MINUTE:
        middle = before + (after - before) // _MINUTE // 2 * _MINUTE
        if middle.astimezone(zone).utcoffset() == offset:
            after = middle
        else:
            before = middle
    return after
