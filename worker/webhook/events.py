"""The events of a Database Webhook on storage.objects. Pure; an event is trusted only as a hint."""

import json
from typing import Any
from uuid import UUID

from docmill.worker.errors import DocmillError
from docmill.worker.store.hints import ObjectHint

#: Longest name that is looked up; Storage itself refuses keys beyond about a thousand.
_MAX_NAME = 4096


class BadEventError(DocmillError):
    """The body is not the payload of a webhook on storage.objects."""


def parse_event(body: bytes) -> ObjectHint:
    """The object that a payload is about. Raises BadEventError that says what is wrong."""
    try:
        payload = json.loads(body)
    except (ValueError, RecursionError):
        raise BadEventError("the body is not JSON") from None
    if not isinstance(payload, dict):
        raise BadEventError("the body is not a JSON object")
    if (payload.get("schema"), payload.get("table")) != ("storage", "objects"):
        raise BadEventError("the event is not about storage.objects")
    if payload.get("type") not in ("INSERT", "UPDATE", "DELETE"):
        raise BadEventError("type is not INSERT, UPDATE or DELETE")
    row = payload.get("old_record" if payload["type"] == "DELETE" else "record")
    if not isinstance(row, dict):
        raise BadEventError("the event carries no row")
    return ObjectHint(_uuid(row, "id"), _text(row, "bucket_id"), _text(row, "name"))


def _uuid(row: dict[str, Any], field: str) -> UUID:
    try:
        return UUID(_text(row, field))
    except ValueError:
        raise BadEventError(f"{field} is not a uuid") from None


def _text(row: dict[str, Any], field: str) -> str:
    value = row.get(field)
    if not isinstance(value, str) or not value or len(value) > _MAX_NAME:
        raise BadEventError(f"{field} is not a text, or its length is not plausible")
    # Names in Storage hold neither of these, and Postgres would refuse them.
    if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise BadEventError(f"{field} has characters that no name can have")
    return value
