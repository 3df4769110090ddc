"""The log of the schedule's tasks while the database is down."""

import logging
from types import SimpleNamespace
from typing import Any, cast

import pytest

from docmill import tasks
from docmill.worker.errors import JobError
from docmill.worker.processes.runtime import set_current


@pytest.fixture
def without_database() -> Any:
    def away() -> None:
        # With the reason, as from the store: Celery makes the error again from what it was made of.
        raise JobError("database_unavailable", "ProtocolViolation")

    maintenance = SimpleNamespace(
        begin=lambda *_: True, **dict.fromkeys(("dispatch", "rescue", "reconcile"), away)
    )
    schedules = SimpleNamespace(run_due=away)
    set_current(cast("Any", SimpleNamespace(maintenance=maintenance, schedules=schedules)))
    yield
    set_current(None)


@pytest.mark.usefixtures("without_database")
@pytest.mark.parametrize("name", ["dispatch", "rescue", "reconcile", "schedules"])
def test_a_round_without_a_database_is_one_line(
    name: str, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    logging.getLogger("celery.app.trace").setLevel(logging.WARNING)
    result = getattr(tasks, name).apply()
    assert result.state == "FAILURE"
    said = capsys.readouterr()
    assert "Traceback" not in caplog.text + said.out + said.err
    assert (caplog.text + said.out + said.err).count("maintenance_not_done") == 1
