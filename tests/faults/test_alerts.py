"""Alerts fire for their trouble. Two of them here; `make faults` tries all."""

from collections.abc import Iterator

import pytest

from docmill.embedded.postgres import PostgresServer
from tests.faults.alerts.rules import NAMES, RULES, SCALED, rules
from tests.faults.alerts.stand import Stand, running_stand
from tests.faults.alerts.trials import TROUBLES, Trouble, try_alert, watch_sound
from tests.faults.chaos import own_redis
from tests.support.alert_table import BEGIN, END, alert_table
from tests.support.database import make_database
from tests.support.installation import install
from tests.support.metrics_reference import PAGE

#: One that stands for what is absent, and one for what the database says.
FEW = ("DocmillNoMetrics", "DocmillBreakerOpen")


def test_each_alert_has_a_trouble_and_was_tried() -> None:
    assert [trouble.alert for trouble in TROUBLES] == NAMES
    assert all(trouble.also <= set(NAMES) for trouble in TROUBLES)
    table = PAGE.read_text().partition(BEGIN)[2].partition(END)[0].strip()
    assert table == alert_table()
    assert all(f"| `{name}` |" in table for name in NAMES)


def test_rules_are_tried_as_they_are_but_for_the_thresholds_that_are_named() -> None:
    changed = {rule["alert"] for rule, tried in zip(RULES, rules(), strict=True) if rule != tried}
    assert changed == set(SCALED)


@pytest.fixture(scope="module")
def stand(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    folder = tmp_path_factory.mktemp("alerts")
    with (
        own_redis(folder / "redis") as redis,
        make_database(postgres, "project") as database,
        install(database, redis, folder) as installation,
        running_stand(installation) as made,
    ):
        yield made


@pytest.mark.faults
def test_nothing_fires_while_nothing_is_wrong(stand: Stand) -> None:
    watch_sound(stand, 12)


@pytest.mark.faults
@pytest.mark.parametrize(
    "trouble", [one for one in TROUBLES if one.alert in FEW], ids=lambda one: one.alert
)
def test_an_alert_fires_for_its_trouble_and_ends_once_it_is_mended(
    stand: Stand, trouble: Trouble
) -> None:
    assert try_alert(stand, trouble).alert == trouble.alert
