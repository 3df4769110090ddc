"""An upgrade during work: the version in tests/fixtures/upgrade, then this one."""

import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from docmill.embedded.postgres import PostgresServer
from docmill.embedded.redis import start_redis
from docmill.embedded.stack import SERVICES
from tests.support.database import Database, make_database
from tests.support.fake_openai import DIMENSIONS, MODEL
from tests.support.installation import ALICE, FAST, Installation, apply_current_schema, install
from tests.support.upgrade_fixture import FOLDER
from tests.support.wheel import install_wheel

SLOTS = int(FAST["DOCMILL_SLOTS"])


@dataclass(frozen=True)
class Older:
    """The older version, installed, with its own database."""

    program: str
    installation: Installation


@pytest.fixture
def older(
    postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Older]:
    # Celery looks for modules here first, and those of 0.1.0 have the names of our folders.
    monkeypatch.chdir(tmp_path)
    (wheel,) = FOLDER.glob("*.whl")
    program = str(install_wheel(wheel, tmp_path / "older") / "docmill")

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
            install(database, redis, tmp_path, apply) as made,
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
    assert time.monotonic() - began < 10, "it waited for what was under way"
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


def _all_succeed_at_once(made: Installation, *names: str) -> None:
    for name in names:
        job = made.wait_for_job(name)
        assert (job["state"], job["attempt"]) == ("succeeded", 1), job
        runs = made.rows("select outcome from ingest_private.attempts where job_id = %s", job["id"])
        assert runs == [{"outcome": "succeeded"}]
