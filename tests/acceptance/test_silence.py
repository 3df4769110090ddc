"""Silence is reported: real processes die, and status, doctor and explain say so."""

from tests.support.agreement import disagreements
from tests.support.installation import ALICE, Installation, until

TICKING = "select * from ingest_private.ticks where usual_gap is not null"


def troubles(running: Installation) -> set[str]:
    """The troubles in `status` and `doctor`, which must agree."""
    with running.database.connect() as connection:
        assert disagreements(connection) == []
    (status,) = running.docmill_rows("status", fails=None)
    by_status = {trouble["trouble"] for trouble in status["troubles"]}
    findings = running.docmill_rows("doctor", fails=None)
    wrong = {f["check"].replace(" ", "_") for f in findings if f["state"] != "ok"}
    assert by_status <= wrong, (by_status, findings)
    return by_status


def test_the_deaths_of_beat_and_receiver_are_told_and_what_waits_for_them(
    installation: Installation,
) -> None:
    beat = installation.start("beat")
    receiver = installation.start_webhook()
    installation.start_worker()
    installation.start_worker(isolated=True)
    first = installation.upload(ALICE, "a.txt", "Somebody works.")
    installation.wait_for_job(first, "succeeded")
    until(
        lambda: len(installation.rows(TICKING)) == 3,
        "the schedule has ticked",
    )
    assert troubles(installation) == set()

    for child in (beat, receiver):
        installation.kill(child)
    names = [installation.upload(ALICE, f"{n}.txt", f"Nobody starts {n}.") for n in range(3)]

    def told(*expected: str) -> bool:
        rows = installation.rows("select trouble from ingest_private.troubles()")
        return {row["trouble"] for row in rows} >= set(expected)

    until(
        lambda: told("schedule_silent", "jobs_stand_still", "receiver_silent"),
        "all three are told",
        timeout=180,
    )
    assert troubles(installation) == {"schedule_silent", "jobs_stand_still", "receiver_silent"}
    job = installation.latest_job(names[0])
    assert job is not None
    (explained,) = installation.docmill_rows("explain", str(job["id"]))
    assert "schedule" in explained["explanation"]

    installation.start("beat")
    installation.start_webhook()
    for name in names:
        installation.wait_for_job(name, "succeeded")
    until(lambda: not told("schedule_silent") and not told("receiver_silent"), "all is well again")
    assert troubles(installation) == set()


def test_a_receiver_that_is_stopped_in_order_is_no_trouble(installation: Installation) -> None:
    installation.start_webhook()
    ticks = "select * from ingest_private.ticks where work = 'receiver'"
    until(lambda: bool(installation.rows(ticks)), "the receiver is heard of")
    installation.children[-1].stop()
    assert installation.rows(ticks) == []
