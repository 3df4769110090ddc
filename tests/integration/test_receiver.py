"""The webhook receiver as a process, on a real database."""

import base64
import json
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook

from docmill.embedded.postgres import PostgresServer
from docmill.embedded.redis import RedisServer
from tests.support.database import make_database
from tests.support.installation import WEBHOOK_SECRET, Installation, install
from tests.support.recorded import recorded_bodies

SIGNING_SECRET = "whsec_" + base64.b64encode(b"canary-signing-secret-of-32-byte").decode()


@pytest.fixture(scope="module")
def receiving(
    postgres: PostgresServer, redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    folder = tmp_path_factory.mktemp("receiver")
    with (
        make_database(postgres, "project") as database,
        install(
            database,
            redis_server,
            folder,
            DOCMILL_WEBHOOK_SIGNING_SECRETS=SIGNING_SECRET,
        ) as made,
    ):
        made.start_webhook()
        yield made


def row(**changes: Any) -> dict[str, Any]:
    base = {"id": "568a12b6-854d-40da-8cea-9add1df16126", "bucket_id": "docs", "name": "a.pdf"}
    return base | changes


def event(**changes: Any) -> bytes:
    body = {
        "type": "INSERT",
        "table": "objects",
        "schema": "storage",
        "record": row(),
        "old_record": None,
    }
    return json.dumps(body | changes).encode()


def post(receiving: Installation, body: bytes, **headers: str) -> httpx.Response:
    return httpx.post(
        f"{receiving.webhook_url}/webhooks/storage",
        content=body,
        headers={name.replace("_", "-"): value for name, value in headers.items()},
        timeout=10,
    )


def test_refusals_are_named_and_leave_nothing(receiving: Installation) -> None:
    secret = WEBHOOK_SECRET
    answers = {
        "missing": post(receiving, event()),
        "wrong": post(receiving, event(), x_webhook_secret="guess"),
        "not signed": post(receiving, event(), webhook_signature="v1,a,b", webhook_id="1"),
        "not json": post(receiving, b"{", x_webhook_secret=secret),
        "not an event": post(receiving, b"[]", x_webhook_secret=secret),
        "too large": post(receiving, b"x" * 65_537, x_webhook_secret=secret),
    }
    assert {name: answer.status_code for name, answer in answers.items()} == {
        "missing": 401,
        "wrong": 401,
        "not signed": 401,
        "not json": 400,
        "not an event": 400,
        "too large": 413,
    }
    assert all("error" in answer.json() for answer in answers.values())
    for table in ("ingest.documents", "ingest.jobs", "ingest_private.pending_events"):
        assert receiving.rows(f"select * from {table}") == []
    logs = receiving.logs()
    assert WEBHOOK_SECRET not in logs
    assert "guess" not in logs
    assert "Traceback" not in logs


def test_a_body_that_never_stops_is_cut_off(receiving: Installation) -> None:
    with socket.create_connection(("127.0.0.1", receiving.webhook_port), timeout=180) as peer:
        peer.sendall(
            b"POST /webhooks/storage HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
            + f"x-webhook-secret: {WEBHOOK_SECRET}\r\n\r\n".encode()
        )
        block = b"4000\r\n" + b"y" * 0x4000 + b"\r\n"
        for _ in range(6):
            peer.sendall(block)
        assert b" 413 " in peer.recv(4096)


def test_who_sends_no_headers_is_hung_up_on(receiving: Installation) -> None:
    started = time.monotonic()
    with ExitStack() as stack:
        peers = [
            stack.enter_context(
                socket.create_connection(("127.0.0.1", receiving.webhook_port), timeout=180)
            )
            for _ in range(3)
        ]
        for peer, sent in zip(peers, (b"", b"POST", b"GET / HTTP/1.1\r\nHost: x"), strict=True):
            peer.sendall(sent)
        for peer in peers:
            with suppress(ConnectionResetError):
                assert peer.recv(1) == b""
    assert 5 < time.monotonic() - started < 15


def test_headers_without_end_are_not_collected(receiving: Installation) -> None:
    endless = b"x-more: " + b"y" * 1000 + b"\r\n"
    with socket.create_connection(("127.0.0.1", receiving.webhook_port), timeout=180) as peer:
        peer.sendall(b"POST /webhooks/storage HTTP/1.1\r\nHost: x\r\n")
        # More than the kernel buffers at both ends: buffered data is not refused yet.
        with pytest.raises(OSError):  # noqa: PT012 -- one of them is refused
            for _ in range(64_000):
                peer.sendall(endless)


def test_an_unwatched_bucket_is_accepted_and_nothing_happens(receiving: Installation) -> None:
    body = event(record=row(bucket_id="elsewhere"))
    answer = post(receiving, body, x_webhook_secret=WEBHOOK_SECRET)
    assert (answer.status_code, answer.json()) == (202, {"job_id": None})
    assert receiving.rows("select * from ingest.documents") == []


def test_a_signed_event_is_accepted_and_an_altered_one_is_not(receiving: Installation) -> None:
    body = event()
    now = datetime.now(UTC)
    headers = {
        "webhook_id": "msg_1",
        "webhook_timestamp": str(int(now.timestamp())),
        "webhook_signature": Webhook(SIGNING_SECRET).sign("msg_1", now, body.decode()),
    }
    assert post(receiving, body, **headers).status_code == 202
    assert post(receiving, body + b" ", **headers).status_code == 401


def test_an_event_answers_with_the_job_it_led_to(receiving: Installation) -> None:
    from tests.support.database import put_object

    with receiving.database.connect() as connection:
        object_id = put_object(connection, "answered.txt", owner="someone")
    body = event(record=row(id=str(object_id), name="answered.txt"))
    answer = post(receiving, body, x_webhook_secret=WEBHOOK_SECRET)
    jobs = receiving.rows("select id from ingest.jobs where object_name = 'answered.txt'")
    assert answer.json() == {"job_id": str(jobs[0]["id"])}


def test_health_metrics_and_readiness_answer_without_a_secret(receiving: Installation) -> None:
    for path in ("healthz", "readyz", "metrics"):
        assert httpx.get(f"{receiving.webhook_url}/{path}").status_code == 200
    assert "docmill_webhook_requests" in httpx.get(f"{receiving.webhook_url}/metrics").text


def test_recorded_events_in_any_order_leave_what_storage_holds(receiving: Installation) -> None:
    bodies = recorded_bodies()
    with receiving.database.connect() as connection:
        connection.execute("insert into ingest_private.sources (bucket_id) values ('other')")
        connection.execute("insert into storage.buckets (id, name) values ('other', 'other')")
        # The triggers are off, so only the events can make documents.
        connection.execute("alter table storage.objects disable trigger user")
        _restore_objects(connection, bodies)
    with httpx.Client(headers={"x-webhook-secret": WEBHOOK_SECRET}) as client:
        for replay in (bodies, bodies[::-1], bodies[::2] + bodies[1::2] + bodies):
            for body in replay:
                url = f"{receiving.webhook_url}/webhooks/storage"
                assert client.post(url, json=body).status_code == 202
            assert _documents(receiving) == _stored(receiving)


def _restore_objects(connection: Any, bodies: Sequence[dict[str, Any]]) -> None:
    # Storage at the end of the recording: the last row of each object that was not deleted.
    final: dict[str, dict[str, Any]] = {}
    for body in bodies:
        if body["type"] == "DELETE":
            final.pop(body["old_record"]["id"], None)
        else:
            final[body["record"]["id"]] = body["record"]
    for record in final.values():
        connection.execute(
            "insert into storage.objects (id, bucket_id, name, version, owner_id, metadata)"
            " values (%(id)s, %(bucket_id)s, %(name)s, %(version)s, %(owner_id)s, %(metadata)s)",
            record | {"metadata": json.dumps(record["metadata"])},
        )


def _documents(receiving: Installation) -> list[dict[str, Any]]:
    return receiving.rows(
        "select object_id as id, bucket_id, object_name as name, storage_version as version,"
        " owner_id from ingest.documents order by 1"
    )


def _stored(receiving: Installation) -> list[dict[str, Any]]:
    return receiving.rows(
        "select id, bucket_id, name, version, owner_id from storage.objects"
        " where name not like '%%.emptyFolderPlaceholder' order by 1"
    )


def test_the_receiver_answers_while_redis_is_away(receiving: Installation) -> None:
    from docmill.embedded.process import free_port

    child = receiving.start(
        "webhook",
        DOCMILL_WEBHOOK_PORT=str(port := free_port()),
        REDIS_URL=f"redis://127.0.0.1:{free_port()}/0",
    )
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            httpx.get(f"{url}/readyz")
            break
        except httpx.HTTPError:
            time.sleep(0.05)
    started = time.monotonic()
    answer = httpx.post(
        f"{url}/webhooks/storage",
        content=event(),
        headers={"x-webhook-secret": WEBHOOK_SECRET},
    )
    assert answer.status_code == 202
    assert time.monotonic() - started < 2
    assert child.stop() == 0
