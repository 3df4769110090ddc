"""Traces as a collector gets them: webhook and workers are real, the collector is not."""

import json
from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest

from docmill.embedded.postgres import PostgresServer
from docmill.embedded.process import ChildProcess, free_port
from docmill.worker.extraction.child.kinds.pdf.reading import WINDOW_PAGES
from tests.acceptance.conftest import fresh_installation
from tests.integration.extraction.documents import make_pdf
from tests.support.fake_collector import FakeCollector, SentSpan
from tests.support.fake_openai import MODEL
from tests.support.installation import (
    ALICE,
    BOB,
    SHORT_LEASE,
    WEBHOOK_SECRET,
    Installation,
    until,
)

CAROL = "33333333-3333-4333-8333-333333333333"
SENT = "4bf92f3577b34da6a3ce929d0e0e4736"
SENDER = "00f067aa0ba902b7"
LONG = "This sentence is about nothing in particular but it fills the section. " * 6
SECRET_TEXT = "wombat-canary"


@pytest.fixture
def collector() -> Iterator[FakeCollector]:
    made = FakeCollector()
    yield made
    made.close()


@pytest.fixture
def traced(
    postgres: PostgresServer, tmp_path: Path, collector: FakeCollector
) -> Iterator[Installation]:
    """An installation whose processes export to the collector, often."""
    with fresh_installation(postgres, tmp_path) as made:
        made.settings |= {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_EXPORTER_OTLP_HEADERS": "api-key=otel-canary",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }
        yield made


def post_event(made: Installation, name: str, **headers: str) -> httpx.Response:
    """The event of a file, as a Database Webhook sends it."""
    row = made.rows("select id, bucket_id, name from storage.objects where name = %s", name)[0]
    body = {
        "type": "INSERT",
        "schema": "storage",
        "table": "objects",
        "record": {**row, "id": str(row["id"])},
        "old_record": None,
    }
    return httpx.post(
        f"{made.webhook_url}/webhooks/storage",
        json=body,
        headers={"x-webhook-secret": WEBHOOK_SECRET, **headers},
        timeout=180,
    )


def tree(spans: list[SentSpan]) -> set[tuple[str, str]]:
    """Each span with its parent's name; the id of a parent that is not there."""
    names = {span.id: span.name for span in spans}
    return {(span.name, names.get(span.parent, span.parent)) for span in spans}


def run_of(collector: FakeCollector, job: dict[str, Any]) -> SentSpan:
    """The span of the run that ended a job, once it has come."""

    def found() -> SentSpan | None:
        runs = collector.named("process ingest.jobs")
        mine = [run for run in runs if run.attributes["messaging.message.id"] == str(job["id"])]
        ended = [run for run in mine if run.attributes["docmill.outcome"] == job["state"]]
        return ended[-1] if ended else None

    return until(found, "the span of the run")


OF_A_RUN = {
    ("download", "process ingest.jobs"),
    ("read", "process ingest.jobs"),
    ("chunk", "read"),
    ("embed", "process ingest.jobs"),
    (f"embeddings {MODEL}", "embed"),
    ("stage", "process ingest.jobs"),
    ("publish", "process ingest.jobs"),
}


def test_an_upload_is_one_trace_from_its_sender_to_the_publish(
    traced: Installation, collector: FakeCollector
) -> None:
    name = traced.upload(ALICE, "secret-name.txt", f"{SECRET_TEXT}. {LONG}")
    traced.start_webhook()
    sent = f"00-{SENT}-{SENDER}-01"
    assert post_event(traced, name, traceparent=sent).status_code == 202
    # The same event again gives the job no other trace: its own names that of the job.
    assert post_event(traced, name, traceparent=sent.replace("4bf9", "aaaa")).status_code == 202
    traced.start("beat")
    traced.start_worker()
    job = traced.wait_for_job(name)
    assert job["state"] == "succeeded"

    run = run_of(collector, job)
    spans = until(lambda: _whole(collector.of_trace(SENT)), "the trace")
    assert tree(spans) == OF_A_RUN | {
        ("POST /webhooks/storage", SENDER),
        ("create ingest.jobs", "POST /webhooks/storage"),
        ("process ingest.jobs", "create ingest.jobs"),
    }
    (create,) = (span for span in spans if span.name == "create ingest.jobs")
    assert (create.kind, run.kind) == ("producer", "consumer")
    assert run.links == [(SENT, create.id)]
    assert run.attributes["docmill.document.id"] == str(job["document_id"])
    assert {span.service for span in spans} == {"docmill-webhook", "docmill-worker"}
    (asked,) = (span for span in spans if span.name.startswith("embeddings"))
    assert asked.kind == "client"
    assert asked.attributes["gen_ai.provider.name"] == "openai"
    assert asked.attributes["gen_ai.usage.input_tokens"] > 0
    (other,) = (span for span in collector.named("create ingest.jobs") if span.trace != SENT)
    assert other.links == [(SENT, create.id)]

    # Ids and codes, and nothing that a person wrote or keeps secret.
    for hidden in (ALICE, "secret-name", SECRET_TEXT, "otel-canary", "sk-canary", WEBHOOK_SECRET):
        assert hidden.encode() not in collector.raw
    _has_no_exporter_in_children(traced)


def _whole(spans: list[SentSpan]) -> list[SentSpan] | None:
    return spans if len({span.name for span in spans}) == len(OF_A_RUN) + 3 else None


def _has_no_exporter_in_children(made: Installation) -> None:
    worker = next(child for child in made.children if "worker" in child.log_path.name)
    assert b"OTEL_" in Path(f"/proc/{worker.pid}/environ").read_bytes()
    children = Path(f"/proc/{worker.pid}/task/{worker.pid}/children").parents[1]
    below = {pid for task in children.iterdir() for pid in (task / "children").read_text().split()}
    assert below, "a zygote"
    for pid in below:
        assert b"OTEL_" not in Path(f"/proc/{pid}/environ").read_bytes()


def test_the_next_worker_continues_the_trace_of_one_that_died(
    traced: Installation, collector: FakeCollector
) -> None:
    traced.start("beat")
    first = traced.start_worker(isolated=False, **SHORT_LEASE)
    traced.openai.gate.clear()
    name = traced.upload(ALICE, "a.txt", LONG)  # nobody listens: the worker makes the trace
    traced.openai.wait_for_requests(1)
    (download,) = until(lambda: collector.named("download") or None, "the first run's spans")
    (create,) = collector.named("create ingest.jobs")
    traced.kill(first)
    traced.openai.gate.set()
    traced.start_worker()  # does the schedule's rescue
    traced.start_worker(isolated=True)
    job = traced.wait_for_job(name)
    assert job["state"] == "succeeded"

    run = run_of(collector, job)
    assert run.attributes["docmill.run"] == 2
    assert run.trace == create.trace == download.trace
    assert run.parent == create.id
    assert len(collector.named("create ingest.jobs")) == 1
    again = until(lambda: (found := collector.named("download"))[1:] and found, "spans")
    assert [span.trace for span in again] == [create.trace] * 2
    # The job's place in the queue is gone, and the trace with it.
    assert traced.rows("select * from ingest_private.job_queue") == []


def test_owners_who_share_a_request_see_nothing_of_each_other(
    traced: Installation, collector: FakeCollector
) -> None:
    traced.start("beat")
    traced.start_webhook()
    traced.start_worker(DOCMILL_EMBEDDING_REQUESTS="1")
    traced.openai.gate.clear()
    pages = [f"Page {number}" for number in range(1, WINDOW_PAGES + 2)]  # two windows
    before = traced.upload(CAROL, "before.pdf", make_pdf(pages))
    traced.openai.wait_for_requests(1)
    names = {owner: traced.upload(owner, "a.txt", f"{owner}. {LONG}") for owner in (ALICE, BOB)}
    # The only request is under way: what comes meanwhile goes into the next one together.
    for name in names.values():
        until(
            lambda name=name: (traced.latest_job(name) or {}).get("stage") == "embedding",  # type: ignore[misc]
            "a document that waits",
        )
    traced.openai.gate.set()
    jobs = {owner: traced.wait_for_job(name) for owner, name in names.items()}
    runs = {owner: run_of(collector, job) for owner, job in jobs.items()}
    large = run_of(collector, traced.wait_for_job(before))
    assert tree(collector.of_trace(large.trace)) >= {*OF_A_RUN, ("chunk", large.name)}

    (shared,) = until(
        lambda: [span for span in collector.named(f"embeddings {MODEL}") if span.links] or None,
        "the shared request",
    )
    assert shared.parent == ""
    assert shared.attributes["docmill.documents"] == 2
    assert len(collector.of_trace(shared.trace)) == 1
    parts = {owner: _part(collector, run) for owner, run in runs.items()}
    assert sorted(shared.links) == sorted((part.trace, part.id) for part in parts.values())
    for owner, part in parts.items():
        assert part.links == [(shared.trace, shared.id)]
        other = BOB if owner == ALICE else ALICE
        held = repr(collector.of_trace(runs[owner].trace))
        for foreign in (
            *(jobs[other]["id"], jobs[other]["document_id"], other),
            *(runs[other].trace, runs[other].id, parts[other].id),
        ):
            assert str(foreign) not in held
            if foreign not in (runs[other].trace, parts[other].id):
                assert str(foreign) not in repr(shared)
    billed = sum(part.attributes["docmill.tokens"] for part in parts.values())
    assert abs(billed - shared.attributes["gen_ai.usage.input_tokens"]) <= 1


def _part(collector: FakeCollector, run: SentSpan) -> SentSpan:
    (part,) = (span for span in collector.of_trace(run.trace) if span.name == "embed")
    return part


@pytest.fixture
def silent() -> Iterator[FakeCollector]:
    """A collector that takes requests and answers none."""
    made = FakeCollector()
    made.answers.clear()
    yield made
    made.close()


def test_a_collector_that_takes_nothing_disturbs_nobody(
    traced: Installation, collector: FakeCollector, silent: FakeCollector
) -> None:
    collector.status = 400
    nobody = f"http://user:password-canary@127.0.0.1:{free_port()}"
    # Room for fewer spans than one document has.
    traced.settings |= {"OTEL_BSP_MAX_QUEUE_SIZE": "4", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "2"}
    traced.start("beat")
    traced.settings["OTEL_EXPORTER_OTLP_ENDPOINT"] = nobody
    processes = [traced.start_webhook()]
    # The SDK itself waits longer for the silent one than a test.
    traced.settings["OTEL_EXPORTER_OTLP_TIMEOUT"] = "60000"
    for endpoint in (silent.url, collector.url):
        traced.settings["OTEL_EXPORTER_OTLP_ENDPOINT"] = endpoint
        processes.append(traced.start_worker(DOCMILL_SLOTS="1"))
    traced.openai.gate.clear()
    names = [traced.upload(ALICE, f"{number}.txt", f"{number}. {LONG}") for number in range(2)]
    traced.openai.wait_for_requests(2)  # each worker has one
    traced.openai.gate.set()
    for name in names:
        assert traced.wait_for_job(name)["state"] == "succeeded"
    until(lambda: silent.requests, "a request that is not answered")
    for process in (processes[0], processes[2]):
        until(lambda process=process: _lines(process, "traces_disturbed"), "a line")  # type: ignore[misc]
    for process in processes:
        process.process.terminate()
        assert process.process.wait(180) == 0
        _says_little(process)
    assert _lines(processes[1], "traces_not_flushed")


def _says_little(process: ChildProcess) -> None:
    """At most a line a minute, none of them long, and nothing secret."""
    said = [json.loads(line) for line in _lines(process, "traces_disturbed")]
    times = [datetime.fromisoformat(line["timestamp"]) for line in said]
    assert all((later - earlier).total_seconds() > 55 for earlier, later in pairwise(times))
    assert all(len(line["said"]) <= 200 for line in said)
    text = process.log_path.read_text()
    for hidden in ("Traceback", "password-canary", "otel-canary"):
        assert hidden not in text


def _lines(process: ChildProcess, word: str) -> list[str]:
    return [line for line in process.log_path.read_text().splitlines() if word in line]
