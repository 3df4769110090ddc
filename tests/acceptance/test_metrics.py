"""What worker, webhook and beat serve to Prometheus, as it is scraped."""

import re
from typing import Any

import httpx

from docmill.embedded.process import ChildProcess, free_port
from docmill.worker.metrics import METRICS
from docmill.worker.store.gauges import GAUGES
from tests.support.installation import ALICE, Installation, until

LONG = "This sentence is about nothing in particular but it fills the section. " * 6


def scrape(port: int) -> str:
    """What it serves; empty while nobody listens."""
    try:
        answer = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=180)
    except httpx.HTTPError:
        return ""
    assert answer.status_code == 200
    return answer.text


def sample(text: str, series: str) -> float:
    found = re.search(rf"^{re.escape(series)} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def test_worker_webhook_and_beat_say_what_they_did(installation: Installation) -> None:
    ports = {name: free_port() for name in ("worker", "webhook", "beat")}

    def served(name: str) -> dict[str, Any]:
        return {"DOCMILL_METRICS_PORT": str(ports[name])}

    installation.start("beat", **served("beat"))
    installation.start("webhook", **served("webhook"))
    installation.start_worker(**served("worker"))
    for port in ports.values():
        until(lambda port=port: scrape(port), "metrics")  # type: ignore[misc]

    done = installation.upload(ALICE, "secret-name.txt", f"Done. {LONG}")
    assert installation.wait_for_job(done)["state"] == "succeeded"
    empty = installation.upload(ALICE, "empty.txt", " ")
    assert installation.wait_for_job(empty)["state"] == "failed"

    def succeeded() -> bool:
        text = scrape(ports["worker"])
        return sample(text, 'docmill_runs_total{code="empty_document",outcome="failed"}') == 1

    until(succeeded, "the run is counted")
    text = scrape(ports["worker"])
    for series, least in {
        'docmill_runs_total{code="",outcome="succeeded"}': 1,
        'docmill_stage_seconds_count{stage="embedding"}': 1,
        'docmill_embedding_requests_total{code="ok",provider="openai"}': 1,
        'docmill_batch_fill_count{provider="openai"}': 1,
        'docmill_child_ends_total{code="ok",profile="plain"}': 1,
        'docmill_child_cpu_seconds_count{owner_class="only",profile="plain"}': 1,
        "docmill_published_chunks_total": 1,
        "docmill_publish_seconds_count": 1,
        'docmill_workers{isolated="false"}': 1,
        "docmill_database_up": 1,
        "process_resident_memory_bytes": 1e7,
    }.items():
        assert sample(text, series) >= least, series
    for metric in METRICS:
        assert f"# TYPE {metric.name}" in text, metric.name
    for name in GAUGES:
        assert f"# TYPE {name} gauge" in text, name
    for hidden in (ALICE, "secret-name", "empty.txt"):
        assert hidden not in text

    sent = 'docmill_schedule_messages_total{task="docmill.dispatch"}'
    until(lambda: sample(scrape(ports["beat"]), sent) >= 1, "messages of beat")
    until(
        lambda: (
            sample(
                scrape(ports["worker"]),
                'docmill_schedule_works_total{outcome="done",work="dispatch"}',
            )
            >= 1
        ),
        "works of the schedule",
    )
    until(
        lambda: (
            sample(scrape(ports["webhook"]), 'docmill_webhook_requests_total{status="202"}') >= 1
        ),
        "requests of the webhook",
    )


def beat_with_metrics(installation: Installation) -> tuple[ChildProcess, str]:
    """A beat that serves metrics, and its port.

    Between the choice of a port and its use another process of a busy machine may take it.
    """
    for _ in range(5):
        port = str(free_port())
        child = installation.start("beat", DOCMILL_METRICS_PORT=port)
        until(lambda child=child: child.ended() or is_served(child), "metrics, or an end")  # type: ignore[misc]
        if not child.ended():
            return child, port
    raise AssertionError("five ports were taken")


def is_served(child: ChildProcess) -> bool:
    return "metrics_served" in child.log_path.read_text()


def test_a_port_that_is_taken_is_named_with_the_remedy(installation: Installation) -> None:
    first, port = beat_with_metrics(installation)
    second = installation.start("beat", DOCMILL_METRICS_PORT=port)
    until(second.ended, "an end")
    said = second.log_path.read_text()
    assert f"cannot serve metrics on 127.0.0.1:{port}" in said
    assert "set DOCMILL_METRICS_PORT to a free port" in said
    assert not first.ended()
