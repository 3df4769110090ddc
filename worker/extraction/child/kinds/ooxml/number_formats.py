"""Writes numbers as a spreadsheet shows them, by the format of a cell."""

import datetime as dt
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from functools import lru_cache

#: Writes a number down.
Format = Callable[[float], str]

_TOKENS = re.compile(
    r"""
    "(?P<quoted>[^"]*)"? | \\(?P<escaped>.) | _(?P<space>.) | \*(?P<fill>.)
    | \[(?P<bracket>[^\]]*)\] | (?P<general>General) | (?P<half>AM/PM|A/P)
    | (?P<exponent>E[+-]) | (?P<date>y+|m+|d+|h+|s+|b+|e+|g+)
    | (?P<figure>[0\#?]) | (?P<mark>[.,%@/]) | (?P<other>.)
    """,
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)
_CURRENCY = re.compile(r"\$([^-]*)")
_CONDITION = re.compile(r"(<=|>=|<>|<|>|=)(-?[\d.]+)")
_ELAPSED = re.compile(r"(h+|m+|s+)", re.IGNORECASE)
_HOLDS: dict[str, Callable[[float, float], bool]] = {
    "<": lambda value, bound: value < bound,
    "<=": lambda value, bound: value <= bound,
    "<>": lambda value, bound: value != bound,
    "=": lambda value, bound: value == bound,
    ">": lambda value, bound: value > bound,
    ">=": lambda value, bound: value >= bound,
}
#: In a format without a date, letters of dates are words.
_WORDS = ("text", "date")
_CLOCK = frozenset("ymdhsYMDHS")
_MONTHS = [
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
]
_DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
#: A format by the kinds of its signs; t stands for words.
_SHAPES = {"text": "t"}
_USUAL = re.compile(
    r"(?P<before>t*)(?P<whole>0+|\#*0?|\#,\#\#0)(?:\.(?P<decimals>0+))?(?P<after>[t%]*)"
)
#: How many results of a format are kept, because most dates of a sheet occur many times.
_MAX_KNOWN = 10_000
#: Formats that look different in each country, and the fixed formats used instead.
_OF_THE_COUNTRY = {14: "yyyy-mm-dd", 22: "yyyy-mm-dd hh:mm"}
#: Whole numbers below this are written with all digits.
_MOST_WHOLE = 1e17
#: Excel's longest format; a longer one is ignored.
_MAX_FORMAT_CHARACTERS = 255
_MAX_DIGITS = 30
_LAST_DAY = 2_958_466  # the one after 9999-12-31
_FEBRUARY_29_1900 = 60


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str


@dataclass(frozen=True)
class _Section:
    """The part of a format for some of the numbers."""

    tokens: Sequence[_Token]
    condition: tuple[str, float] | None

    @property
    def is_date(self) -> bool:
        return any(
            token.kind in ("elapsed", "half") or (token.kind == "date" and token.text[0] in _CLOCK)
            for token in self.tokens
        )


def format_of(code: str | None, *, built_in: int = 0, from_1904: bool = False) -> Format:
    """The function that writes numbers by a format; plainly if the format is not understood.

    `built_in` is the number of a format that is built into Excel. Dates count from 1904 in
    workbooks of old Macs.
    """
    code = _OF_THE_COUNTRY.get(built_in, code)
    if not code or code in ("General", "@") or len(code) > _MAX_FORMAT_CHARACTERS:
        return plain
    sections = _sections(code)
    if len(sections) == 1 and (usual := _usual(sections[0].tokens)) is not None:
        return usual

    @lru_cache(_MAX_KNOWN)
    def write(value: float) -> str:
        try:
            return _written(value, sections, from_1904=from_1904)
        except (ValueError, OverflowError, InvalidOperation):
            return plain(value)

    return write


def _usual(tokens: Sequence[_Token]) -> Format | None:
    """A faster way for `0.00`, `#,##0 "kg"` and `0%`, the only formats of most sheets."""
    pattern = "".join(_SHAPES.get(token.kind, token.text) for token in tokens)
    found = _USUAL.fullmatch(pattern)
    if found is None or len(found["decimals"] or "") > _MAX_DIGITS:
        return None
    before, after = found["before"] or "", found["after"] or ""
    prefix = "".join(token.text for token in tokens[: len(before)])
    suffix = "".join(token.text for token in tokens[len(tokens) - len(after) :])
    step = Decimal(1).scaleb(-len(found["decimals"] or ""))
    least = found["whole"].replace(",", "").count("0")
    shape = ",f" if "," in found["whole"] else "f"
    shift = 2 * after.count("%")
    width = least + (len(found["decimals"]) + 1 if found["decimals"] else 0)

    def write(value: float) -> str:
        try:
            number = Decimal(repr(abs(value))).scaleb(shift).quantize(step, ROUND_HALF_UP)
        except InvalidOperation:
            return plain(value)
        digits = format(number, shape)
        if not least:
            digits = digits.removeprefix("0")
        minus = "-" if value < 0 and number else ""
        return f"{minus}{prefix}{digits.zfill(width)}{suffix}".strip()

    return write


def is_date(code: str | None) -> bool:
    """Whether a format shows dates or times."""
    return bool(code) and code != "General" and _sections(code or "")[0].is_date


def plain(value: float) -> str:
    """A number without a format."""
    if abs(value) < _MOST_WHOLE and value == int(value):
        return str(int(value))
    return f"{value:.15g}"


def _sections(code: str) -> list[_Section]:
    sections: list[list[_Token]] = [[]]
    conditions: list[tuple[str, float] | None] = [None]
    for found in _TOKENS.finditer(code):
        kind, text = found.lastgroup or "other", found[found.lastgroup or 0]
        if kind == "other" and text == ";":
            sections.append([])
            conditions.append(None)
            continue
        if kind == "bracket" and (condition := _CONDITION.fullmatch(text)):
            conditions[-1] = (condition[1], float(condition[2]))
        sections[-1].extend(_tokens(kind, text))
    return [_Section(*parts) for parts in zip(sections, conditions, strict=True)]


def _tokens(kind: str, text: str) -> list[_Token]:
    if kind in ("quoted", "escaped", "other"):
        return [_Token("text", text)]
    if kind == "space":
        return [_Token("text", " ")]
    if kind == "fill":
        return []
    if kind != "bracket":
        return [_Token(kind, text)]
    if _ELAPSED.fullmatch(text):
        return [_Token("elapsed", text.lower())]
    currency = _CURRENCY.match(text)
    return [_Token("text", currency[1])] if currency else []


def _written(value: float, sections: list[_Section], *, from_1904: bool) -> str:
    section, is_bare = _chosen(value, sections)
    if section.is_date:
        return _date(value, section.tokens, from_1904=from_1904).strip()
    text = _number(abs(value), section.tokens)
    has_digits = any(sign in "123456789" for sign in text)
    return f"-{text.strip()}" if value < 0 and is_bare and has_digits else text.strip()


def _chosen(value: float, sections: list[_Section]) -> tuple[_Section, bool]:
    """The section for a number, and whether the minus sign must be added."""
    for section in sections:
        if section.condition is not None and _HOLDS[section.condition[0]](
            value, section.condition[1]
        ):
            return section, True
    free = [section for section in sections[:3] if section.condition is None]
    if len(free) < len(sections[:3]):
        return (free or sections)[-1 if value < 0 else 0], True
    if value < 0 and len(sections) > 1:
        return sections[1], False
    if value == 0 and len(sections) > 2:
        return sections[2], False
    return sections[0], True


def _number(value: float, tokens: Sequence[_Token]) -> str:
    kinds = {token.kind for token in tokens}
    marks = [token.text for token in tokens if token.kind == "mark"]
    if "figure" not in kinds or "/" in marks:
        # Without a place for digits only the words are shown. Fractions are shown as decimals.
        shown = {"general", "figure"} & kinds
        words = "".join(token.text for token in tokens if token.kind in _WORDS)
        return plain(value) + words.rstrip() if "/" in marks else _worded(tokens, value, shown)
    if "exponent" in kinds:
        return _scientific(value, tokens)
    return _filled(value, tokens)


def _worded(tokens: Sequence[_Token], value: float, shown: set[str]) -> str:
    texts = (
        plain(value) if token.kind in shown else token.text
        for token in tokens
        if token.kind in ("general", *_WORDS) or token.text == "%"
    )
    return "".join(texts)


def _scientific(value: float, tokens: Sequence[_Token]) -> str:
    before = [token for token in tokens if token.kind in ("figure", "mark", "exponent")]
    place = next(i for i, token in enumerate(before) if token.kind == "exponent")
    mantissa = "".join(token.text for token in before[:place])
    decimals = len(mantissa.partition(".")[2])
    digits = sum(1 for token in before[place:] if token.kind == "figure")
    base, _, power = f"{value:.{min(decimals, _MAX_DIGITS)}E}".partition("E")
    return f"{base}E{power[0]}{power[1:].lstrip('0').zfill(digits)}"


def _filled(value: float, tokens: Sequence[_Token]) -> str:
    """Put digits into their places; words between them stay."""
    places = [i for i, token in enumerate(tokens) if token.kind == "figure"]
    point = next(
        (i for i, token in enumerate(tokens) if token == _Token("mark", ".")), places[-1] + 1
    )
    whole = [i for i in places if i < point]
    decimal = [i for i in places if i > point]
    last_whole = whole[-1] if whole else point
    commas = [i for i, token in enumerate(tokens) if token == _Token("mark", ",")]
    thousands = sum(1 for i in commas if last_whole < i < point or i > places[-1])
    percents = sum(1 for token in tokens if token == _Token("mark", "%"))
    scaled = Decimal(repr(value)).scaleb(2 * percents - 3 * thousands)
    rounded = scaled.quantize(Decimal(1).scaleb(-min(len(decimal), _MAX_DIGITS)), ROUND_HALF_UP)
    digits, _, fraction = f"{rounded:f}".partition(".")
    is_grouped = bool(whole) and any(whole[0] < i < last_whole for i in commas)
    written = _whole(digits, tokens, whole, grouped=is_grouped)
    written.update(_decimals(fraction, tokens, decimal))
    texts = []
    for i, token in enumerate(tokens):
        if token.kind == "figure":
            texts.append(written.get(i, ""))
        elif token.kind in _WORDS or token.text in (".", "%"):
            texts.append(_whole_before_point(digits, whole, i, point) + token.text)
    return "".join(texts)


def _whole_before_point(digits: str, whole: list[int], i: int, point: int) -> str:
    """The digits before the decimal point, if the format has no place for them."""
    return digits if i == point and not whole and digits != "0" else ""


def _whole(
    digits: str, tokens: Sequence[_Token], places: list[int], *, grouped: bool
) -> dict[int, str]:
    """Digits of the whole part by their place, from the last one on."""
    digits = "" if digits == "0" else digits
    written: dict[int, str] = {}
    for count, place in enumerate(reversed(places)):
        digit = digits[-1:] or {"0": "0", "?": " "}.get(tokens[place].text, "")
        digits = digits[:-1]
        comma = "," if grouped and digit.strip() and count and count % 3 == 0 else ""
        written[place] = digit + comma
    if places and digits:
        # The first place takes all remaining digits.
        rest = _in_groups(digits, len(places)) if grouped else digits
        written[places[0]] = rest + written[places[0]]
    return written


def _in_groups(digits: str, behind: int) -> str:
    """Digits with commas between thousands; `behind` digits follow them."""
    signs = (
        f"{digit}," if count % 3 == 0 else digit
        for count, digit in enumerate(reversed(digits), start=behind)
    )
    return "".join(reversed(list(signs)))


def _decimals(fraction: str, tokens: Sequence[_Token], places: list[int]) -> dict[int, str]:
    written = {}
    kept = len(fraction.rstrip("0"))
    for number, place in enumerate(places):
        is_kept = number < kept or any(tokens[later].text == "0" for later in places[number:])
        written[place] = fraction[number : number + 1] if is_kept else ""
    return written


def _date(value: float, tokens: Sequence[_Token], *, from_1904: bool) -> str:
    if value < 0 or value >= _LAST_DAY:
        raise ValueError("no date")
    decimals = _decimals_of_seconds(tokens)
    moment = _moment(value, decimals, from_1904=from_1904)
    seconds = round(value * 86_400, decimals)
    has_half = any(token.kind == "half" for token in tokens)
    minutes = _minutes(tokens)
    texts = []
    for i, token in enumerate(tokens):
        if token.kind == "date":
            texts.append(_part_of_date(moment, token.text.lower(), i in minutes, has_half))
        elif token.kind == "elapsed":
            texts.append(_elapsed(seconds, token.text))
        elif token.kind == "half":
            texts.append("AM" if moment.hour < 12 else "PM")
        elif token.kind == "figure":
            texts.append(_second_decimal(moment, tokens, i))
        elif token.kind == "text" or token.text in (".", "/", ","):
            texts.append(token.text)
    return "".join(texts)


def _decimals_of_seconds(tokens: Sequence[_Token]) -> int:
    return min(6, sum(1 for token in tokens if token.kind == "figure"))


def _second_decimal(moment: dt.datetime, tokens: Sequence[_Token], place: int) -> str:
    before = sum(1 for token in tokens[:place] if token.kind == "figure")
    return f"{moment.microsecond:06d}"[before : before + 1]


def _moment(value: float, decimals: int, *, from_1904: bool) -> dt.datetime:
    if from_1904:
        start = dt.datetime(1904, 1, 1)  # noqa: DTZ001 -- a sheet knows none
    else:
        # Excel treats 1900 as a leap year.
        day = 31 if value < _FEBRUARY_29_1900 else 30
        start = dt.datetime(1899, 12, day)  # noqa: DTZ001 -- a sheet knows none
    seconds = round(value * 86_400, decimals)
    return start + dt.timedelta(seconds=seconds)


def _minutes(tokens: Sequence[_Token]) -> set[int]:
    """Places of each m that means minutes, which is so after hours and before seconds."""
    named = [
        (i, token.text[0].lower(), len(token.text))
        for i, token in enumerate(tokens)
        if token.kind in ("date", "elapsed")
    ]
    before = ["", *(letter for _i, letter, _size in named)]
    after = [*(letter for _i, letter, _size in named[1:]), ""]
    return {
        i
        for (i, letter, size), left, right in zip(named, before, after, strict=False)
        if letter == "m" and size < 3 and (left == "h" or right == "s")
    }


def _part_of_date(moment: dt.datetime, letters: str, is_minute: bool, has_half: bool) -> str:
    size, letter = len(letters), letters[0]
    if letter in ("y", "e"):
        return f"{moment.year % 100:02d}" if letter == "y" and size < 3 else str(moment.year)
    if letter == "m" and not is_minute:
        return _named(moment.month, _MONTHS[moment.month - 1], size)
    if letter == "d":
        return _named(moment.day, _DAYS[moment.weekday()], size)
    hour = (moment.hour - 1) % 12 + 1 if has_half else moment.hour
    number = {"h": hour, "m": moment.minute, "s": moment.second}.get(letter)
    if number is None:
        return ""
    return f"{number:02d}" if size > 1 else str(number)


def _named(number: int, name: str, size: int) -> str:
    if size < 3:
        return str(number).zfill(size)
    return {3: name[:3], 5: name[:1]}.get(size, name)


def _elapsed(seconds: float, letters: str) -> str:
    number = int(seconds // {"h": 3600, "m": 60, "s": 1}[letters[0]])
    return str(number).zfill(len(letters))
