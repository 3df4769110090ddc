"""Invitations and calendars in the form of RFC 5545: what, when, where and who."""

import re
from collections.abc import Iterator

from docmill.worker.extraction.child.encodings import decode, plain_newlines
from docmill.worker.extraction.child.kinds.base import Reading, Source
from docmill.worker.models import Element

#: The properties of an entry that are shown, in this order, with their labels.
_SHOWN = {
    "DTSTART": "Start",
    "DTEND": "End",
    "DUE": "Due",
    "DURATION": "Duration",
    "RRULE": "Repeats",
    "LOCATION": "Place",
    "ORGANIZER": "Organizer",
    "ATTENDEE": "Attendees",
    "STATUS": "Status",
    "URL": "Link",
}
_ENTRIES = frozenset({"VEVENT", "VTODO", "VJOURNAL"})
_FOLDED = re.compile(r"\n[ \t]")
_LINE = re.compile(r"([\w.-]+)((?:;[\w-]+=(?:\"[^\"\n]*\"|[^\":;\n]*))*):(.*)")
_PARAMETER = re.compile(r";([\w-]+)=(?:\"([^\"\n]*)\"|([^\":;\n]*))")
_ESCAPE = re.compile(r"\\(.)")
_TIME = re.compile(r"(\d{4})(\d{2})(\d{2})(?:T(\d{2})(\d{2})(\d{2})(Z?))?$")


def read_calendar(source: Source) -> Reading:
    """One title and its details for each event, task or note. Alarms and time zones are not read.

    Never raises: an invalid line is left out.
    """
    return calendar_reading(decode(source.read()))


def calendar_reading(text: str) -> Reading:
    """Like `read_calendar`, for a calendar that is already text."""
    return Reading(_elements(text))


def _elements(text: str) -> Iterator[Element]:
    entry: dict[str, list[str]] | None = None
    inner = 0  # depth of components within an entry, whose lines do not belong to the entry
    for line in _FOLDED.sub("", plain_newlines(text)).split("\n"):
        found = _LINE.match(line)
        if found is None:
            continue
        name, value = found[1].upper(), found[3].strip()
        if name == "BEGIN" and entry is None:
            entry = {} if value.upper() in _ENTRIES else None
        elif name in ("BEGIN", "END") and entry is not None:
            inner += 1 if name == "BEGIN" else -1
            if inner < 0:
                yield from _entry_elements(entry)
                entry, inner = None, 0
        elif entry is not None and not inner:
            entry.setdefault(name, []).append(_shown(name, found[2], value))
    if entry is not None:
        yield from _entry_elements(entry)


def _entry_elements(entry: dict[str, list[str]]) -> Iterator[Element]:
    for summary in entry.get("SUMMARY", [])[:1]:
        if summary:
            yield Element("Title", summary, depth=0)
    lines = [
        f"{shown}: {', '.join(entry[name])}" for name, shown in _SHOWN.items() if name in entry
    ]
    if lines:
        yield Element("Text", "\n".join(lines))
    for paragraph in "\n".join(entry.get("DESCRIPTION", [])).split("\n\n"):
        if paragraph.strip():
            yield Element("Text", paragraph.strip())


def _shown(name: str, written: str, value: str) -> str:
    parameters = {
        key.upper(): quoted or plain for key, quoted, plain in _PARAMETER.findall(written)
    }
    if name in ("ORGANIZER", "ATTENDEE"):
        address = re.sub(r"^mailto:", "", value, flags=re.IGNORECASE)
        return f"{parameters['CN']} <{address}>" if parameters.get("CN") else address
    if name in ("DTSTART", "DTEND", "DUE"):
        return _time(value, parameters.get("TZID", ""))
    return _ESCAPE.sub(lambda sign: "\n" if sign[1] in "nN" else sign[1], value)


def _time(value: str, zone: str) -> str:
    found = _TIME.match(value)
    if found is None:
        return value
    year, month, day, hour, minute, _second, is_utc = found.groups()
    date = f"{year}-{month}-{day}"
    if hour is None:
        return date
    return " ".join(filter(None, [f"{date} {hour}:{minute}", "UTC" if is_utc else zone]))
