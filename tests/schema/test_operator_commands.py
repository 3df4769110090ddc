"""`docmill jobs`, `retry`, `erase` and `export`, as operators call them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from docmill.cli.main import app
from docmill.worker.errors import RefusedError, UsageError
from tests.schema.actors import Connection, claimed, heartbeat, ingest, job_of, rows
from tests.support.database import Database, put_object

ID = "a11ce000-0000-4000-8000-000000000001"
Run = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def run(wiped: Database, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The rows that `docmill ... --json` prints; raises its refusal."""
    monkeypatch.setenv("DOCMILL_ADMIN_DATABASE_URL", wiped.url("postgres"))

    def run(*arguments: str) -> list[dict[str, Any]]:
        done = CliRunner().invoke(app, [*arguments, "--json"], standalone_mode=False)
        if done.exception is not None:
            raise done.exception
        return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]

    return run


@pytest.fixture
def failed(admin: Connection, worker: Connection) -> None:
    """Two corrupt files, an empty one, and a searchable one."""
    for name, code in (("a", "corrupt"), ("b", "corrupt"), ("c", "empty_document")):
        started = claimed(worker, job_of(admin, put_object(admin, f"{name}.txt", owner="alice")))
        worker.execute(
            "select ingest_private.fail_job(%s, %s, %s, null)",
            [started.job_id, started.token, code],
        )
    ingest(worker, put_object(admin, "d.txt", owner="bob"), ["text"])


@pytest.mark.usefixtures("failed")
def test_jobs_are_listed_by_state_code_owner_and_age(run: Run, admin: Connection) -> None:
    def listed(*options: str) -> list[str]:
        return sorted(row["object_name"] for row in run("jobs", *options))

    assert listed("--code", "corrupt") == ["a.txt", "b.txt"]
    assert listed("--state", "failed", "--code", "empty_document") == ["c.txt"]
    assert listed("--code", "corrupt", "--owner", "bob") == []
    admin.execute(
        "update ingest.jobs set created_at = created_at - interval '2 days'"
        " where object_name = 'a.txt'"
    )
    assert listed("--since", "1d") == ["b.txt", "c.txt", "d.txt"]
    assert listed("--since", "90m", "--code", "corrupt") == ["b.txt"]
    assert len(listed("--since", "8w")) == 4
    with pytest.raises(Exception, match="30m, 12h, 30d, 8w"):
        run("jobs", "--since", "yesterday")
    with pytest.raises(UsageError, match="did you mean corrupt"):
        run("jobs", "--code", "corupt")


@pytest.mark.usefixtures("failed")
def test_documents_that_failed_with_a_code_are_tried_again_together(
    run: Run, admin: Connection
) -> None:
    with pytest.raises(UsageError, match="2 documents failed with corrupt: say --yes"):
        run("retry", "--code", "corrupt")
    assert len(run("retry", "--code", "corrupt", "--limit", "1", "--yes")) == 1
    assert len(run("retry", "--code", "corrupt", "--yes")) == 1
    assert run("retry", "--code", "corrupt", "--yes") == []
    queued = rows(admin, "select object_name from ingest.jobs where state = 'queued'")
    assert sorted(row["object_name"] for row in queued) == ["a.txt", "b.txt"]
    for arguments in ((), ("0123abcd", "--code", "corrupt")):
        with pytest.raises(Exception, match="name a job, or --code"):
            run("retry", *arguments)


@pytest.mark.usefixtures("failed")
def test_nothing_is_erased_unasked_and_the_receipt_counts_it(run: Run, admin: Connection) -> None:
    with pytest.raises(UsageError, match=r"3 documents, 0 chunks, 3 jobs.*say --yes"):
        run("erase", "--owner", "alice")
    (planned,) = run("erase", "--owner", "alice", "--dry-run")
    assert planned["documents"] == 3
    assert len(rows(admin, "select from ingest.documents")) == 4
    (receipt,) = run("erase", "--owner", "alice", "--yes")
    assert (receipt["owner"], receipt["documents"], receipt["files"]) == ("alice", 3, 3)
    assert receipt["rows"]["ingest.jobs"] == 3
    assert not receipt["files_removed"]
    assert [row["owner_id"] for row in rows(admin, "select owner_id from ingest.documents")] == [
        "bob"
    ]
    with pytest.raises(RefusedError, match="there is nothing of carol to erase"):
        run("erase", "--owner", "carol", "--yes")


@pytest.mark.usefixtures("failed")
def test_top_shows_what_goes_on_and_who_waits(
    run: Run, admin: Connection, worker: Connection
) -> None:
    heartbeat(worker)
    started = claimed(worker, job_of(admin, put_object(admin, f"{ID}/slow.pdf", owner=ID)))
    admin.execute(
        "update ingest.jobs set stage = 'extracting', pages_done = 3, pages_total = 9,"
        " started_at = now() - interval '5 minutes' where id = %s",
        [started.job_id],
    )
    put_object(admin, "waits.txt", owner=ID)
    (now,) = run("top")
    assert [row["id"] for row in now["workers"]] == ["w1"]
    stages = {row["stage"]: (row["running"], row["jobs"]) for row in now["stages"]}
    assert stages == {"extracting": (True, 1), "waiting": (False, 1)}
    assert now["rates"]["jobs_last_ten"] == 4
    assert now["rates"]["failed_last_ten"] == 3
    assert now["owners"] == [{"owner_id": ID, "running": 1, "queued": 1}]
    assert now["slowest"][0]["seconds"] >= 300
    assert "no_isolated_worker" in {row["trouble"] for row in now["troubles"]}
    said = CliRunner().invoke(app, ["top", "--once"]).output
    assert "slow.pdf" in said
    assert f"{ID}/" not in said
    assert "3/9 pages" in said


@pytest.mark.usefixtures("failed")
def test_an_export_says_what_it_wrote(run: Run, tmp_path: Path) -> None:
    (said,) = run("export", str(tmp_path / "all.jsonl"))
    assert said == {"file": str(tmp_path / "all.jsonl"), "format": "jsonl", "passages": 1}
    with pytest.raises(UsageError, match="there is no folder"):
        run("export", str(tmp_path / "nowhere" / "all.jsonl"))
    with pytest.raises(UsageError, match="parquet needs a file"):
        run("export", "-", "--format", "parquet")
