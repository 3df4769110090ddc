"""Beat ticks, a worker runs due schedules, and `docmill schedule` shows the results."""

import json
import subprocess
import sys
from typing import Any

from tests.support.installation import ALICE, Installation, until

RETRIES = {
    "DOCMILL_RETRY_FAILED": "0  3 * *   *",
    "DOCMILL_RETRY_FAILED_CODES": "unsupported_type",
    "DOCMILL_SCHEDULE_TIME_ZONE": "Europe/Berlin",
}


def schedule(installation: Installation, *arguments: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", "docmill", "schedule", *arguments],
        env=installation.environ(),
        capture_output=True,
        text=True,
        check=True,
        timeout=180,
    ).stdout


def schedules(installation: Installation) -> dict[str, dict[str, Any]]:
    lines = schedule(installation, "--json").splitlines()
    return {row["name"]: row for row in map(json.loads, lines)}


def test_two_beats_and_two_workers_run_what_was_missed_once(installation: Installation) -> None:
    assert schedule(installation) == "none\n"
    name = installation.upload(ALICE, "a.exe", b"MZ\x90\x00\x03")
    installation.settings |= RETRIES
    for _ in range(2):
        installation.start("beat")
        installation.start_worker()
    installation.wait_for_job(name, "failed")
    # As if beat had been away for two nights.
    with installation.database.connect() as admin:
        admin.execute(
            """insert into ingest_private.schedules (name, expression, time_zone, next_due_at)
               values ('retry_failed', '0 3 * * *', 'Europe/Berlin', now() - interval '40 hours')
                   on conflict (name) do update set next_due_at = excluded.next_due_at"""
        )
    until(
        lambda: schedules(installation)["retry_failed"]["last_outcome"] == "done",
        "the schedule has run",
        timeout=180,
    )
    row = schedules(installation)["retry_failed"]
    assert row["documents"] == 1
    assert row["expression"] == "0 3 * * *"
    assert row["next_due_at"] > row["last_finished_at"]
    installation.wait_for_job(name, "failed")
    assert len(installation.rows("select from ingest.jobs")) == 2
    assert "schedule_finished" in installation.logs()
    assert installation.logs().count('"schedule_started"') == 1
    assert {"prune", "reconcile"} < set(schedules(installation))
    shown = [line for line in schedule(installation).splitlines() if "retry_failed" in line]
    assert len(shown) == 1
    assert "0 3 * * *" in shown[0]
    assert "Europe/Berlin" in shown[0]
    assert "done" in shown[0]
