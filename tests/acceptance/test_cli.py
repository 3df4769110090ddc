"""The command line against an embedded stack that it started."""

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest
from supabase import create_client

from docmill.embedded.stack import ALICE
from docmill.worker.settings.parts import EXAMPLE_WEBHOOK_SECRET
from tests.support.installation import until
from tests.support.shell import Shell

#: A user of another Auth than the project's: at first nobody knows the id.
OWNER = "33333333-3333-4333-8333-333333333333"
INGEST_FIELDS = {
    *("path", "object_name", "document_id", "job_id", "state", "error_code", "page_count"),
    *("chunk_count", "seconds"),
}
SEARCH_FIELDS = {
    *(
        "score",
        "vector_score",
        "text_score",
        "object_name",
        "title",
        "page_start",
        "page_end",
        "headings",
        "content",
    ),
}


def test_a_second_up_finds_the_first(shell: Shell) -> None:
    pid = shell.stack_pid()
    assert f"already running, process {pid}" in shell.run("up", "--detach")
    assert shell.stack_pid() == pid


def test_the_doctor_finds_everything_well(shell: Shell) -> None:
    findings = {row["check"]: row["state"] for row in shell.rows("doctor")}
    assert {name for name, state in findings.items() if state == "failed"} == set()
    for check in ("database", "schema", "redis", "storage", "embedder", "workers"):
        assert findings[check] == "ok"


def test_the_settings_in_use_are_shown_without_their_secrets(shell: Shell) -> None:
    rows = {row["variable"]: row for row in shell.rows("config")}
    assert rows["DOCMILL_SLOTS"]["value"] == "256"
    assert rows["DOCMILL_EMBEDDER"] | {"value": "local"} == rows["DOCMILL_EMBEDDER"]
    assert rows["DOCMILL_DATABASE_URL"]["from"] == "DATABASE_URL"
    keys = json.loads((shell.folder / ".docmill" / "keys.json").read_text())
    said = shell.run("config")
    assert "DOCMILL_SUPABASE_SECRET_KEY" in said
    for name in ("role_password", "secret_key", "webhook_secret"):
        assert keys[name] not in said + json.dumps(rows)


#: Which processes of `docmill up` may have which key; the API stands for Supabase itself.
HOLDERS = {
    "secret_key": {"worker", "worker --isolated"},
    "webhook_secret": {"webhook"},
    "flower_password": {"flower"},
    "role_password": {"worker", "worker --isolated", "webhook"},  # in the URL of docmill_worker
}


def test_each_process_holds_the_keys_that_it_reads_and_no_other(shell: Shell) -> None:
    """The kernel shows their environment; docmill's own settings are not asked."""
    keys = json.loads((shell.folder / ".docmill" / "keys.json").read_text())
    held: dict[str, set[str]] = {name: set() for name in HOLDERS}
    seen = set()
    tasks = Path(f"/proc/{shell.status_of_stack()['pid']}/task").glob("*/children")
    for pid in " ".join(task.read_text() for task in tasks).split():
        command = Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0").replace("\0", " ")
        _, marker, arguments = command.partition(" -m docmill ")
        if not marker:
            continue
        seen.add(arguments)
        environ = Path(f"/proc/{pid}/environ").read_text()
        assert "DOCMILL_ADMIN_DATABASE_URL" not in environ
        for name in HOLDERS:
            if keys[name] in environ:
                held[name].add(arguments)
    assert seen == {"worker", "worker --isolated", "webhook", "beat", "flower"}
    assert held == HOLDERS


@pytest.fixture(scope="module")
def ingested(shell: Shell) -> dict[str, dict[str, Any]]:
    """The output of `ingest --wait --json` for four files, by file name."""
    folder = shell.folder / "papers"
    folder.mkdir()
    (folder / "bridge.md").write_text("# The bridge\n\n" + "It was closed for repairs in May. " * 9)
    (folder / "empty.txt").write_text("")
    (folder / "unknown.bin").write_bytes(bytes(range(256)) * 4)
    (folder / "Grüße an Öl.txt").write_text("A name with letters that Storage refuses. " * 5)
    (folder / ".hidden").write_text("not meant")
    rows = shell.rows("ingest", "papers", "--owner", OWNER, "--yes", "--wait", code=1)
    return {Path(row["path"]).name: row for row in rows}


def test_files_are_ingested_and_reported_by_path(ingested: dict[str, dict[str, Any]]) -> None:
    assert all(set(row) == INGEST_FIELDS for row in ingested.values())
    assert {name: (row["state"], row["error_code"]) for name, row in ingested.items()} == {
        "bridge.md": ("succeeded", None),
        "empty.txt": ("failed", "empty_document"),
        "unknown.bin": ("failed", "unsupported_type"),
        "Grüße an Öl.txt": ("succeeded", None),
    }
    assert ingested["bridge.md"]["chunk_count"] == 1
    assert ingested["bridge.md"]["object_name"] == f"{OWNER}/bridge.md"


@pytest.mark.usefixtures("ingested")
def test_search_finds_the_passage_for_its_owner_alone(shell: Shell) -> None:
    hits = shell.rows("search", "When was the bridge closed?", "--owner", OWNER, "-k", "1")
    assert set(hits[0]) == SEARCH_FIELDS
    assert hits[0]["object_name"] == f"{OWNER}/bridge.md"
    assert (hits[0]["title"], hits[0]["headings"]) == ("The bridge", ["The bridge"])
    assert "closed for repairs" in hits[0]["content"]
    assert shell.rows("search", "When was the bridge closed?", "--owner", "somebody else") == []
    assert "bridge.md" in shell.run("search", "bridge", "--owner", OWNER)


@pytest.mark.usefixtures("ingested")
def test_search_compares_words_or_meaning_or_both(shell: Shell) -> None:
    def scores(by: str) -> tuple[float, float, float]:
        hit, *_ = shell.rows("search", "bridge", "--owner", OWNER, "--by", by)
        assert hit["object_name"].endswith("bridge.md")
        return hit["score"], hit["vector_score"], hit["text_score"]

    assert scores("words") == (1, 0, 1)
    assert scores("meaning") == (1, 1, 0)
    assert scores("both") == (1, 1, 1)
    shell.run("search", "bridge", "--owner", OWNER, "--by", "luck", code=2)


@pytest.mark.usefixtures("ingested")
def test_jobs_can_be_listed_shown_and_followed(shell: Shell) -> None:
    failed = shell.rows("jobs", "--state", "failed", "--owner", OWNER)
    assert {row["error_code"] for row in failed} == {"empty_document", "unsupported_type"}
    (shown,) = shell.rows("job", failed[0]["id"])
    assert shown["remedy"]
    assert shown["attempts"][0]["outcome"] == "failed"
    assert failed[0]["id"] in shell.run("job", failed[0]["id"])
    followed = shell.rows("watch", "--until-idle")
    assert {row["id"] for row in failed} <= {row["id"] for row in followed}
    assert "succeeded" in shell.run("watch", "--until-idle")
    assert "bridge.md" in shell.run("jobs")


@pytest.mark.usefixtures("ingested")
def test_a_failed_job_is_explained_and_retried(shell: Shell) -> None:
    (failed,) = [
        row
        for row in shell.rows("jobs", "--state", "failed", "--owner", OWNER)
        if row["error_code"] == "unsupported_type"
    ]
    (explained,) = shell.rows("explain", failed["id"])
    assert (explained["situation"], explained["error_code"]) == ("failed", "unsupported_type")
    assert explained["remedy"] in shell.run("explain", failed["id"])
    (retried,) = shell.rows("retry", failed["id"])
    assert retried["id"] != failed["id"]
    shell.run("watch", "--until-idle")
    assert shell.rows("explain", retried["id"])[0]["situation"] == "failed"
    assert "it has failed already" in shell.run("cancel", retried["id"], code=1)
    (done,) = shell.rows("jobs", "--state", "succeeded", "--limit", "1")
    assert "nothing to retry" in shell.run("retry", done["id"], code=1)
    for command in ("cancel", "retry", "explain"):
        unknown = "00000000-0000-4000-8000-00000000dead"
        assert "there is no" in shell.run(command, unknown, code=1)


@pytest.mark.usefixtures("ingested")
def test_status_says_how_to_sign_in(shell: Shell) -> None:
    (row,) = shell.rows("status")
    assert row["users"] == ["alice@example.com", "bob@example.com", "you@example.com"]
    shown = shell.run("status")
    assert row["publishable_key"] in shown
    assert f"you@example.com, password {row['password']}" in shown
    client = create_client(row["api_url"], row["publishable_key"])
    client.auth.sign_in_with_password({"email": "you@example.com", "password": row["password"]})
    documents = client.schema("ingest").table("documents").select("owner_id", count="exact")  # type: ignore[arg-type]
    assert documents.execute().count == 0, "what was ingested belongs to somebody else"
    log = (shell.folder / ".docmill" / "logs" / "up.log").read_text()
    assert row["password"] not in log


@pytest.mark.usefixtures("ingested")
def test_status_counts(shell: Shell) -> None:
    (row,) = shell.rows("status")
    assert row["documents"] == {"ready": 2, "failed": 2}
    assert {worker["isolated"] for worker in row["workers"]} == {True, False}
    assert "documents: 2 failed, 2 ready" in shell.run("status")


@pytest.mark.usefixtures("ingested")
def test_flower_is_behind_the_login_that_status_shows(shell: Shell) -> None:
    (row,) = shell.rows("status")
    login = (row["flower_user"], row["flower_password"])
    assert row["flower_password"] in shell.run("status")
    assert httpx.get(f"{row['flower_url']}/api/tasks").status_code == 401
    tasks = httpx.get(f"{row['flower_url']}/api/tasks", auth=login).json().values()
    assert {task["state"] for task in tasks if "bridge.md" in task["kwargs"]} == {"SUCCESS"}
    logs = [path.read_text() for path in (shell.folder / ".docmill" / "logs").iterdir()]
    assert len(logs) >= 6
    assert not any(row["flower_password"] in log for log in logs)


def test_a_bucket_is_ingested_once_it_is_a_source(shell: Shell) -> None:
    (shell.folder / "note.txt").write_text("A note. " * 9)
    refused = shell.run("ingest", "note.txt", "--bucket", "extra", code=2)
    assert "docmill sources add extra" in refused
    (added,) = shell.rows("sources", "add", "extra", "--owner-from", "folder:1")
    assert (added["bucket_id"], added["owner_from"]) == ("extra", "folder:1")
    assert {row["bucket_id"] for row in shell.rows("sources", "list")} == {"documents", "extra"}
    for option, bad, says in (
        ("--owner-from", "me", "not one of uploader"),
        ("--access", "everybody", "neither owner nor inherit"),
        ("--priority", "10", "from 0 (first) to 9"),
        ("--priority", "99999", "from 0 (first) to 9"),
        ("--max-bytes", "0", "at least 1"),
        ("--weight", "0", "above 0"),
    ):
        assert says in shell.run("sources", "add", "x", option, bad, code=2)
    assert "no longer ingested" in shell.run("sources", "remove", "extra", "--forget")
    assert "not a source" in shell.run("sources", "remove", "extra", code=1)


@pytest.mark.usefixtures("ingested")
def test_files_that_were_there_before_are_counted_and_ingested(shell: Shell) -> None:
    assert "2 documents stay" in shell.run("sources", "remove", "documents")
    planned = shell.run("sources", "add", "documents", "--dry-run")
    assert "4 files found" in planned
    assert " chunk" in planned.partition("2 new")[2]
    (listed,) = shell.rows("sources", "list")
    assert listed["retired_at"] is not None
    (again,) = shell.rows("sources", "add", "documents")
    # The failed document went with the source and is tried again; searchable ones stayed.
    assert (again["objects"], again["fresh"], again["queued"]) == (4, 2, 2)
    shell.run("watch", "--until-idle")
    (row,) = shell.rows("status")
    assert row["documents"] == {"ready": 2, "failed": 2}


def test_in_a_terminal_progress_is_shown_and_names_are_readable(shell: Shell) -> None:
    (shell.folder / "harbour.txt").write_text("The harbour opens at six. " * 9)
    said = shell.in_terminal("ingest", "harbour.txt", "--wait", "--owner", OWNER, "--yes")
    assert re.search(r"succeeded +harbour\.txt +job [0-9a-f]{8} +1 chunk, ", said)
    (job_id,) = re.findall(r"job ([0-9a-f]{8})", said)
    for command, shown in {
        ("watch", "--until-idle"): "harbour.txt",
        ("jobs",): f"{job_id} ",
        ("job", job_id): "succeeded",
        ("explain", job_id): "is searchable",
        ("search", "harbour"): "opens at six",
        ("status",): "documents: ",
        ("sources", "list"): "documents",
        ("doctor",): "network namespaces",
        ("config",): "DOCMILL_SLOTS",
    }.items():
        said = shell.in_terminal(*command, *(["--owner", OWNER] if command[0] == "search" else []))
        assert shown in said, command
    assert "harbour.txt" in shell.in_terminal("jobs")
    assert re.search(r"harbour\.txt +succeeded", shell.in_terminal("jobs"))


def test_the_schema_is_current_and_applying_it_changes_nothing(shell: Shell) -> None:
    assert shell.rows("schema", "check") == [{"ok": True, "problems": []}]
    (applied,) = shell.rows("schema", "apply")
    assert applied["changed"] is False


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["jobs", "--frobnicate"], 2, "No such option"),
        (["frobnicate"], 2, "No such command"),
        (["ingest", "/nowhere"], 2, "does not exist"),
        (["ingest", "/dev/null"], 2, "neither a file nor a folder"),
        (["jobs", "--state", "tired"], 2, "one of queued"),
        (["jobs", "--owner", ""], 2, "it is empty"),
        (["job", "not-a-uuid"], 2, "docmill jobs lists them"),
        (["job", "00000000-0000-4000-8000-00000000dead"], 1, "there is no job"),
        (["search", " "], 2, "the query is empty"),
        (["search", "\udcff"], 2, "not valid UTF-8"),
        (["sources", "add", ""], 2, "it is empty"),
        (["sources", "add", "\udcff"], 2, "not valid UTF-8"),
        (["sources", "add", "x", "--prefix", "\udcff"], 2, "not valid UTF-8"),
    ],
)
def test_a_wrong_command_is_one_sentence_on_stderr(
    shell: Shell, arguments: list[str], code: int, says: str
) -> None:
    said = shell.run(*arguments, code=code)
    assert says in said
    assert said.startswith("docmill: ")
    assert said.count("\n") == 1


def test_a_project_that_is_not_there_is_named(shell: Shell) -> None:
    url = "postgresql://postgres:pw-canary@127.0.0.1:1/postgres"
    said = shell.run("jobs", code=3, DOCMILL_ADMIN_DATABASE_URL=url)
    assert "DOCMILL_ADMIN_DATABASE_URL" in said
    assert "pw-canary" not in said


def test_without_a_project_or_a_stack_the_remedy_is_named(tmp_path: Path) -> None:
    assert "docmill up --detach" in Shell(tmp_path).run("jobs", code=3)


def test_a_service_that_dies_is_started_again(shell: Shell) -> None:
    (row,) = shell.rows("status")
    victim = next(worker["id"] for worker in row["workers"] if not worker["isolated"])
    os.kill(int(victim.split(":")[1]), signal.SIGKILL)

    def new_worker() -> bool:
        (now,) = shell.rows("status")
        return any(w["id"] != victim and not w["isolated"] for w in now["workers"])

    until(new_worker, "a new worker")
    (shell.folder / "after.txt").write_text("Life goes on. " * 9)
    (report,) = shell.rows("ingest", "after.txt", "--wait")
    assert report["state"] == "succeeded"


def test_files_that_would_get_one_name_are_refused_and_links_stay_inside(shell: Shell) -> None:
    for folder in ("one", "two"):
        (shell.folder / folder).mkdir()
        (shell.folder / folder / "same.txt").write_text(f"Number {folder}. " * 9)
    said = shell.run("ingest", "one/same.txt", "two/same.txt", code=2)
    assert "would get the same name, same.txt" in said
    (shell.folder / "one" / "out.txt").symlink_to(shell.folder / "two" / "same.txt")
    os.mkfifo(shell.folder / "one" / "fifo.txt")
    (report,) = shell.rows("ingest", "one", "--wait")
    assert report["object_name"].endswith("/same.txt")
    (shell.folder / "three").mkdir()
    (shell.folder / "three" / "out.txt").symlink_to(shell.folder / "two" / "same.txt")
    said = shell.run("ingest", "three", code=2)
    assert "three/out.txt is left out" in said
    assert "there are no files in three" in said


def test_a_file_that_cannot_be_sent_is_reported_and_the_others_go_on(shell: Shell) -> None:
    (shell.folder / "grown").mkdir()
    (shell.folder / "grown" / "a.txt").write_text("An ordinary file. " * 9)
    # It says that it is empty, but it is not.
    rows = shell.rows("ingest", "grown/a.txt", "/proc/self/status", "--wait", code=1)
    assert [(row["state"], row["error_code"]) for row in rows] == [
        ("succeeded", None),
        ("failed", "upload_failed"),
    ]


def test_an_owner_may_be_named_by_their_address(shell: Shell) -> None:
    (shell.folder / "ferry.txt").write_text("The ferry leaves every hour from the northern quay.")
    (sent,) = shell.rows("ingest", "ferry.txt", "--owner", "Alice@example.com", "--wait")
    assert sent["state"] == "succeeded"
    (hit,) = shell.rows("search", "ferry", "--owner", "alice@example.com", "-k", "1")
    assert hit["object_name"] == sent["object_name"]
    assert sent["object_name"].startswith("a11ce000-")
    assert shell.rows("jobs", "--owner", "alice@example.com")
    assert shell.rows("jobs", "--owner", "bob@example.com") == []
    for arguments in (("search", "x"), ("jobs",), ("ingest", "ferry.txt")):
        said = shell.run(*arguments, "--owner", "nobody@example.com", code=1)
        assert "no user has the address nobody@example.com" in said


def test_a_person_is_told_on_stderr_why_a_file_failed_and_what_to_do(shell: Shell) -> None:
    (shell.folder / "odd.bin").write_bytes(bytes(range(256)) * 5)
    (line,) = shell.complaints("ingest", "odd.bin", "--wait", code=1).splitlines()
    assert line.startswith("docmill: odd.bin: No extractor reads this kind of file.")
    assert "Upload one of the supported kinds" in line


def test_an_owner_whom_nobody_knows_is_not_taken_for_one(shell: Shell) -> None:
    (shell.folder / "typo.txt").write_text("A text for somebody. " * 9)
    for command in (("ingest", "typo.txt"), ("pause",)):
        said = shell.run(*command, "--owner", "alcie", code=2)
        assert "no user has the id alcie" in said
        assert "--yes" in said
    assert "no user has the id alcie" in shell.complaints("search", "x", "--owner", "alcie")
    assert "no user has the id alcie" in shell.complaints("jobs", "--owner", "alcie")
    assert not any(row["object_name"] == "alcie/typo.txt" for row in shell.rows("jobs"))
    with shell.terminal("ingest", "typo.txt", "--owner", "alcie") as terminal:
        terminal.wait_for("Go on?")
        terminal.type("n\n")
        assert "queued" not in terminal.ended(130)


@pytest.mark.usefixtures("ingested")
def test_a_hit_is_named_as_its_owner_knows_the_file(shell: Shell) -> None:
    said = shell.run("search", "When was the bridge closed?", "--owner", OWNER, "-k", "1")
    assert said.splitlines()[0].split("  ")[1] == "bridge.md"


def test_config_shows_where_flower_of_the_stack_is(shell: Shell) -> None:
    rows = {row["variable"]: row for row in shell.rows("config")}
    (status,) = shell.rows("status")
    assert status["flower_url"].endswith(f":{rows['DOCMILL_FLOWER_PORT']['value']}")


def test_a_model_that_the_index_does_not_have_is_not_passed_over(shell: Shell) -> None:
    wanted: dict[str, Any] = {
        "DOCMILL_EMBEDDING_MODEL": "another-model",
        "DOCMILL_EMBEDDING_DIMENSIONS": "300",
    }
    said = shell.complaints("schema", "apply", **wanted)
    assert "DOCMILL_EMBEDDING_MODEL is another-model, the index has wordllama" in said
    assert "DOCMILL_EMBEDDING_DIMENSIONS is 300, the index has 256" in said
    assert "docmill reindex start" in said
    assert shell.complaints("schema", "apply") == ""


def test_what_a_project_cannot_reach_is_named_with_its_remedy(shell: Shell, tmp_path: Path) -> None:
    """A key that Storage refuses, and a Storage and a provider that do not answer."""
    url = shell.status_of_stack()["database_url"]
    (tmp_path / "a.txt").write_text("A text. " * 9)
    project: dict[str, Any] = {
        "DATABASE_URL": url,
        "DOCMILL_ADMIN_DATABASE_URL": url,
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "SUPABASE_URL": shell.status_of_stack()["api_url"],
        "SUPABASE_SECRET_KEY": "eyJhbGciOiJIUzI1NiJ9.wrong.key",
        "DOCMILL_WEBHOOK_SECRET": EXAMPLE_WEBHOOK_SECRET,
    }
    outside = Shell(tmp_path)
    upload = ("ingest", "a.txt", "--owner", ALICE)
    said = outside.complaints(*upload, code=1, **project)
    assert "set SUPABASE_SECRET_KEY to a secret key of this project" in said
    said = outside.complaints(*upload, code=1, **project | {"SUPABASE_URL": "http://127.0.0.1:1"})
    assert "check SUPABASE_URL" in said
    lines = outside.run("doctor", "--json", code=1, **project).splitlines()
    findings = {row["check"]: row for row in map(json.loads, lines)}
    assert findings["redis"]["remedy"] == "start Redis, or set REDIS_URL to its address"
    assert "set SUPABASE_SECRET_KEY" in findings["storage"]["remedy"]
    assert "openssl rand" in findings["webhook secret"]["remedy"]
    assert all(row["remedy"] for row in findings.values() if row["state"] == "failed")
