"""The part of Prometheus that ops/alerts.yml needs: its forms of PromQL, and rules with `for`.

Any other form raises UnknownFormError, so that no rule passes because it was not understood. The
meaning of each form is that of Prometheus 3 (prometheus.io/docs/prometheus/latest/querying):
`rate` and `increase` extrapolate to the ends of their window and count resets, a series ends when a
scrape does not have it, and a selector looks back for five minutes.
"""

import math
import operator
import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

from prometheus_client.parser import text_string_to_metric_families

#: What a selector looks back for, in seconds (--query.lookback-delta of Prometheus).
LOOKBACK_SECONDS: Final = 300.0

Labels = frozenset[tuple[str, str]]
Vector = dict[Labels, float]
Value = float | Vector
_NAME: Final = "__name__"


class UnknownFormError(Exception):
    """An expression or a rule has a form that is not evaluated here."""


# -- what was scraped

#: Times and values of a series, None where it ended.
_Kept = tuple[list[float], list[float | None]]


@dataclass
class Samples:
    """Every series that was scraped, with its samples in order of time. None: the series ended."""

    _series: dict[str, dict[Labels, _Kept]] = field(default_factory=dict)  #: by name
    _of_target: dict[str, set[Labels]] = field(default_factory=dict)

    def add(self, time: float, series: Labels, value: float | None) -> None:
        """One sample, later than those before it."""
        times, values = self._series.setdefault(dict(series)[_NAME], {}).setdefault(
            series, ([], [])
        )
        assert not times or time > times[-1], "samples come in order of time"
        times.append(time)
        values.append(value)

    def scrape(self, time: float, target: str, text: str | None, **labels: str) -> None:
        """What a target answered; None: it did not. Series that it no longer has end here."""
        found: dict[Labels, float] = {}
        for family in text_string_to_metric_families(text or ""):
            for sample in family.samples:
                own = {**sample.labels, **labels, "instance": target, _NAME: sample.name}
                # An empty label is none.
                found[frozenset(label for label in own.items() if label[1])] = sample.value
        for gone in self._of_target.get(target, set()) - found.keys():
            self.add(time, gone, None)
        for series, value in found.items():
            self.add(time, series, value)
        self._of_target[target] = set(found)

    def now(self, time: float, selector: "Selector") -> Vector:
        """The newest sample of each series that has not ended."""
        found: Vector = {}
        for series, (times, values) in self._selected(selector):
            last = bisect_right(times, time) - 1
            value = values[last] if last >= 0 else None
            if value is not None and times[last] > time - LOOKBACK_SECONDS:
                found[series] = value
        return found

    def window(
        self, time: float, seconds: float, selector: "Selector"
    ) -> dict[Labels, list[tuple[float, float]]]:
        """The samples of each series in a window that ends now, without its first moment."""
        found = {}
        for series, (times, values) in self._selected(selector):
            begin, end = bisect_right(times, time - seconds), bisect_right(times, time)
            points = [
                (at, value)
                for at, value in zip(times[begin:end], values[begin:end], strict=True)
                if value is not None
            ]
            if points:
                found[series] = points
        return found

    def _selected(self, selector: "Selector") -> Iterator[tuple[Labels, _Kept]]:
        named = self._series.get(selector.name, {})
        return ((series, kept) for series, kept in named.items() if selector.matches(series))


# -- expressions


class Expression:
    """A part of an expression that has been understood."""

    def value(self, samples: Samples, time: float) -> Value:
        """What it is at this time."""
        raise NotImplementedError


@dataclass(frozen=True)
class Number(Expression):
    number: float

    def value(self, samples: Samples, time: float) -> Value:
        return self.number


def _is_like(value: str, pattern: str) -> bool:
    return re.fullmatch(pattern, value) is not None


_MATCHERS: Final[Mapping[str, Callable[[str, str], bool]]] = {
    "=": lambda value, wanted: value == wanted,
    "=~": _is_like,
    "!~": lambda value, pattern: not _is_like(value, pattern),
}


@dataclass(frozen=True)
class Selector(Expression):
    """A name, matchers, and in brackets a window in seconds."""

    name: str
    matchers: tuple[tuple[str, str, str], ...]
    window: float | None = None

    def matches(self, series: Labels) -> bool:
        """Whether a series of this name has the labels."""
        has = dict(series)
        return all(
            _MATCHERS[sign](has.get(label, ""), wanted) for label, sign, wanted in self.matchers
        )

    def value(self, samples: Samples, time: float) -> Value:
        if self.window is not None:
            raise UnknownFormError(f"{self.name} over a window stands in no function")
        return samples.now(time, self)


@dataclass(frozen=True)
class Rate(Expression):
    """`rate` for each second of the window, or `increase` over all of it."""

    selector: Selector
    is_rate: bool

    def value(self, samples: Samples, time: float) -> Value:
        seconds = self.selector.window or 0.0
        found: Vector = {}
        for series, points in samples.window(time, seconds, self.selector).items():
            grown = increase(points, time - seconds, time)
            if grown is not None:
                found[_nameless(series)] = grown / seconds if self.is_rate else grown
        return found


@dataclass(frozen=True)
class Absent(Expression):
    """1 if nothing is selected, with the labels that were asked for; else nothing."""

    selector: Selector

    def value(self, samples: Samples, time: float) -> Value:
        if self.selector.value(samples, time):
            return {}
        asked = {label: wanted for label, sign, wanted in self.selector.matchers if sign == "="}
        return {frozenset(asked.items()): 1.0}


@dataclass(frozen=True)
class Quantile(Expression):
    """`histogram_quantile`."""

    quantile: float
    buckets: Expression

    def value(self, samples: Samples, time: float) -> Value:
        histograms: dict[Labels, list[tuple[float, float]]] = defaultdict(list)
        for series, count in _vector(self.buckets.value(samples, time)).items():
            bound = float(dict(series)["le"])
            rest = frozenset(label for label in series if label[0] not in ("le", _NAME))
            histograms[rest].append((bound, count))
        return {
            series: bucket_quantile(self.quantile, buckets)
            for series, buckets in histograms.items()
        }


@dataclass(frozen=True)
class Aggregate(Expression):
    """`sum` or `max`, by some labels."""

    fold: Callable[[Sequence[float]], float]
    by: tuple[str, ...]
    of: Expression

    def value(self, samples: Samples, time: float) -> Value:
        groups: dict[Labels, list[float]] = defaultdict(list)
        for series, number in _vector(self.of.value(samples, time)).items():
            groups[frozenset(label for label in series if label[0] in self.by)].append(number)
        return {series: self.fold(numbers) for series, numbers in groups.items()}


@dataclass(frozen=True)
class Operation(Expression):
    """Arithmetic, a comparison that filters, or `and`."""

    sign: str
    left: Expression
    right: Expression

    def value(self, samples: Samples, time: float) -> Value:
        left, right = self.left.value(samples, time), self.right.value(samples, time)
        if self.sign == "and":
            kept = {_nameless(series) for series in _vector(right)}
            return {s: number for s, number in _vector(left).items() if _nameless(s) in kept}
        if isinstance(left, float) and isinstance(right, float):
            if self.sign in _COMPARISONS:
                raise UnknownFormError("a comparison of two numbers")
            return _ARITHMETIC[self.sign](left, right)
        pairs = _pairs(left, right)
        if self.sign in _COMPARISONS:
            holds = _COMPARISONS[self.sign]
            return {series: own for series, a, b, own in pairs if holds(a, b)}
        count = _ARITHMETIC[self.sign]
        return {_nameless(series): count(a, b) for series, a, b, _ in pairs}


def _pairs(left: Value, right: Value) -> Iterator[tuple[Labels, float, float, float]]:
    """Numbers that meet: the labels, both of them, and the one whose labels these are."""
    if isinstance(left, float):
        yield from ((series, left, number, number) for series, number in _vector(right).items())
    elif isinstance(right, float):
        yield from ((series, number, right, number) for series, number in left.items())
    else:
        ours, theirs = _by_labels(left), _by_labels(right)
        for labels in ours.keys() & theirs.keys():
            series, number = ours[labels]
            yield series, number, theirs[labels][1], number


def _by_labels(vector: Vector) -> dict[Labels, tuple[Labels, float]]:
    # A selector has one name, so that series without it can still be told apart.
    return {_nameless(series): (series, number) for series, number in vector.items()}


def _nameless(series: Labels) -> Labels:
    return frozenset(label for label in series if label[0] != _NAME)


def _vector(value: Value) -> Vector:
    if isinstance(value, float):
        raise UnknownFormError("a number where series have to be")
    return value


def _divided(a: float, b: float) -> float:
    if b:
        return a / b
    return math.nan if not a or math.isnan(a) else math.copysign(math.inf, a)


_ARITHMETIC: Final[Mapping[str, Callable[[float, float], float]]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": _divided,
}
_COMPARISONS: Final[Mapping[str, Callable[[float, float], bool]]] = {
    ">": operator.gt,
    "<": operator.lt,
    "==": operator.eq,
}
_FOLDS: Final[Mapping[str, Callable[[Sequence[float]], float]]] = {"sum": math.fsum, "max": max}


def increase(points: Sequence[tuple[float, float]], begin: float, end: float) -> float | None:
    """What a counter grew by from `begin` to `end`, as `extrapolatedRate` of Prometheus has it.

    A fall is a restart from zero. The growth between the first and the last sample is continued to
    the ends of the window, if a sample is missing there for half an interval at most, and never
    below zero. None for fewer than two samples.
    """
    if len(points) < 2:
        return None
    (first_time, first), (last_time, last) = points[0], points[-1]
    grown = last - first
    for (_, before), (_, after) in pairwise(points):
        if after < before:
            grown += before
    sampled = last_time - first_time
    interval = sampled / (len(points) - 1)
    to_begin, to_end = first_time - begin, end - last_time
    if to_begin >= 1.1 * interval:
        to_begin = interval / 2
    if grown > 0 and first >= 0:
        to_begin = min(to_begin, sampled * first / grown)
    if to_end >= 1.1 * interval:
        to_end = interval / 2
    return grown * (sampled + to_begin + to_end) / sampled


def bucket_quantile(quantile: float, buckets: Sequence[tuple[float, float]]) -> float:
    """The quantile of a histogram of (upper bound, count up to it), by straight lines.

    The bound of the last bucket but one if it lies in the last, which has none.
    """
    ordered = sorted(buckets)
    if len(ordered) < 2 or ordered[-1][0] != math.inf or not ordered[-1][1]:
        return math.nan
    rank = quantile * ordered[-1][1]
    place = next(n for n, (_, count) in enumerate(ordered) if count >= rank)
    if place == len(ordered) - 1:
        return ordered[-2][0]
    bound, count = ordered[place]
    if place == 0 and bound <= 0:
        return bound
    start, below = ordered[place - 1] if place else (0.0, 0.0)
    return start + (bound - start) * (rank - below) / (count - below)


# -- reading expressions

_TOKEN: Final = re.compile(
    r"""\s*(?:(?P<number>\d+(?:\.\d+)?(?:e\d+)?)(?![\w.])|(?P<window>\[[^\]]*\])
          |(?P<word>[a-zA-Z_]\w*)|(?P<string>"[^"\\]*")|(?P<sign>=~|!~|==|[-+*/><(){},=]))""",
    re.VERBOSE,
)
_DURATION: Final = re.compile(r"(\d+)([smhd])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
#: From those that bind loosest.
_LEVELS: Final = (("and",), tuple(_COMPARISONS), ("+", "-"), ("*", "/"))
_RESERVED: Final = frozenset(
    (
        *("and", "or", "unless", "on", "ignoring", "group_left", "group_right"),
        *("bool", "offset", "by", "without", "atan2"),
    )
)


def duration(text: str) -> float:
    """Seconds of a duration such as 15m."""
    found = _DURATION.fullmatch(text)
    if found is None:
        raise UnknownFormError(f"the duration {text!r}")
    return float(int(found[1]) * _SECONDS[found[2]])


def parse(text: str) -> Expression:
    """The expression that a text means. Raises UnknownFormError."""
    reader = _Reader(text)
    expression = reader.operation(0)
    if reader.ahead:
        raise UnknownFormError(f"{reader.ahead!r} in {text!r}")
    return expression


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens: list[tuple[str, str]] = []
        place, text = 0, text.rstrip()
        while place < len(text):
            found = _TOKEN.match(text, place)
            if found is None:
                raise UnknownFormError(f"{text[place:]!r} in {text!r}")
            kind = str(found.lastgroup)
            self._tokens.append((kind, found[kind]))
            place = found.end()

    @property
    def ahead(self) -> str:
        """The next token; empty at the end."""
        return self._tokens[0][1] if self._tokens else ""

    def operation(self, level: int) -> Expression:
        if level == len(_LEVELS):
            return self._term()
        left = self.operation(level + 1)
        while self.ahead in _LEVELS[level]:
            sign = self._take()
            left = Operation(sign, left, self.operation(level + 1))
            if sign in _COMPARISONS and self.ahead in _COMPARISONS:
                raise UnknownFormError(f"a comparison of a comparison in {self._text!r}")
        return left

    def _term(self) -> Expression:
        kind, word = self._tokens[0] if self._tokens else ("", "")
        if kind == "number":
            return Number(float(self._take()))
        if word == "(":
            return self._bracketed()
        if kind != "word" or word in _RESERVED:
            raise UnknownFormError(f"{word!r} in {self._text!r}")
        self._take()
        if word in _FOLDS:
            by = self._names() if self._has("by") else ()
            return Aggregate(_FOLDS[word], by, self._bracketed())
        if self.ahead == "(":
            return self._called(word)
        return self._selector(word)

    def _called(self, word: str) -> Expression:
        self._expect("(")
        made: Expression
        if word in ("rate", "increase"):
            made = Rate(self._selected(windowed=True), word == "rate")
        elif word == "absent":
            made = Absent(self._selected(windowed=False))
        elif word == "histogram_quantile":
            quantile = float(self._take("number"))
            self._expect(",")
            made = Quantile(quantile, self.operation(0))
        else:
            raise UnknownFormError(f"the function {word} in {self._text!r}")
        self._expect(")")
        return made

    def _selected(self, *, windowed: bool) -> Selector:
        selector = self._selector(self._take("word"))
        if (selector.window is not None) != windowed:
            raise UnknownFormError(f"the window of {selector.name} in {self._text!r}")
        return selector

    def _selector(self, name: str) -> Selector:
        matchers = []
        if self._has("{"):
            while not self._has("}"):
                label, sign = self._take("word"), self._take("sign")
                if sign not in _MATCHERS:
                    raise UnknownFormError(f"the matcher {sign!r} in {self._text!r}")
                matchers.append((label, sign, self._take("string")[1:-1]))
                if self.ahead != "}":
                    self._expect(",")
        is_windowed = bool(self._tokens) and self._tokens[0][0] == "window"
        window = duration(self._take("window")[1:-1]) if is_windowed else None
        return Selector(name, tuple(matchers), window)

    def _names(self) -> tuple[str, ...]:
        self._expect("(")
        names = [self._take("word")]
        while self._has(","):
            names.append(self._take("word"))
        self._expect(")")
        return tuple(names)

    def _bracketed(self) -> Expression:
        self._expect("(")
        made = self.operation(0)
        self._expect(")")
        return made

    def _has(self, token: str) -> bool:
        if self.ahead != token:
            return False
        self._take()
        return True

    def _expect(self, token: str) -> None:
        if not self._has(token):
            raise UnknownFormError(f"{self.ahead!r} and not {token!r} in {self._text!r}")

    def _take(self, wanted: str = "") -> str:
        kind, text = self._tokens.pop(0) if self._tokens else ("", "")
        if not kind or (wanted and kind != wanted):
            raise UnknownFormError(f"{text!r} in {self._text!r}")
        return text


# -- rules


@dataclass(frozen=True)
class Alert:
    """A rule, and the labels of what it is about."""

    name: str
    labels: Labels

    def __str__(self) -> str:
        said = ", ".join(f"{name}={value}" for name, value in sorted(self.labels))
        return f"{self.name}({said})"


@dataclass(frozen=True)
class Rule:
    """One alert of a file of rules."""

    name: str
    expression: Expression
    for_seconds: float

    @classmethod
    def of(cls, rule: Mapping[str, Any]) -> "Rule":
        """A rule as YAML has it. Raises UnknownFormError."""
        unknown = rule.keys() - {"alert", "expr", "for", "labels", "annotations"}
        if unknown:
            raise UnknownFormError(f"{sorted(unknown)} of a rule")
        return cls(rule["alert"], parse(rule["expr"]), duration(rule.get("for", "0s")))


class Alerts:
    """Rules that are evaluated again and again, and what fires."""

    def __init__(self, rules: Sequence[Mapping[str, Any]]) -> None:
        self.rules = [Rule.of(rule) for rule in rules]
        self._since: dict[Alert, float] = {}
        self.firing: set[Alert] = set()

    def evaluate(self, samples: Samples, time: float) -> set[Alert]:
        """What fires now: what was true at each evaluation for as long as its rule says."""
        active: dict[Alert, float] = {}
        firing = set()
        for rule in self.rules:
            for series in _vector(rule.expression.value(samples, time)):
                alert = Alert(rule.name, _nameless(series))
                active[alert] = self._since.get(alert, time)
                if time - active[alert] >= rule.for_seconds:
                    firing.add(alert)
        self._since, self.firing = active, firing
        return firing

    @property
    def active(self) -> set[Alert]:
        """What is true now, whether it fires already or not."""
        return set(self._since)
