"""At each fault of chaos the commands status, doctor, explain and reconcile say the same."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import pytest

from tests.faults.chaos import PLACES, SETTINGS, Chaos, own_postgres, own_redis
from tests.faults.plan import FAULTS, Fault, make_plan
from tests.faults.stack import FULL
from tests.support.agreement import disagreements
from tests.support.database import make_database
from tests.support.installation import ALICE, Installation, install, until

OPEN: Final = "select id from ingest.jobs where finished_at is null"
TROUBLES: Final = "select trouble from ingest_private.troubles()"
LATEST: Final = """
    select id from ingest.jobs where id in (select latest_job_id from ingest.documents)
     order by finished_at is not null, updated_at desc limit 1
"""
#: Commands are asked one after the other, and what happens in between is no contradiction. So only
#: what is contradicted each time counts.
LOOKS: Final = 3
#: The whole suite tries each fault; the short one those that last, and that stop other parts.
KINDS: Final = (
    tuple(FAULTS) if FULL else ("worker killed", "webhook away", "Redis restarted", "500 storm")
)


def rows(running: Installation, *arguments: str) -> list[dict[str, Any]] | None:
    """What a command says with --json; None: it cannot reach the database, and says so."""
    done = subprocess.run(
        [sys.executable, "-m", "docmill", *arguments, "--json"],
        env=running.environ(),
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    said = [json.loads(line) for line in done.stdout.splitlines()]
    if not said:
        assert done.returncode != 0, done.stderr
        return None
    return said


@dataclass
class Judge:
    """Asks the four commands of an installation, and compares their answers."""

    running: Installation
    #: Checks of doctor that look at a part of the installation; all others are troubles.
    parts: set[str]

    def contradictions(self) -> set[str]:
        """What the commands say that cannot be true together."""
        jobs = [row["id"] for row in self.running.rows(LATEST)]
        asked = [["status"], ["doctor"], ["reconcile", "--dry-run"]]
        asked += [["explain", str(job)] for job in jobs]
        status, doctor, compared, *explained = (rows(self.running, *each) for each in asked)
        assert status is not None
        assert doctor is not None
        assert compared is not None
        told = {trouble["trouble"] for trouble in status[0]["troubles"]}
        return {
            *self._of_troubles(told, doctor),
            *self._of_jobs(told, compared[:-1], dict(zip(jobs, explained, strict=True))),
        }

    def _of_troubles(self, told: set[str], doctor: list[dict[str, Any]]) -> Iterator[str]:
        wrong = {finding["check"].replace(" ", "_") for finding in doctor} - self.parts
        yield from (f"status tells {name}, doctor does not" for name in told - wrong)
        yield from (f"doctor tells {name}, status does not" for name in wrong - told)

    def _of_jobs(
        self,
        told: set[str],
        differences: list[dict[str, Any]],
        explained: dict[UUID, list[dict[str, Any]] | None],
    ) -> Iterator[str]:
        differing = {row["object_name"]: row["difference"] for row in differences}
        for job_id, said in explained.items():
            if said is None:  # the job is gone: its document was deleted meanwhile
                continue
            sentence, job = said[0]["explanation"], self.running.job(job_id)
            name = job["object_name"]
            if sentence == "No worker is running." and "no_worker" not in told:
                yield f"{name}: {sentence!r}, status tells {sorted(told)}"
            if "is searchable" in sentence and differing.get(name) in ("stale", "orphaned"):
                yield f"{name}: {sentence!r}, reconcile finds it {differing[name]}"
            if "is searchable" in sentence:
                document = self.running.document(name)
                if document is None or not document["searchable"]:
                    yield f"{name}: {sentence!r}, and it is not"

    def repeated(self) -> set[str]:
        """The contradictions that are there each time, by the commands and in one snapshot."""
        found = self.contradictions()
        for _ in range(LOOKS - 1):
            if not found:
                break
            found &= self.contradictions()
        with self.running.database.connect() as connection:
            in_snapshot = set(disagreements(connection))
            for _ in range(LOOKS - 1):
                in_snapshot &= set(disagreements(connection))
        return found | in_snapshot


@pytest.fixture(scope="module")
def chaos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chaos]:
    """The driver of chaos with a plan in which nothing happens by itself."""
    folder = tmp_path_factory.mktemp("agreement")
    with (
        own_postgres(folder / "postgres") as postgres,
        own_redis(folder / "redis") as redis,
        make_database(postgres.server, "project") as database,
        install(database, redis, folder, **SETTINGS) as installation,
    ):
        made = Chaos(make_plan(1, 0), postgres, installation)
        for place in PLACES:
            made._start(place)
        made._wait_until_ready()
        yield made
        made._thief.stop()


@pytest.fixture(scope="module")
def judge(chaos: Chaos) -> Judge:
    running = chaos.installation
    until(lambda: not running.rows(TROUBLES), "all is well")
    doctor = rows(running, "doctor")
    assert doctor is not None
    return Judge(running, {finding["check"].replace(" ", "_") for finding in doctor})


@pytest.mark.faults
@pytest.mark.parametrize("kind", KINDS)
def test_the_commands_agree_during_each_fault_and_after_it(
    kind: str, chaos: Chaos, judge: Judge
) -> None:
    running = chaos.installation
    number = list(FAULTS).index(kind)
    for part in range(3):
        text = f"# Part\n\nWritten before {kind}, {part}."
        running.upload(ALICE, f"{number}-{part}.md", text)
    # What ends it is only done below, however long the commands take.
    chaos._inject(Fault(0, kind, 0.0 if FAULTS[kind] == (0, 0) else 0.5, 0.4))
    running.upload(ALICE, f"{number}-0.md", f"# Part\n\nWritten during {kind}.")
    assert judge.repeated() == set()

    chaos._until(max([time.monotonic(), *(due for due, _ in chaos._later)]))
    chaos.provider.calm()

    def is_over() -> bool:
        chaos._until(time.monotonic())
        left[:] = running.rows(OPEN) + running.rows(TROUBLES)
        return not left

    left: list[dict[str, Any]] = []
    try:
        until(is_over, "all is done, and well")
    except AssertionError as error:
        raise AssertionError(f"{error}: {left}") from None
    assert judge.repeated() == set()


@pytest.mark.faults
def test_silence_is_told_alike(chaos: Chaos, judge: Judge) -> None:
    """Without any process each command says what the others say."""
    for place in PLACES:
        chaos._kill(place)
    name = chaos.installation.upload(ALICE, "silence.md", "# Silence\n\nNobody reads this.")

    def told() -> set[str]:
        return {row["trouble"] for row in chaos.installation.rows(TROUBLES)}

    # Without workers nobody could do what the schedule asks for: its silence is not told beside.
    until(lambda: told() >= {"no_worker", "no_isolated_worker"}, "silence")
    assert judge.repeated() == set()
    for place in PLACES:
        chaos._start(place)
    chaos.installation.wait_for_job(name, "succeeded")
    until(lambda: not told(), "all is well")
    assert judge.repeated() == set()
