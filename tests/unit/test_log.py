"""Log lines are JSON, and hold no secrets."""

import io
import json
import logging

import pytest

from docmill.worker.log import configure_logging, get_logger, redact


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("postgresql://worker:hunter22@db/postgres", "hunter22"),
        ("redis://:hunter22@cache:6379/0", "hunter22"),
        ("Authorization: Bearer sb_secret_abc123", "sb_secret_abc123"),
        ("key sk-proj-abcdefgh12345678", "sk-proj-abcdefgh12345678"),
        ("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD", "C2FVsBQIhrscChlQIMV"),
        ("token=eyJhbGciOi.eyJzdWIi.c2lnbmF0dXJl", "c2lnbmF0dXJl"),
    ],
)
def test_what_looks_like_a_secret_is_redacted(text: str, secret: str) -> None:
    assert secret not in redact(text)


def test_events_and_foreign_records_become_json_without_secrets() -> None:
    stream = io.StringIO()
    configure_logging(log_format="json", level="info", stream=stream)
    try:
        get_logger("test").info("job_started", api_key="k-1", url="redis://:pw123@h", count=2)
        try:
            raise ValueError("postgresql://u:pw456@h/db")
        except ValueError:
            logging.getLogger("other").exception("failed")
    finally:
        logging.getLogger().handlers.clear()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert lines[0]["event"] == "job_started"
    assert lines[0]["count"] == 2
    assert not any(secret in stream.getvalue() for secret in ("k-1", "pw123", "pw456"))
    assert "ValueError" in lines[1]["exception"]
