"""Our reading of PromQL gives what Prometheus gives.

The series and results of `rate` and `increase` are those of Prometheus' own tests
(promql/promqltest/testdata/functions.test). Where the programs of Prometheus are installed,
tests/contract/test_prometheus.py asks them too.
"""

import math
from typing import Any

import pytest

from tests.support.promql import (
    Alert,
    Alerts,
    Labels,
    Samples,
    UnknownFormError,
    Vector,
    bucket_quantile,
    parse,
)

MINUTE = 60.0


def labelled(name: str, **labels: str) -> Labels:
    return frozenset({"__name__": name, **labels}.items())


def loaded(step: float, **series: list[float | None]) -> Samples:
    """Series by the label `path`, a sample at each step from 0 on; None: no sample."""
    samples = Samples()
    for path, values in series.items():
        for place, value in enumerate(values):
            if value is not None:
                samples.add(place * step, labelled("total", path=path), value)
    return samples


def steps(start: float, by: float, count: int) -> list[float | None]:
    """`start+by x count` of Prometheus' notation."""
    return [start + by * n for n in range(count + 1)]


def by_path(samples: Samples, expression: str, time: float) -> dict[str, float]:
    found = parse(expression).value(samples, time)
    assert isinstance(found, dict)
    assert all("__name__" not in dict(series) for series in found)
    return {dict(series)["path"]: value for series, value in found.items()}


def test_increase_goes_on_to_the_ends_of_the_window_but_never_below_zero() -> None:
    samples = loaded(
        5 * MINUTE,
        foo=steps(0, 10, 10),
        bar=steps(0, 18, 5) + steps(0, 18, 5),
        dings=steps(10, 10, 10),
        bumms=steps(1, 10, 10),
    )
    # A sample of the window's first moment does not belong to it.
    assert by_path(samples, "increase(total[50m])", 50 * MINUTE) == pytest.approx(
        {"foo": 100, "bar": 160, "dings": 100, "bumms": 100}
    )
    assert by_path(samples, "increase(total[100m])", 50 * MINUTE) == pytest.approx(
        {"foo": 100, "bar": 162, "dings": 105, "bumms": 101}
    )


def test_a_fall_is_a_restart_from_zero() -> None:
    samples = loaded(5 * MINUTE, foo=[0, 1, 2, 3, 2, 3, 4])
    assert by_path(samples, "increase(total[30m])", 30 * MINUTE) == pytest.approx({"foo": 7})
    middle = loaded(5 * MINUTE, middle=steps(0, 27, 4) + steps(0, 27, 5))
    assert by_path(middle, "rate(total[50m])", 50 * MINUTE) == pytest.approx({"middle": 0.08})
    end = loaded(5 * MINUTE, end=[*steps(0, 10, 9), 0, 10])
    assert by_path(end, "rate(total[5m])", 50 * MINUTE) == {}
    assert by_path(end, "rate(total[6m])", 50 * MINUTE) == {"end": 0}


def test_a_rate_is_for_a_second() -> None:
    samples = loaded(5 * MINUTE, x=steps(0, 80, 10))
    assert by_path(samples, "rate(total[50m])", 50 * MINUTE) == pytest.approx({"x": 80 / 300})


@pytest.mark.parametrize(
    ("time", "rates"),
    [(10, [0.5, 0.55, 0.6, 0.6, 0.6, 0.6]), (50, [0.6] * 6)],
)
def test_nothing_is_thought_of_before_a_counter_was_zero(time: int, rates: list[float]) -> None:
    series = {f"at{n}": steps(60 * n, 240, 10) for n in range(6)}
    found = by_path(loaded(4 * MINUTE, **series), "rate(total[20m])", time * MINUTE)
    assert [found[f"at{n}"] for n in range(6)] == pytest.approx(rates)


def test_a_counter_that_begins_with_what_happened_shows_no_increase() -> None:
    """Why counters have to be exported before anything happens."""
    samples = loaded(MINUTE, new=[None, None, 5, 5, 5])
    assert by_path(samples, "increase(total[10m])", 4 * MINUTE) == {"new": 0}


def test_a_series_ends_when_a_scrape_has_it_no_longer_and_with_its_target() -> None:
    samples = Samples()
    samples.scrape(0, "a:1", 'x{n="1"} 1\nx{n="2"} 2\n', job="docmill")
    samples.scrape(30, "a:1", 'x{n="2"} 2\n', job="docmill")
    assert numbers(samples, "x", 29) == [1, 2]
    assert numbers(samples, "x", 30) == [2]
    samples.scrape(60, "a:1", None, job="docmill")
    assert numbers(samples, "x", 60) == []
    assert numbers(samples, "absent(x)", 60) == [1]


def test_a_series_is_looked_back_for_for_five_minutes() -> None:
    samples = Samples()
    samples.scrape(0, "a:1", "x 1\n")
    assert numbers(samples, "x", 299) == [1]
    assert numbers(samples, "x", 300) == []


def numbers(samples: Samples, expression: str, time: float) -> list[float]:
    found = parse(expression).value(samples, time)
    return [found] if isinstance(found, float) else sorted(found.values())


@pytest.fixture
def samples() -> Samples:
    made = Samples()
    made.scrape(
        0,
        "a:1",
        """x{code="one",p="5"} 1
x{code="two",p="5"} 2
x{code="three",p="9"} 30
y{p="5"} 4
z 7
""",
        job="docmill",
    )
    return made


def said(samples: Samples, expression: str) -> dict[tuple[tuple[str, str], ...], float]:
    found = parse(expression).value(samples, 0)
    assert isinstance(found, dict)
    hidden = ("instance", "job")
    return {
        tuple(sorted(label for label in series if label[0] not in hidden)): value
        for series, value in found.items()
    }


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("sum by (p) (x)", {(("p", "5"),): 3, (("p", "9"),): 30}),
        ("max(x)", {(): 30}),
        ('sum(x{code=~"one|two"})', {(): 3}),
        ('sum(x{code!~"one|two"})', {(): 30}),
        ('sum(x{code!~"on"})', {(): 33}),
        ('sum(x{none!~"a"})', {(): 33}),  # a label that is not there is empty
        ('sum(x{none!~""})', {}),
        ('sum(x{code=~"on"})', {}),  # a pattern is for the whole of a value
        ('sum(x{code=~"t.*", job="docmill"})', {(): 32}),
        ("sum(x) / sum(z)", {(): 33 / 7}),
        ("sum(z) - sum(x) * 2", {(): 7 - 66}),
        ("1 - max(z)", {(): -6}),
        ("0.5 * sum(x) > 16", {(): 16.5}),
        ("sum(x) > 0.5 * sum(x)", {(): 33}),
        ("sum(x) < 1", {}),
        ("2 < sum by (p) (x)", {(("p", "5"),): 3, (("p", "9"),): 30}),
        ("max(y) == 4", {(): 4}),
        ("sum by (p) (x) > sum by (p) (y)", {}),
        ("sum by (p) (x) < sum by (p) (y)", {(("p", "5"),): 3}),
        ("sum by (p) (x) < 100 and sum by (p) (y) > 1", {(("p", "5"),): 3}),
        ("z > 6", {(("__name__", "z"),): 7}),
        ("z / z", {(): 1}),
        ("absent(nothing)", {(): 1}),
        ("absent(z)", {}),
        ("sum(nothing) / sum(z) < 1", {}),
    ],
)
def test_each_form_gives_what_prometheus_gives(
    samples: Samples, expression: str, expected: Vector
) -> None:
    assert said(samples, expression) == pytest.approx(expected)


def test_nothing_divided_by_nothing_is_no_number_and_fires_nothing(samples: Samples) -> None:
    (value,) = said(samples, "(z - 7) / (z - 7)").values()
    assert math.isnan(value)
    assert said(samples, "(z - 7) / (z - 7) < 1") == {}
    assert said(samples, "z / (z - 7)") == {(): math.inf}


def test_an_absent_series_has_the_labels_that_were_asked_for(samples: Samples) -> None:
    asked = 'absent(nothing{job="docmill", code=~"a|b"})'
    assert parse(asked).value(samples, 0) == {frozenset({("job", "docmill")}): 1}


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "x and",
        "x or y",
        "x unless y",
        "x > bool 1",
        "x > on (p) y",
        "x >= 1",
        "x != 1",
        "1 > 2",
        "x > 1 > 2",
        "-x",
        "x % 2",
        "x offset 5m",
        "x[5m]",
        "rate(x)",
        "rate(x[5m:1m])",
        "rate(x[1h30m])",
        "rate(sum(x)[5m])",
        "absent(x[5m])",
        "avg(x)",
        "min(x)",
        "count(x)",
        "sum without (p) (x)",
        "sum(x) by (p)",
        "irate(x[5m])",
        "delta(x[5m])",
        "quantile_over_time(0.5, x[5m])",
        'x{code!="one"}',
        'x{code="o\\ne"}',
        "{p='5'}",
        "x @ 5",
        "x y",
        "(x",
        "sum(1)",
    ],
)
def test_any_other_form_is_refused_and_never_passed_over(expression: str) -> None:
    with pytest.raises(UnknownFormError):
        parse(expression).value(Samples(), 0)


def test_a_quantile_lies_on_a_straight_line_within_its_bucket() -> None:
    buckets = [(0.1, 2.0), (0.5, 6.0), (1, 10.0), (math.inf, 10.0)]
    assert bucket_quantile(0.5, buckets) == pytest.approx(0.1 + 0.4 * 3 / 4)
    assert bucket_quantile(0.1, buckets) == pytest.approx(0.05)
    # In the bucket without a bound: the highest bound.
    assert bucket_quantile(0.95, [(1, 1.0), (2, 2.0), (math.inf, 10.0)]) == 2
    assert math.isnan(bucket_quantile(0.5, [(1, 0.0), (math.inf, 0.0)]))
    assert math.isnan(bucket_quantile(0.5, [(1, 3.0)]))


def test_histograms_keep_their_other_labels() -> None:
    samples = Samples()
    samples.scrape(0, "a", 'h_bucket{le="1",s="e"} 1\nh_bucket{le="+Inf",s="e"} 1\n')
    found = parse("histogram_quantile(0.5, sum by (le, s) (h_bucket))").value(samples, 0)
    assert found == {frozenset({("s", "e")}): 0.5}


def rule(**others: Any) -> dict[str, Any]:
    return {"alert": "High", "expr": "max by (p) (x) > 1", "for": "1m", **others}


def test_an_alert_fires_once_it_was_true_for_its_time_and_ends_at_once() -> None:
    alerts, samples = Alerts([rule()]), Samples()
    high = Alert("High", frozenset({("p", "5")}))
    seen = []
    for time, value in enumerate([0, 2, 2, 2, 0, 2, 2, 2]):
        samples.scrape(time * 30, "a", f'x{{p="5"}} {value}\n')
        seen.append((high in alerts.evaluate(samples, time * 30), high in alerts.active))
    assert seen == [
        *((False, False), (False, True), (False, True), (True, True)),
        *((False, False), (False, True), (False, True), (True, True)),
    ]
    assert str(high) == "High(p=5)"


def test_a_rule_of_another_form_is_refused() -> None:
    with pytest.raises(UnknownFormError, match="keep_firing_for"):
        Alerts([rule(keep_firing_for="5m")])
    with pytest.raises(UnknownFormError):
        Alerts([rule(**{"for": "1m30s"})])
