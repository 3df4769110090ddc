"""An upgrade during work: the version in tests/fixtures/upgrade, then this one."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from docmill import __version__
from docmill.embedded.postgres import PostgresServer
from docmill.embedded.redis import start_redis
from docmill.embedded.stack import SERVICES
from docmill.worker.admin.schema import sql_files
from docmill.worker.extraction.child.kinds.pdf.reading import WINDOW_PAGES
from tests.integration.extraction.documents import make_pdf
from tests.support.database import Database, make_database
from tests.support.fake_openai import DIMENSIONS, MODEL, error
from tests.support.installation import (
    ALICE,
    FAST,
    SHORT_LEASE,
    Installation,
    apply_current_schema,
    install,
    until,
)
from tests.support.upgrade_fixture import FOLDER
from tests.support.wheel import install_wheel

SLOTS = int(FAST["DOCMILL_SLOTS"])


@dataclass(frozen=True)
class Older:
    """The older version, installed, with its own database."""

    program: str
    installation: Installation


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The older version's `docmill`."""
    (wheel,) = FOLDER.glob("*.whl")
    made = str(install_wheel(wheel, tmp_path_factory.mktemp("upgrade") / "older") / "docmill")
    assert version_of(made) != __version__, "nothing here is an upgrade"
    return made


def version_of(program: str) -> str:
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    return said.split()[-1]


@pytest.fixture
def older(
    postgres: PostgresServer, program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Older]:
    # Celery looks for modules here first, and those of 0.1.0 have the names of our folders.
    monkeypatch.chdir(tmp_path)

    def apply(database: Database) -> None:
        environ = {
            "DOCMILL_ADMIN_DATABASE_URL": database.url("postgres"),
            "DOCMILL_EMBEDDER": "openai",
            "DOCMILL_EMBEDDING_MODEL": MODEL,
            "DOCMILL_EMBEDDING_DIMENSIONS": str(DIMENSIONS),
        }
        subprocess.run([program, "schema", "apply"], env=environ, cwd=tmp_path, check=True)

    redis = start_redis(tmp_path / "redis")
    try:
        with (
            make_database(postgres, "project") as database,
            install(database, redis, tmp_path, apply, **SHORT_LEASE) as made,
        ):
            yield Older(program, made)
    finally:
        redis.stop()


def test_workers_of_both_versions_drain_what_is_under_way(older: Older) -> None:
    """The schema is upgraded beside an older worker; then a worker of this version joins."""
    made, current = older.installation, older.installation.program
    made.program = (older.program,)
    for service in ("beat", "webhook"):
        made.start(*SERVICES[service])
    old_worker = made.start_worker()
    assert older.program in Path(f"/proc/{old_worker.pid}/cmdline").read_text()
    made.openai.gate.clear()
    held = [made.upload(ALICE, f"held {n}.md", f"# {n}\n\nHeld.") for n in range(SLOTS)]
    made.openai.wait_for_requests(1)
    for name in held:
        made.wait_for_job(name, "running")
    waiting = [made.upload(ALICE, f"waiting {n}.md", f"# {n}\n\nWaits.") for n in range(SLOTS)]

    began = time.monotonic()
    apply_current_schema(made.database)
    assert time.monotonic() - began < 50, "it waited for what was under way"
    made.program = current
    made.start_worker()
    for name in waiting:
        made.wait_for_job(name, "running")
    made.openai.gate.set()
    later = [made.upload(ALICE, f"later {n}.md", f"# {n}\n\nLater.") for n in range(SLOTS)]
    _all_succeed_at_once(made, *held, *waiting, *later)
    assert len(made.rows("select distinct worker_id from ingest_private.attempts")) == 2

    # The older worker stops normally, and this one continues alone.
    assert old_worker.stop() == 0
    _all_succeed_at_once(made, made.upload(ALICE, "after.md", "# After\n\nAll of it."))
    logs = made.logs()
    for trouble in ("Traceback", '"job_crashed"', '"level": "error"'):
        assert trouble not in logs


def test_jobs_of_every_phase_that_the_older_version_left_end_under_this_one(older: Older) -> None:
    """It dies with documents that run, wait for another try, are sent for, and are only queued."""
    made, current = older.installation, older.installation.program
    made.program = (older.program,)
    made.start(*SERVICES["webhook"])
    old_worker = made.start_worker(DOCMILL_RETRY_BASE_SECONDS="60", DOCMILL_RETRY_MAX_SECONDS="60")
    made.openai.respond = lambda texts: (
        error(500, "server_error") if any("Again" in text for text in texts) else None
    )
    again = made.upload(ALICE, "again.md", "# Again\n\nAgain and again.")
    _wait_for_phase(made, again, "waiting")
    made.openai.gate.clear()
    running = [made.upload(ALICE, f"running {n}.md", f"# {n}\n\nRuns.") for n in range(2)]
    for name in running:
        _wait_for_phase(made, name, "running")
    os.kill(old_worker.pid, signal.SIGSTOP)
    # What waits takes no slot. A frozen worker is sent for as long as it is thought to be alive,
    # which is longer than any machine needs to upload some files.
    made.rows(
        "update ingest_private.workers set expires_at = now() + interval '1 hour' returning 1"
    )
    left = [made.upload(ALICE, f"left {n}.md", f"# {n}\n\nLeft.") for n in range(SLOTS)]
    until(lambda: {"dispatched", "ready"} <= {_phase(made, name) for name in left}, "both phases")
    made.kill(old_worker)
    for child in made.children[1:]:
        child.stop()

    apply_current_schema(made.database)
    made.openai.gate.set()
    made.openai.respond = lambda _texts: None
    made.program = current
    made.start_all()
    made.start_worker(isolated=True)
    # What waits for another try need not be waited for here.
    made.rows(
        "update ingest_private.job_queue set due_at = now() where phase = 'waiting' returning 1"
    )
    for name in (again, *running, *left):
        job = made.wait_for_job(name)
        assert job["state"] == "succeeded", job
    crashed = made.rows(
        """select job.object_name from ingest_private.attempts as run
             join ingest.jobs as job on job.id = run.job_id where run.outcome = 'crashed'"""
    )
    assert sorted(row["object_name"] for row in crashed) == sorted(running)


def test_workers_can_go_back_and_the_schema_cannot(older: Older) -> None:
    """As ops/README.md says of a release that is taken back."""
    made, current = older.installation, older.installation.program
    known = {row["name"] for row in made.rows("select name from ingest_private.migrations")}
    assert known < {file.name for file in sql_files("migrations")}
    apply_current_schema(made.database)
    made.start_all()
    before = made.upload(ALICE, "before.md", "# Before\n\nRead by this version.")
    _all_succeed_at_once(made, before)
    made.openai.gate.clear()
    # Numbers that do not go up with the pages: else each line would be a page number.
    pages = [f"Kiln {17 * page % 101} was begun." for page in range(2 * WINDOW_PAGES + 1)]
    running = made.upload(ALICE, "running.pdf", make_pdf(pages))
    until(lambda: _windows(made), "a part that was read, which the older version does not know")
    worker = made.children[-1]
    made.kill(worker)
    queued = [made.upload(ALICE, f"queued {n}.md", f"# {n}\n\nQueued.") for n in range(SLOTS)]
    for child in made.children:
        child.stop()
    made.openai.gate.set()

    # The older program says that it does not fit the schema, and leaves it as it is.
    for command in (("schema", "apply"), ("schema", "check")):
        done = subprocess.run(
            [older.program, *command],
            env=made.environ(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode != 0
        assert "is newer than this docmill" in done.stdout + done.stderr
        assert "upgrade docmill" in done.stdout + done.stderr
    made.docmill("schema", "check")

    made.program = (older.program,)
    made.start_all()
    made.start_worker(isolated=True)
    after = made.upload(ALICE, "after.md", "# After\n\nRead by the older one.")
    for name in (running, *queued, after):
        assert made.wait_for_job(name)["state"] == "succeeded"
    versions = made.rows("select distinct version from ingest_private.workers")
    assert version_of(older.program) in {row["version"] for row in versions}
    for text in ("Read by this version.", "Read by the older one.", "Kiln 17 was begun."):
        assert any(text in hit["content"] for hit in made.search(ALICE, text, 50)), text
    assert _windows(made) == 0

    # And forward again.
    for child in made.children:
        child.stop()
    made.program = current
    made.start_all()
    _all_succeed_at_once(made, made.upload(ALICE, "again.md", "# Again\n\nBy this one again."))


def _windows(made: Installation) -> int:
    return int(made.rows("select count(*) from ingest_private.document_windows")[0]["count"])


def _phase(made: Installation, name: str) -> str | None:
    rows = made.rows(
        """select entry.phase from ingest_private.job_queue as entry
             join ingest.jobs as job on job.id = entry.job_id where job.object_name = %s""",
        name,
    )
    return str(rows[0]["phase"]) if rows else None


def _wait_for_phase(made: Installation, name: str, phase: str) -> None:
    until(lambda: _phase(made, name) == phase, f"{name} {phase}")


def _all_succeed_at_once(made: Installation, *names: str) -> None:
    for name in names:
        job = made.wait_for_job(name)
        assert (job["state"], job["attempt"]) == ("succeeded", 1), job
        runs = made.rows("select outcome from ingest_private.attempts where job_id = %s", job["id"])
        assert runs == [{"outcome": "succeeded"}]
