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


def test_a_beat_that_never_lives_for_a_period_gets_each_work_done_in_time(
    installation: Installation,
) -> None:
    """Reconcile has its usual period of five minutes, and beat is killed after each dispatch."""
    installation.start_worker()

    def ticked(work: str) -> list[dict[str, Any]]:
        return installation.rows("select ticked_at from ingest_private.ticks where work = %s", work)

    def live_briefly() -> None:
        before = ticked("dispatch")
        beat = installation.start("beat")
        until(lambda: ticked("dispatch") != before, "a dispatch")
        installation.kill(beat)

    live_briefly()
    first = until(lambda: ticked("reconcile") or None, "the first reconcile")
    with installation.database.connect() as admin:
        admin.execute("alter table storage.objects disable trigger user")
        name = installation.upload(ALICE, "unseen.txt", "Only reconcile can find this.")
        admin.execute("alter table storage.objects enable trigger user")
    for _ in range(3):
        live_briefly()
    assert ticked("reconcile") == first
    assert installation.latest_job(name) is None
    installation.rows(
        """update ingest_private.works set begun_at = begun_at - interval '295 s'
            where work = 'reconcile' returning work"""
    )
    live_briefly()
    installation.wait_for_job(name, "succeeded")
    assert ticked("reconcile") != first


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
