"""Flower as an operator sees it, with the processes that it watches."""

import ast
import base64
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.support.fake_openai import error
from tests.support.installation import ALICE, FLOWER_LOGIN, Installation, until

LONG = "This sentence is about nothing in particular but it fills the section. " * 6


@pytest.fixture(scope="module")
def watched(running: Installation) -> Iterator[Installation]:
    """A running installation, and Flower, which started after a run had begun."""
    running.openai.gate.clear()
    try:
        before = len(running.openai.requests)
        name = running.upload(ALICE, "early.txt", f"Earlier. {LONG}")
        running.openai.wait_for_requests(before + 1)
        flower = running.start_flower()
        until(lambda: get(running, "/healthcheck", login=None) == 200, "Flower")
        until(lambda: "worker-" in api(running, "/api/workers?refresh=1").text, "a worker in it")
    finally:
        running.openai.gate.set()
    running.wait_for_job(name)
    yield running
    assert flower.stop() == 0


def get(watched: Installation, path: str, *, login: tuple[str, str] | None) -> int | None:
    """The status of a GET; None if nobody answers."""
    try:
        return httpx.get(f"{watched.flower_url}{path}", auth=login, timeout=180).status_code
    except httpx.HTTPError:
        return None


def api(watched: Installation, path: str) -> httpx.Response:
    """An answer of Flower's to the operator."""
    answer = httpx.get(f"{watched.flower_url}{path}", auth=FLOWER_LOGIN, timeout=180)
    assert answer.status_code == 200
    return answer


def shown(watched: Installation, name: str) -> dict[str, Any]:
    """A document's task in /api/tasks; empty while there is none."""
    return next(iter(runs_of(watched, name)), {})


def runs_of(watched: Installation, name: str) -> list[dict[str, Any]]:
    """All tasks of a document, oldest first."""
    search = quote(f'kwargs:"document={name}"')
    return list(api(watched, f"/api/tasks?sort_by=received&search={search}").json().values())


def shown_in_state(watched: Installation, name: str, state: str) -> dict[str, Any]:
    return until(
        lambda: task if (task := shown(watched, name)).get("state") == state else None,
        f"{name} in state {state}, is {shown(watched, name)}",
        timeout=180,
    )


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/workers", "/tasks", "/broker", "/task/x", "/static/css/flower.css", "/nowhere"),
        *("/api/tasks", "/api/workers", "/api/queues/length", "/metrics", "/login"),
    ],
)
def test_nothing_is_shown_without_the_login(watched: Installation, path: str) -> None:
    assert get(watched, path, login=None) == 401
    assert get(watched, path, login=(FLOWER_LOGIN[0], "wrong")) == 401
    assert get(watched, path, login=("", "")) == 401


@pytest.mark.parametrize("header", ["Basic", "Basic ?", "Basic w7w6w7w=", "Bearer x", "\xfc"])
def test_a_strange_login_is_no_login(watched: Installation, header: str) -> None:
    answer = httpx.get(
        f"{watched.flower_url}/tasks", headers={b"Authorization": header.encode("latin-1")}
    )
    assert (answer.status_code, answer.headers["WWW-Authenticate"][:5]) == (401, "Basic")


def test_with_the_login_pages_open(watched: Installation) -> None:
    for path in ("/", "/tasks", "/broker", "/metrics", "/static/css/flower.css"):
        assert get(watched, path, login=FLOWER_LOGIN) == 200


@pytest.mark.parametrize(
    "path",
    [
        "/api/task/async-apply/docmill.schedules",
        "/api/task/send-task/docmill.schedules",
        "/api/task/revoke/x",
        "/api/worker/shutdown/{worker}",
        "/api/worker/queue/cancel-consumer/{worker}?queue=ingest",
    ],
)
def test_nothing_can_be_changed(watched: Installation, path: str) -> None:
    worker = next(iter(api(watched, "/api/workers").json()))
    url = watched.flower_url + path.format(worker=worker)
    assert httpx.post(url).status_code == 401
    assert httpx.post(url, auth=FLOWER_LOGIN).status_code == 403


def test_a_document_is_shown_by_name_and_stage_until_it_is_done(watched: Installation) -> None:
    watched.openai.gate.clear()
    before = len(watched.openai.requests)
    file_name = "Alice's plan (2).txt"
    name = watched.upload(ALICE, file_name, f"A plan. {LONG}")
    try:
        watched.openai.wait_for_requests(before + 1)
        task = shown_in_state(watched, file_name, "EMBEDDING")
    finally:
        watched.openai.gate.set()
    job = watched.wait_for_job(name)
    assert ast.literal_eval(task["kwargs"]) == {"document": file_name, "folder": f"docs/{ALICE}"}
    assert (task["name"], task["args"]) == ("docmill.run_job", str(job["id"]))
    done = shown_in_state(watched, file_name, "SUCCESS")
    assert (done["uuid"], done["kwargs"]) == (task["uuid"], task["kwargs"])


def test_a_document_that_failed_is_a_failure_with_its_code(watched: Installation) -> None:
    name = watched.upload(ALICE, "nothing.txt", " ")
    assert watched.wait_for_job(name)["error_code"] == "empty_document"
    task = shown_in_state(watched, "nothing.txt", "FAILURE")
    assert (task["exception"], task["traceback"]) == ("empty_document", None)
    assert task["runtime"] > 0


def test_a_run_that_is_given_back_is_not_a_success(watched: Installation) -> None:
    answers = [error(503, "server_error")]
    watched.openai.respond = lambda texts: answers.pop() if answers else None
    name = watched.upload(ALICE, "later.txt", f"Later. {LONG}")
    assert watched.wait_for_job(name)["state"] == "succeeded"
    shown_in_state(watched, "later.txt", "RELEASED")
    runs = until(
        lambda: runs if (runs := runs_of(watched, "later.txt"))[-1]["state"] == "SUCCESS" else None,
        "the second run",
    )
    assert [(run["state"], run["exception"]) for run in runs] == [
        ("RELEASED", "provider_unavailable"),
        ("SUCCESS", None),
    ]


def test_the_list_has_room_for_documents(watched: Installation) -> None:
    """Works of the schedule are not in it."""
    query = "select ticked_at from ingest_private.ticks where work <> 'receiver' order by work"
    for _ in range(3):
        before = watched.rows(query)
        until(lambda before=before: watched.rows(query) != before, "maintenance")  # type: ignore[misc]
    names = {task["name"] for task in api(watched, "/api/tasks").json().values()}
    assert names <= {"docmill.run_job"}


def test_a_flower_that_starts_late_knows_the_document(watched: Installation) -> None:
    task = shown_in_state(watched, "early.txt", "SUCCESS")
    assert task["name"] == "docmill.run_job"
    assert 0 < task["received"] <= task["succeeded"]


def test_the_password_is_in_no_log_and_on_no_command_line(watched: Installation) -> None:
    for secret in (FLOWER_LOGIN[1], base64.b64encode(":".join(FLOWER_LOGIN).encode()).decode()):
        assert secret not in watched.logs()
        assert secret not in "\n".join(_command_lines())
    assert "Traceback" not in watched.logs()


def _command_lines() -> Iterator[str]:
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield entry.read_text(errors="replace")
        except OSError:
            continue


def test_no_page_shows_a_secret(watched: Installation) -> None:
    worker = next(iter(api(watched, "/api/workers?refresh=1").json()))
    pages = [f"/worker/{worker}", "/api/workers", "/broker", "/api/tasks", "/metrics"]
    shown = "".join(api(watched, page).text for page in pages)
    for secret in (watched.redis.password, "sb_secret_canary", "sk-canary", "webhook-canary"):
        assert secret not in shown


def test_runs_do_not_notice_that_redis_is_away_but_health_checks_do(
    installation: Installation, tmp_path: Path
) -> None:
    pulses = [tmp_path / "beat", tmp_path / "worker"]
    installation.start("beat", DOCMILL_HEARTBEAT_FILE=str(pulses[0]))
    worker = installation.start_worker(DOCMILL_HEARTBEAT_FILE=str(pulses[1]))
    for pulse in pulses:
        until(pulse.exists, "a heartbeat")
    for outage in (signal.SIGSTOP, signal.SIGKILL):
        installation.openai.gate.clear()
        before = len(installation.openai.requests)
        parts = (f"# Part {n}\n\n{outage.name}, part {n}. {LONG}\n" for n in range(3))
        name = installation.upload(ALICE, f"{outage.name}.md", "\n".join(parts))
        installation.openai.wait_for_requests(before + 1)
        os.kill(installation.redis.child.pid, outage)
        started = time.monotonic()
        installation.openai.gate.set()
        assert installation.wait_for_job(name)["state"] == "succeeded"
        assert time.monotonic() - started < 10  # a Redis socket has a time-out of 15 s
        if outage == signal.SIGSTOP:
            os.kill(installation.redis.child.pid, signal.SIGCONT)
    # Both are touched every second or two in normal operation.
    for pulse in pulses:
        until(lambda pulse=pulse: age(pulse) > 2.5, "no heartbeat")  # type: ignore[misc]

    # The same processes continue when it is back.
    installation.start_redis_again()
    name = installation.upload(ALICE, "afterwards.txt", f"Afterwards. {LONG}")
    assert installation.wait_for_job(name)["state"] == "succeeded"
    assert not worker.ended()
    for pulse in pulses:
        until(lambda pulse=pulse: age(pulse) < 2.5, "a heartbeat again")  # type: ignore[misc]


def age(path: Path) -> float:
    """Seconds since a file was touched."""
    return time.time() - path.stat().st_mtime


def refusal(folder: Path, code: str = "pass", **settings: str) -> str:
    """The error of `docmill flower` if it does not start."""
    program = f"{code}; sys.argv = ['docmill', 'flower']; main()"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; from docmill.cli.main import main; {program}"],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "REDIS_URL": "redis://127.0.0.1:1/0"} | settings,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert (done.returncode, done.stdout) == (3, "")
    assert len(done.stderr.splitlines()) == 1
    return done.stderr


def test_it_does_not_start_where_anybody_could_look_in(tmp_path: Path) -> None:
    said = refusal(tmp_path, DOCMILL_FLOWER_HOST="0.0.0.0", DOCMILL_FLOWER_PASSWORD="")
    assert "set DOCMILL_FLOWER_USER and DOCMILL_FLOWER_PASSWORD" in said


def test_a_port_that_is_taken_is_named(watched: Installation, tmp_path: Path) -> None:
    port = str(watched.flower_port)
    said = refusal(tmp_path, DOCMILL_FLOWER_PORT=port)
    assert f"cannot listen on 127.0.0.1:{port}" in said


def test_without_the_package_the_remedy_is_named(tmp_path: Path) -> None:
    said = refusal(tmp_path, "sys.modules['flower'] = None")
    assert "install docmill with the extra flower" in said
