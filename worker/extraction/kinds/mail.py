"""E-mail: subject and correspondents as text, then the body. Attachments are not opened."""

import email
import email.policy
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress

from oxmsg import Message
from unstructured.partition.email import partition_email
from unstructured.partition.msg import partition_msg

from worker.extraction.kinds.base import Reading, Source
from worker.extraction.kinds.partitioned import (
    NO_LANGUAGES,
    body_titles_demoted,
    elements_of,
)
from worker.models import Element

_SHOWN = ("From", "To", "Cc", "Date")


def read_eml(source: Source) -> Reading:
    """A message as Internet mail stores it."""
    headers = _headers(source.read())
    source.file.seek(0)
    body = partition_email(file=source.file, process_attachments=False, languages=NO_LANGUAGES)
    return _message(headers, elements_of(body))


def read_msg(source: Source) -> Reading:
    """A message as Outlook stores it."""
    message = Message.load(source.file)
    headers = {"Subject": message.subject or "", "From": message.sender or ""}
    headers["To"] = ", ".join(str(recipient.email_address) for recipient in message.recipients)
    if message.sent_date:
        headers["Date"] = message.sent_date.isoformat()
    source.file.seek(0)
    body = partition_msg(file=source.file, process_attachments=False, languages=NO_LANGUAGES)
    return _message(headers, elements_of(body))


def _headers(data: bytes) -> dict[str, str]:
    message = email.message_from_bytes(data, policy=email.policy.default)
    headers = {}
    for name in ("Subject", *_SHOWN):
        # A header that breaks the rules may raise when it is looked at: then it is not shown.
        with suppress(Exception):
            headers[name] = str(message.get(name, ""))
    return headers


def _message(headers: Mapping[str, str], body: Iterable[Element]) -> Reading:
    subject = " ".join(headers.get("Subject", "").split())
    return Reading(_elements(subject, headers, body), title=subject or None)


def _elements(
    subject: str, headers: Mapping[str, str], body: Iterable[Element]
) -> Iterator[Element]:
    if subject:
        yield Element("Title", subject, depth=0)
    lines = (f"{name}: {' '.join(headers[name].split())}" for name in _SHOWN if headers.get(name))
    yield Element("Text", "\n".join(lines))
    yield from body_titles_demoted(body)
