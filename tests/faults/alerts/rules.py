"""The rules of ops/alerts.yml, evaluated as Prometheus does while each second counts for many."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import httpx
import yaml

from tests.support.pages import ROOT
from tests.support.promql import Alert, Alerts, Samples

RULES: Final[Sequence[Mapping[str, Any]]] = yaml.safe_load(
    (ROOT / "ops" / "alerts.yml").read_text()
)["groups"][0]["rules"]
NAMES: Final = [rule["alert"] for rule in RULES]
#: What a scrape counts for, and the real time between two of them at least.
SCRAPE_SECONDS: Final = 30.0
PAUSE_SECONDS: Final = 0.5
#: Prometheus' seconds in a real one, on a machine that keeps up.
FACTOR: Final = round(SCRAPE_SECONDS / PAUSE_SECONDS)
#: Thresholds that are changed, and why: rates for a second are lower by the factor, and a machine
#: that runs tests has neither a whole core nor four gigabytes to spare.
SCALED: Final[Mapping[str, tuple[str, str]]] = {
    "DocmillEmptyBatches": ("> 1", f"> {1 / FACTOR:.4f}"),
    "DocmillOneOwner": ("> 1", f"> {0.1 / FACTOR:.4f}"),
    "DocmillWorkerMemory": ("> 4e9", "> 4e8"),
}


def rules() -> list[dict[str, Any]]:
    """The rules of ops/alerts.yml, with the thresholds of SCALED."""
    return [dict(rule, expr=_scaled(rule["alert"], rule["expr"])) for rule in RULES]


def _scaled(alert: str, expression: str) -> str:
    if alert not in SCALED:
        return expression
    threshold, scaled = SCALED[alert]
    assert expression.endswith(threshold), f"{alert}: {expression}"
    return expression.removesuffix(threshold) + scaled


class Watch:
    """What Prometheus does: scrapes each place, and evaluates the rules after it."""

    def __init__(self, ports: Mapping[str, int]) -> None:
        self.time = 0.0
        self.alerts = Alerts(rules())
        self._samples = Samples()
        self._targets = [f"127.0.0.1:{port}" for port in ports.values()]
        self._client = httpx.Client(timeout=10)
        self._due = time.monotonic()

    def scrape(self) -> set[Alert]:
        """One more scrape; what fires then."""
        time.sleep(max(0.0, self._due - time.monotonic()))
        self._due = time.monotonic() + PAUSE_SECONDS
        self.time += SCRAPE_SECONDS
        for target in self._targets:
            self._samples.scrape(self.time, target, self._answer(target), job="docmill")
        return self.alerts.evaluate(self._samples, self.time)

    def close(self) -> None:
        """Keep no connection."""
        self._client.close()

    def _answer(self, target: str) -> str | None:
        try:
            return self._client.get(f"http://{target}/metrics").raise_for_status().text
        except httpx.HTTPError:
            return None
