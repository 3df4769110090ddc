"""The text of a message as a mail program shows it, read with the standard library's parser."""

import email
import email.policy
from collections.abc import Iterator
from email.message import EmailMessage
from typing import Any

from tests.support.independent import web

_HEADERS = ("Subject", "From", "To", "Cc", "Date")
#: What an attached file must be, for a mail program to show it below the message.
_READABLE = ("text/plain", "text/html", "text/csv", "application/octet-stream")


def letters(data: bytes) -> str:
    """The visible headers and the text parts; of alternatives the last one that is text."""
    return "\n".join(_shown(_parsed(data), with_files=False))


def all_letters(data: bytes) -> str:
    """Like `letters`, with the texts of attached files and messages."""
    return "\n".join(_shown(_parsed(data), with_files=True))


def _parsed(data: bytes) -> EmailMessage:
    message = email.message_from_bytes(data, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return message


def _shown(message: Any, *, with_files: bool) -> Iterator[str]:
    yield from (str(message[name]) for name in _HEADERS if name in message)
    if not with_files:
        body = message.get_body(("html", "plain"))
        yield from [_text(body)] if body is not None else []
        return
    yield from _parts(message)


def _parts(part: Any) -> Iterator[str]:
    kind = part.get_content_type()
    inner = list(part.iter_parts()) if part.is_multipart() else []
    if kind == "message/rfc822":
        yield from _shown(part.get_payload(0), with_files=True)
    elif kind == "multipart/alternative":
        yield from _parts(inner[-1])
    elif inner:
        for one in inner:
            yield from _parts(one)
    elif kind in _READABLE:
        yield _text(part)


def _text(part: Any) -> str:
    content = part.get_content()
    text = content.decode(errors="replace") if isinstance(content, bytes) else str(content)
    return web.lines(text.encode()) if part.get_content_type() == "text/html" else text
