"""Prometheus itself says what our reading of PromQL says, for every rule and every panel.

Needs its programs (Debian: `apt-get install prometheus`) in PATH, or in the folder that
TEST_PROMETHEUS_BIN names; skipped without them.
"""

import json
import math
import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any, Final

import httpx
import pytest
import yaml

from docmill.embedded.process import free_port, start_child
from tests.support.installation import until
from tests.support.pages import ROOT
from tests.support.promql import Labels, Samples, Vector, parse

_PATH: Final = os.environ.get("TEST_PROMETHEUS_BIN") or None
PROMETHEUS, PROMTOOL = (shutil.which(name, path=_PATH) for name in ("prometheus", "promtool"))
pytestmark = pytest.mark.skipif(not PROMETHEUS or not PROMTOOL, reason="no programs of Prometheus")

ALERTS: Final = ROOT / "ops" / "alerts.yml"
STEP: Final = 30
SCRAPES: Final = 150
#: Between two scrapes: Prometheus 2 and 3 differ in whether the first moment of a window is in it.
TIMES: Final = tuple(range(2407, SCRAPES * STEP, 407))
BEGIN: Final = 1_700_000_000


def expressions() -> list[str]:
    rules = yaml.safe_load(ALERTS.read_text())["groups"][0]["rules"]
    panels = json.loads((ROOT / "ops" / "grafana.json").read_text())["panels"]
    shown = [target["expr"] for panel in panels for target in panel["targets"]]
    # What else the rules could say, and thresholds that random numbers reach.
    more = (
        "sum by (code) (increase(docmill_runs_total[15m])) > 10",
        "docmill_spend_usd_total / docmill_spend_usd_total < 2 and docmill_spend_usd_total > 1",
        'absent(docmill_nothing{job="docmill"})',
        "max(docmill_database_up) == 1",
    )
    return [*(rule["expr"] for rule in rules), *shown, *more]


def series() -> dict[Labels, dict[int, float]]:
    """Random counters that restart, gauges, and histograms, with scrapes that were missed."""
    dice = random.Random(4)
    made: dict[Labels, dict[int, float]] = {}
    names: dict[str, tuple[dict[str, str], ...]] = {
        "docmill_runs_total": tuple(
            {"outcome": outcome, "code": code}
            for outcome, code in (
                ("failed", "corrupt"),
                ("succeeded", ""),
                ("released", "no_space"),
            )
        ),
        "docmill_leases_lost_total": ({},),
        "docmill_child_ends_total": tuple(
            {"profile": "plain", "code": code} for code in ("ok", "parse_memory", "parse_crashed")
        ),
        "docmill_rate_limit_waits_total": ({"provider": "openai"}, {"provider": "voyage"}),
        "docmill_embedding_requests_total": tuple(
            {"provider": name, "code": "ok"} for name in ("openai", "voyage")
        ),
        "docmill_spend_usd_total": ({"provider": "openai"},),
        "docmill_batch_fill_sum": ({"provider": "openai"},),
        "docmill_batch_fill_count": ({"provider": "openai"},),
    }
    for instance in ("a:1", "b:1"):
        for name, each in names.items():
            for labels in each:
                made[_labels(name, instance, labels)] = _counter(dice)
        total = [0.0] * SCRAPES
        for bound in ("0.5", "1", "5", "+Inf"):
            grown = _counter(dice, missing=False)
            total = [before + grown[n] for n, before in enumerate(total)]
            labels = {"le": bound, "stage": "embedding"}
            made[_labels("docmill_stage_seconds_bucket", instance, labels)] = dict(enumerate(total))
        for name in ("docmill_database_up", "docmill_pending_events", "docmill_tick_age_seconds"):
            gauge = {n: float(dice.choice((0, 1, 200, 5000))) for n in range(SCRAPES)}
            made[_labels(name, instance, {"work": "rescue"})] = gauge
    return made


def _labels(name: str, instance: str, labels: dict[str, str]) -> Labels:
    own = {"__name__": name, "instance": instance, "job": "docmill", **labels}
    return frozenset(label for label in own.items() if label[1])


def _counter(dice: random.Random, *, missing: bool = True) -> dict[int, float]:
    value, found = float(dice.randrange(50)), {}
    for place in range(SCRAPES):
        value += dice.choice((0, 0, 1, 3, 40))
        if missing and dice.random() < 0.02:
            value = float(dice.randrange(3))
        # Every window begins with samples: where some are missing there, versions differ.
        if not missing or place % 30 < 3 or dice.random() > 0.1:
            found[place] = value
    return found


@pytest.fixture(scope="module")
def samples() -> Samples:
    made = Samples()
    for labels, values in series().items():
        for place, value in values.items():
            made.add(BEGIN + place * STEP, labels, value)
    return made


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that has the series; its URL."""
    folder = tmp_path_factory.mktemp("prometheus")
    (folder / "series").write_text(_open_metrics())
    blocks = [PROMTOOL, "tsdb", "create-blocks-from", "openmetrics", "series", "data"]
    subprocess.run(blocks, cwd=folder, check=True, capture_output=True)  # type: ignore[arg-type]
    (folder / "prometheus.yml").write_text("{}")
    url = f"http://127.0.0.1:{(port := free_port())}"
    child = start_child(
        "prometheus",
        [
            str(PROMETHEUS),
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            "--storage.tsdb.retention.time=100y",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        log_path=folder / "log",
    )
    try:
        until(lambda: _is_ready(url), "Prometheus")
        yield url
    finally:
        child.stop()


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/-/ready").status_code == 200
    except httpx.HTTPError:
        return False


def _open_metrics() -> str:
    families: dict[str, list[str]] = {}
    for labels, values in series().items():
        rest = dict(labels)
        name = rest.pop("__name__")
        said = ",".join(f'{label}="{value}"' for label, value in sorted(rest.items()))
        families.setdefault(name, []).extend(
            f"{name}{{{said}}} {value} {BEGIN + place * STEP}" for place, value in values.items()
        )
    lines = [line for name in sorted(families) for line in families[name]]
    return "\n".join([*lines, "# EOF\n"])


def _asked(url: str, expression: str, time: float) -> Vector:
    answer = httpx.get(f"{url}/api/v1/query", params={"query": expression, "time": time}).json()
    assert answer["status"] == "success", answer
    found: list[dict[str, Any]] = answer["data"]["result"]
    return {frozenset(one["metric"].items()): float(one["value"][1]) for one in found}


@pytest.mark.parametrize("expression", expressions())
def test_an_expression_has_the_value_that_prometheus_gives_it(
    samples: Samples, prometheus: str, expression: str
) -> None:
    for time in TIMES:
        ours = parse(expression).value(samples, BEGIN + time)
        assert isinstance(ours, dict)
        theirs = _asked(prometheus, expression, BEGIN + time)
        assert ours.keys() == theirs.keys(), time
        for labels, value in theirs.items():
            assert math.isclose(ours[labels], value, rel_tol=1e-9) or (
                math.isnan(ours[labels]) and math.isnan(value)
            ), (time, labels)


def test_prometheus_takes_the_rules() -> None:
    command = [str(PROMTOOL), "check", "rules", str(ALERTS)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
