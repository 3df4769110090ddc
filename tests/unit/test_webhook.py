"""Which requests are accepted as events, and from which senders."""

import base64
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from docmill.worker.errors import SettingsError
from docmill.worker.webhook.events import BadEventError, parse_event
from docmill.worker.webhook.signatures import Verifier

EXAMPLE = Path(__file__).parents[2] / ".env.example"
OBJECT_ID = "568a12b6-854d-40da-8cea-9add1df16126"
ROW = {"id": OBJECT_ID, "bucket_id": "docs", "name": "a/b.pdf"}
SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
OTHER_SECRET = "whsec_" + base64.b64encode(b"o" * 32).decode()


def payload(**changes: Any) -> bytes:
    event = {
        "type": "INSERT",
        "schema": "storage",
        "table": "objects",
        "record": ROW,
        "old_record": None,
    }
    return json.dumps(event | changes).encode()


def test_an_insert_names_its_object() -> None:
    hint = parse_event(payload())
    assert (hint.object_id, hint.bucket_id, hint.name) == (UUID(OBJECT_ID), "docs", "a/b.pdf")


def test_a_delete_names_the_old_row() -> None:
    assert parse_event(payload(type="DELETE", record=None, old_record=ROW)).name == "a/b.pdf"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 60_000,
        payload(type="TRUNCATE"),
        payload(schema="public"),
        payload(table="buckets"),
        payload(record=None),
        payload(record=[]),
        payload(record={**ROW, "id": "x"}),
        payload(record={**ROW, "id": 7}),
        payload(record={**ROW, "name": None}),
        payload(record={**ROW, "name": ""}),
        payload(record={**ROW, "name": "a\0b"}),
        payload(record={**ROW, "name": "x" * 5000}),
        payload(record={**ROW, "name": "\ud800"}),
        payload(type="DELETE"),
    ],
)
def test_a_body_of_another_shape_is_refused_by_name(body: bytes) -> None:
    with pytest.raises(BadEventError):
        parse_event(body)


@given(
    st.binary(max_size=200)
    | st.recursive(st.none() | st.booleans() | st.text(), st.lists).map(
        lambda value: json.dumps(value).encode()
    )
)
def test_no_body_raises_anything_else(body: bytes) -> None:
    with pytest.raises(BadEventError):
        parse_event(body)


def signed(secret: str, body: bytes, *, at: datetime | None = None) -> dict[str, str]:
    at = at or datetime.now(UTC)
    return {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign("msg_1", at, body.decode()),
    }


def test_the_shared_secret_is_accepted_and_no_other() -> None:
    verifier = Verifier("s3cret", [])
    assert verifier.accepts({"x-webhook-secret": "s3cret"}, b"")
    for wrong in ("", "s3cre", "s3crett", "S3cret", "\udcff"):
        assert not verifier.accepts({"x-webhook-secret": wrong}, b"")
    assert not verifier.accepts({}, b"")


def test_a_signature_is_accepted_while_secrets_rotate() -> None:
    body = payload()
    assert Verifier(None, [SECRET, OTHER_SECRET]).accepts(signed(OTHER_SECRET, body), body)
    assert not Verifier(None, [SECRET]).accepts(signed(OTHER_SECRET, body), body)


def test_a_signature_over_another_body_is_refused() -> None:
    assert not Verifier(None, [SECRET]).accepts(signed(SECRET, payload()), payload(type="UPDATE"))


@pytest.mark.parametrize("minutes", [-10, 10])
def test_an_old_or_early_timestamp_is_refused(minutes: int) -> None:
    body = payload()
    headers = signed(SECRET, body, at=datetime.now(UTC) + timedelta(minutes=minutes))
    assert not Verifier(None, [SECRET]).accepts(headers, body)


@pytest.mark.parametrize(
    "signature", ["", "v1", "v1,a,b", "v1,abc", "v2,aaaa", " ", ",", "v1,", "x" * 5000]
)
def test_hostile_signatures_are_refused_without_an_error(signature: str) -> None:
    body = payload()
    headers = signed(SECRET, body) | {"webhook-signature": signature}
    assert not Verifier(None, [SECRET]).accepts(headers, body)
    assert not Verifier(None, [SECRET]).accepts(headers, b"\xff\xff")


def test_a_signature_header_cannot_fall_back_to_the_shared_secret() -> None:
    headers = {"webhook-signature": "v1,xx", "x-webhook-secret": "s3cret"}
    assert not Verifier("s3cret", [SECRET]).accepts(headers, b"")


def test_the_secret_of_the_example_is_refused_with_the_command_that_makes_one() -> None:
    (line,) = re.findall(r"^DOCMILL_WEBHOOK_SECRET=(.+)$", EXAMPLE.read_text(), re.MULTILINE)
    with pytest.raises(SettingsError, match="openssl rand -hex 32"):
        Verifier(line, [SECRET])


def test_an_empty_shared_secret_opens_nothing() -> None:
    assert not Verifier("", [SECRET]).accepts({"x-webhook-secret": ""}, b"")


def test_a_receiver_without_any_secret_does_not_start() -> None:
    with pytest.raises(SettingsError, match="DOCMILL_WEBHOOK_SECRET"):
        Verifier(None, [])
    with pytest.raises(SettingsError, match="base64"):
        Verifier(None, ["whsec_!"])
