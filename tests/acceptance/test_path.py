"""From upload to searchable, through every process."""

import os
import signal
import threading
from dataclasses import dataclass
from typing import Any

import pytest
from psycopg import errors as pg

from docmill.embedded.process import ChildProcess
from docmill.worker.extraction.child.kinds.pdf.reading import WINDOW_PAGES
from tests.integration.extraction.documents import make_pdf
from tests.support.database import as_client
from tests.support.installation import ALICE, BOB, BUCKET, Installation, until

LONG = "This sentence is about nothing in particular but it fills the section. " * 6


@dataclass
class Relay:
    """An installation whose worker requests one text at a time; new workers replace it."""

    installation: Installation
    worker: ChildProcess

    def next_worker(self) -> None:
        """Start a worker in place of one that ended."""
        self.worker = self.installation.start_worker(DOCMILL_EMBEDDING_BATCH_SIZE="1")

    def outcomes(self, job: dict[str, Any]) -> list[str]:
        """How each run of a job ended."""
        query = "select outcome from ingest_private.attempts where job_id = %s order by id"
        return [row["outcome"] for row in self.installation.rows(query, job["id"])]


@pytest.fixture(scope="module")
def relay(shared_installation: Installation) -> Relay:
    """Beat, a webhook and a first worker, which stops quickly when told to."""
    shared_installation.start("beat")
    shared_installation.start_webhook()
    first = shared_installation.start_worker(
        DOCMILL_EMBEDDING_BATCH_SIZE="1", DOCMILL_DRAIN_SECONDS="1"
    )
    return Relay(shared_installation, first)


def test_an_upload_becomes_searchable_for_its_owner_alone(running: Installation) -> None:
    text = f"The kiln is fired on Thursdays. {LONG}"
    name = running.upload(ALICE, "kiln.txt", text)
    job = running.wait_for_job(name)
    assert (job["state"], job["error_code"], job["stage"]) == ("succeeded", None, "finished")
    document = running.document(name)
    assert document is not None
    assert (document["status"], document["searchable"], document["owner_id"]) == (
        *("ready", True),
        ALICE,
    )
    assert document["chunk_count"] == job["chunks_total"] == job["chunks_embedded"] > 0

    query = running.openai.texts[-1]
    assert next(hit["object_name"] for hit in running.search(ALICE, query)) == name
    assert name not in [hit["object_name"] for hit in running.search(BOB, query)]


def test_a_document_says_what_was_not_read_and_what_is_hidden_in_it(running: Installation) -> None:
    pages = running.upload(ALICE, "pages.pdf", make_pdf(["The first page.", "", "The last.", ""]))
    hidden = running.upload(ALICE, "hidden.txt", "Two \u200bhidden\U000e0041 characters.")
    for name in (pages, hidden):
        running.wait_for_job(name)
    document = running.document(pages)
    assert document is not None
    assert (document["page_count"], document["unread_pages"]) == (4, 2)
    assert (document["unread_page_numbers"], document["hidden_characters"]) == ([2, 4], 0)
    document = running.document(hidden)
    assert document is not None
    assert (document["unread_page_numbers"], document["hidden_characters"]) == ([], 2)


def test_a_large_document_is_embedded_while_it_is_read(relay: Relay) -> None:
    """The provider gets its beginning before its last window is read."""
    running = relay.installation
    requests_before = len(running.openai.requests)
    pages = [f"Kiln {17 * page % 101} is fired. {LONG}" for page in range(2 * WINDOW_PAGES + 1)]
    with running.database.connect() as connection:
        connection.execute(HOLD_THIRD_WINDOW)
        connection.execute("select pg_advisory_lock(4713)")
        name = running.upload(ALICE, "kilns.pdf", make_pdf(pages))
        running.openai.wait_for_requests(requests_before + 1)
        (kept,) = running.rows("select count(*) from ingest_private.document_windows")
        assert kept["count"] < 3
    job = running.wait_for_job(name)
    assert (job["state"], job["pages_done"]) == ("succeeded", len(pages))


HOLD_THIRD_WINDOW = b"""
    create function public.hold_window() returns trigger language plpgsql as $$
    begin
        perform pg_advisory_xact_lock_shared(4713);
        return new;
    end $$;
    create trigger hold before insert on ingest_private.document_windows
       for each row when (new.number = 3) execute function public.hold_window();
"""


def test_a_polled_job_is_readable_by_its_owner_and_nobody_else(running: Installation) -> None:
    name = running.upload(ALICE, "polled.txt", f"poll me. {LONG}")
    running.wait_for_job(name)
    query = "select state from ingest.jobs where object_name = %s"
    with as_client(running.database, {"sub": ALICE}, read_only=True) as connection:
        assert connection.execute(query, [name]).fetchall() == [("succeeded",)]
    with as_client(running.database, {"sub": BOB}, read_only=True) as connection:
        assert connection.execute(query, [name]).fetchall() == []
    with (
        pytest.raises(pg.InsufficientPrivilege),
        as_client(running.database, None, read_only=True) as connection,
    ):
        connection.execute(query, [name])


def test_the_old_version_is_searchable_until_the_new_one_is(running: Installation) -> None:
    old, new = f"The harbour opens at six. {LONG}", f"The harbour opens at nine. {LONG}"
    name = running.upload(ALICE, "harbour.txt", old)
    running.wait_for_job(name)
    first_query = running.openai.texts[-1]

    requests_before = len(running.openai.requests)
    running.openai.gate.clear()
    running.upload(ALICE, "harbour.txt", new)
    running.openai.wait_for_requests(requests_before + 1)
    assert "opens at six" in running.search(ALICE, first_query)[0]["content"]
    document = running.document(name)
    assert document is not None
    assert (document["status"], document["searchable"]) == ("processing", True)

    seen: list[list[dict[str, Any]]] = []
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            seen.append(running.search(ALICE, first_query))

    def new_version_was_seen() -> bool:
        return any("opens at nine" in hit["content"] for hits in seen[-1:] for hit in hits)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        until(lambda: bool(seen), "a search before the new version")
        running.openai.gate.set()
        running.wait_for_job(name, "succeeded")
        until(new_version_was_seen, "new version")
    finally:
        done.set()
        watcher.join()
    for hits in seen:
        contents = " ".join(hit["content"] for hit in hits)
        assert ("opens at six" in contents) != ("opens at nine" in contents)


def test_a_move_keeps_the_document_and_embeds_nothing(running: Installation) -> None:
    name = running.upload(ALICE, "before.txt", f"A document that travels. {LONG}")
    running.wait_for_job(name)
    before = running.document(name)
    assert before is not None
    texts = len(running.openai.texts)
    query = running.openai.texts[-1]

    moved = f"{ALICE}/folder/after.txt"
    running.client(ALICE).storage.from_(BUCKET).move(name, moved)
    after = running.document(moved)  # in the same commit as the move
    assert after is not None
    assert after["id"] == before["id"]
    assert running.document(name) is None
    assert running.search(ALICE, query)[0]["object_name"] == moved

    job = running.wait_for_job(moved)
    assert (job["state"], job["chunks_embedded"]) == ("succeeded", 0)
    assert job["chunks_reused"] == before["chunk_count"]
    assert len(running.openai.texts) == texts


def test_a_copy_is_a_document_of_its_own(running: Installation) -> None:
    name = running.upload(ALICE, "original.txt", f"To be copied. {LONG}")
    running.wait_for_job(name)
    copied = f"{ALICE}/copy.txt"
    running.client(ALICE).storage.from_(BUCKET).copy(name, copied)
    assert running.wait_for_job(copied)["state"] == "succeeded"
    original, copy = running.document(name), running.document(copied)
    assert original is not None
    assert copy is not None
    assert original["id"] != copy["id"]
    assert original["content_sha256"] == copy["content_sha256"]


def test_a_delete_is_gone_from_search_in_its_own_commit(running: Installation) -> None:
    name = running.upload(ALICE, "secret.txt", f"Burn after reading. {LONG}")
    job = running.wait_for_job(name)
    query = running.openai.texts[-1]
    assert running.search(ALICE, query)[0]["object_name"] == name

    running.client(ALICE).storage.from_(BUCKET).remove([name])
    assert name not in [hit["object_name"] for hit in running.search(ALICE, query)]
    assert running.document(name) is None
    # The rows themselves are removed a little later.
    left = "select 1 from ingest.chunks where document_id = %s"
    until(lambda: running.rows(left, job["document_id"]) == [], "the chunks gone", 20)
    until(lambda: running.job(job["id"])["document_id"] is None, "the job without document", 20)


def test_the_same_bytes_again_are_not_embedded_again(running: Installation) -> None:
    text = f"Twice the same. {LONG}"
    name = running.upload(ALICE, "same.txt", text)
    first = running.wait_for_job(name)
    texts = len(running.openai.texts)
    running.upload(ALICE, "same.txt", text)
    until(lambda: (running.latest_job(name) or first)["id"] != first["id"], "second job")
    second = running.wait_for_job(name)
    assert (second["state"], second["chunks_embedded"]) == ("succeeded", 0)
    assert len(running.openai.texts) == texts


def test_an_edit_of_one_paragraph_embeds_one_chunk(running: Installation) -> None:
    sections = [f"# Section {n}\n\nParagraph number {n}. {LONG}\n" for n in range(6)]
    name = running.upload(ALICE, "edited.md", "\n".join(sections))
    first = running.wait_for_job(name)
    assert first["chunks_embedded"] == 6
    ids = {row["id"] for row in _chunks(running, name)}

    sections[3] = f"# Section 3\n\nThis one was edited. {LONG}\n"
    running.upload(ALICE, "edited.md", "\n".join(sections))
    until(lambda: (running.latest_job(name) or first)["id"] != first["id"], "second job")
    second = running.wait_for_job(name)
    assert (second["chunks_embedded"], second["chunks_reused"]) == (1, 5)
    assert len(ids & {row["id"] for row in _chunks(running, name)}) == 5


def _chunks(running: Installation, name: str) -> list[dict[str, Any]]:
    return running.rows(
        "select chunk.id from ingest.chunks as chunk join ingest.documents as document"
        " on document.id = chunk.document_id where document.object_name = %s",
        name,
    )


def test_a_hundred_identical_webhooks_make_one_job(running: Installation) -> None:
    from concurrent.futures import ThreadPoolExecutor

    import httpx

    name = running.upload(ALICE, "once.txt", f"Only once. {LONG}")
    row = running.rows(
        "select to_jsonb(o) as record from storage.objects as o where name = %s", name
    )[0]["record"]
    event = {
        "type": "INSERT",
        "table": "objects",
        "schema": "storage",
        "record": row,
        "old_record": None,
    }
    headers = {"x-webhook-secret": running.settings["DOCMILL_WEBHOOK_SECRET"]}
    with ThreadPoolExecutor(20) as pool, httpx.Client(headers=headers, timeout=180) as client:
        url = f"{running.webhook_url}/webhooks/storage"
        answers = list(pool.map(lambda _: client.post(url, json=event), range(100)))
    assert {answer.status_code for answer in answers} == {202}
    running.wait_for_job(name)
    jobs = running.rows("select id from ingest.jobs where object_name = %s", name)
    assert len(jobs) == 1
    assert len([text for text in running.openai.texts if "Only once" in text]) == 1


def test_a_stuck_thread_does_not_keep_a_draining_worker(relay: Relay) -> None:
    """The first worker is told to stop here; the others have time to drain."""
    installation, worker = relay.installation, relay.worker
    # The run waits for the database, where it makes no check.
    with installation.slow_publish():
        name = installation.upload(ALICE, "stuck.txt", f"Stuck. {LONG}")
        installation.wait_for_publish()
        worker.process.send_signal(signal.SIGTERM)
        assert worker.process.wait(180) == 75
    job = installation.latest_job(name)
    assert job is not None
    assert (job["state"], job["attempt"]) == ("queued", 1)
    assert relay.outcomes(job) == ["released"]

    relay.next_worker()
    assert installation.wait_for_job(name)["state"] == "succeeded"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT, signal.SIGINT])
def test_a_draining_worker_gives_its_jobs_back_uncounted(
    relay: Relay, number: signal.Signals
) -> None:
    installation, worker = relay.installation, relay.worker
    requests_before = len(installation.openai.requests)
    installation.openai.gate.clear()
    name = installation.upload(ALICE, f"{number.name}.md", _sections(number.name, 8))
    installation.openai.wait_for_requests(requests_before + 1)
    os.kill(worker.pid, number)
    installation.openai.gate.set()
    assert worker.process.wait(180) == 0

    job = installation.latest_job(name)
    assert job is not None
    assert (job["state"], job["error_code"]) == ("queued", None)
    staged_before = installation.rows("select content_hash from ingest_private.staged_chunks")
    texts_before = len(installation.openai.texts)
    relay.next_worker()
    done = installation.wait_for_job(name)
    assert (done["state"], done["attempt"]) == ("succeeded", 1)
    # Chunks staged before the drain were not paid for again.
    assert len(installation.openai.texts) - texts_before == 8 - len(staged_before)


def _sections(subject: str, count: int) -> str:
    return "\n".join(f"# Part {n}\n\n{subject}, part {n}. {LONG}\n" for n in range(count))


def test_no_process_logs_a_secret_or_a_traceback(running: Installation) -> None:
    logs = running.logs()
    for secret in ("sb_secret_canary", "webhook-canary", "sk-canary", "test@127.0.0.1"):
        assert secret not in logs
    assert "Traceback" not in logs
    assert "nothing in particular" not in logs  # no document text either
