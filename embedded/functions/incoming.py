"""Reads the fields of a request, and refuses bad ones."""

import json
from typing import Any, Final

from starlette.requests import ClientDisconnect, Request

from docmill.worker.webhook.request_body import read_bounded

_MAX_BODY_BYTES: Final = 64 * 1024


class RefusedError(Exception):
    """Why a request is refused. `code` is stable; the text is for people."""

    def __init__(
        self, status: int, message: str, code: str = "bad_request", retry_after: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.retry_after = retry_after


async def body_of(request: Request) -> Any:
    """The JSON of the body. Raises RefusedError."""
    too_large = RefusedError(413, "the body is too large", "too_large")
    try:
        return json.loads(await read_bounded(request, _MAX_BODY_BYTES, too_large=too_large))
    except ClientDisconnect:
        raise RefusedError(400, "the body did not arrive") from None
    except (ValueError, RecursionError):
        raise RefusedError(400, "the body is not JSON") from None


def text_of(body: Any, name: str, most_characters: int) -> str:
    """The text in one field of the body. Raises RefusedError."""
    text = body.get(name) if isinstance(body, dict) else None
    if not isinstance(text, str) or not text.strip() or len(text) > most_characters:
        raise RefusedError(400, f"{name} must be a text of 1 to {most_characters} characters")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise RefusedError(400, f"{name} is not valid Unicode") from None
    if "\0" in text:  # PostgreSQL stores no such text
        raise RefusedError(400, f"{name} holds the character NUL")
    return text
