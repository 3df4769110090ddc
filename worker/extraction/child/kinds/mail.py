"""E-mail: subject and correspondents as text, the body, then each attachment by its own kind."""

import base64
import email
import email.policy
import quopri
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.message import EmailMessage, MIMEPart
from typing import Any

from docmill.worker.extraction.child.encodings import decode, marked_encoding
from docmill.worker.extraction.child.kinds.attachments import Attached, OpenPart, Part, joined
from docmill.worker.extraction.child.kinds.base import Reading, Source
from docmill.worker.extraction.child.kinds.calendar import calendar_reading
from docmill.worker.extraction.child.kinds.partitioned import body_titles_demoted
from docmill.worker.extraction.child.kinds.text import text_elements
from docmill.worker.extraction.child.kinds.web import html_reading
from docmill.worker.extraction.shared import media_types
from docmill.worker.models import Element

_SHOWN = ("From", "To", "Cc", "Bcc", "Date")
#: Signatures that prove the message was not changed; there is nothing to read in them.
_SIGNATURES = frozenset(
    {"application/pgp-signature", "application/pkcs7-signature", "application/x-pkcs7-signature"}
)
_MAX_NAME_CHARACTERS = 200
#: A line that divides parts, before a header.
_BOUNDARY = re.compile(r"^--([^\s\"]{4,200})\r?\nContent-", re.IGNORECASE | re.MULTILINE)
#: How many parts of an alternative are looked at to see which text it holds.
_MOST_PARTS = 100
#: For longer headers, the time of Python's parser grows with the square of the length.
_LONG_HEADER = 10_000
#: An encoded word has 75 characters at most; longer pieces than this are not searched for encoded
#: words.
_LONG_PIECE = 1_000


class _Policy(email.policy.EmailPolicy):
    """The usual policy of Internet mail, but long headers are read piece by piece."""

    def header_fetch_parse(self, name: str, value: str) -> Any:
        if len(value) <= _LONG_HEADER:
            return super().header_fetch_parse(name, value)
        if name.lower().startswith("content-"):
            return super().header_fetch_parse(name, value[:_LONG_HEADER])
        return ",".join(map(decoded_words, value.split(",")))


def decoded_words(piece: str) -> str:
    """A piece of a header, with encoded words as text."""
    if len(piece) > _LONG_PIECE:
        return piece
    try:
        return str(make_header(decode_header(piece)))
    except (HeaderParseError, LookupError, ValueError):
        return piece


_POLICY = _Policy()


def read_eml(source: Source, open_part: OpenPart) -> Reading:
    """Read a message as Internet mail stores it. `open_part` begins to read an attached file.

    Raises RecursionError if its parts are nested hundreds of levels deep.
    """
    message = email.message_from_bytes(_in_ascii(source.read()), policy=_POLICY)
    assert isinstance(message, EmailMessage)
    leaves = list(_leaves(_with_parts(message)))
    bodies = [leaf for leaf in leaves if _is_body(leaf)]
    others = [leaf for leaf in leaves if not _is_body(leaf) and not _is_decoration(leaf)]
    parts = [
        Part(shown_name(_file_name(leaf), number), _content(leaf))
        for number, leaf in enumerate(others, start=1)
    ]
    attached = Attached(parts, source, open_part)
    attached.ask_for_recognition(media_types.EML)
    return message_reading(_headers(message), map(_body_reading, bodies), attached)


def _in_ascii(data: bytes) -> bytes:
    """The message in an encoding that keeps ASCII: Windows programs save mail in UTF-16."""
    encoding = marked_encoding(data)
    if encoding is None:
        return data
    return encoding.decode(data[encoding.mark_bytes :]).encode()


def _with_parts(message: EmailMessage) -> EmailMessage:
    """The message; if it names a wrong boundary, divided by the lines that look like one."""
    if message.get_content_maintype() != "multipart" or message.is_multipart():
        return message
    text = str(message.get_payload())
    found = _BOUNDARY.search(text)
    if found is None:
        return message
    begin = f'Content-Type: {message.get_content_type()}; boundary="{found[1]}"\n\n'
    data = (begin + text).encode(errors="surrogateescape")
    divided = email.message_from_bytes(data, policy=_POLICY)
    assert isinstance(divided, EmailMessage)
    return divided


def _headers(message: EmailMessage) -> dict[str, str]:
    raw = {name.lower(): value for name, value in reversed(list(message.raw_items()))}
    headers = {}
    for name in ("Subject", *_SHOWN):
        # A header that breaks the rules may raise when it is read; then it is not shown.
        with suppress(Exception):
            headers[name] = str(_repaired(message, name, str(raw.get(name.lower(), ""))))
    return headers


def _repaired(message: EmailMessage, name: str, raw: str) -> Any:
    """A header as its sender meant it. Old programs write non-ASCII letters without encoding."""
    if raw.isascii() and "\x1b" not in raw:
        return message.get(name, "")
    written = raw.encode("utf-8", errors="surrogateescape")
    charset = next((str(part.get_content_charset() or "") for part in message.walk()), "")
    policy: Any = message.policy
    return policy.header_fetch_parse(name, decode(written, declared=charset))


def _leaves(message: MIMEPart) -> Iterator[MIMEPart]:
    """Parts with content of their own, in order; of several alternatives only the richest one."""
    stack: list[MIMEPart] = [message]
    while stack:
        part = stack.pop()
        if not part.is_multipart() or part.get_content_maintype() == "message":
            yield part
            continue
        inner: list[Any] = list(part.iter_parts())
        if part.get_content_type() == "multipart/alternative":
            inner = _chosen(inner)
        stack.extend(reversed(inner))


def _chosen(alternatives: list[MIMEPart]) -> list[MIMEPart]:
    """The best of several forms of one text, and files that are wrongly among them."""
    for kind in ("text/html", "text/plain"):
        for alternative in alternatives:
            if any(part.get_content_type() == kind for part in _first_parts(alternative)):
                # An invitation says when and where; the text beside it may not.
                files = [part for part in alternatives if _is_more_than_text(part)]
                return [alternative, *(part for part in files if part is not alternative)]
    return alternatives


def _first_parts(message: MIMEPart) -> Iterator[MIMEPart]:
    """The message and its parts, in order. Alternatives may be nested."""
    stack: list[Any] = [message]
    for _ in range(_MOST_PARTS):
        if not stack:
            return
        part = stack.pop()
        yield part
        if part.is_multipart():
            stack.extend(reversed(part.get_payload()))


def _is_more_than_text(part: MIMEPart) -> bool:
    return part.get_filename() is not None or part.get_content_type() == media_types.CALENDAR


def _is_body(leaf: MIMEPart) -> bool:
    return (
        leaf.get_content_type() in ("text/plain", "text/html", media_types.CALENDAR)
        and leaf.get_content_disposition() != "attachment"
        and not leaf.get_filename()
    )


def _is_decoration(leaf: MIMEPart) -> bool:
    """Whether it is a picture within the text, or a signature by a program: nobody attached it."""
    if leaf.get_content_maintype() == "image":
        return leaf.get_content_disposition() == "inline" or "Content-ID" in leaf
    return leaf.get_content_type() in _SIGNATURES


def _file_name(leaf: MIMEPart) -> str | None:
    if name := leaf.get_filename():
        return name
    if leaf.get_content_maintype() != "message":
        return None
    if not _holds_a_message(leaf):
        return f"{leaf.get_content_subtype()}.txt"
    with suppress(Exception):  # a header that breaks the rules
        return f"{_inner_message(leaf).get('Subject', 'message')}.eml"
    return "message.eml"


def _holds_a_message(leaf: MIMEPart) -> bool:
    """Whether it holds a message. Delivery reports of servers are lines of text instead."""
    return leaf.get_content_subtype() not in ("delivery-status", "disposition-notification")


def _inner_message(leaf: MIMEPart) -> EmailMessage:
    inner: Any = leaf.get_payload(0)
    assert isinstance(inner, EmailMessage)
    return inner


def _content(leaf: MIMEPart) -> bytes | None:
    try:
        if leaf.get_content_maintype() == "message" and leaf.is_multipart():
            return _message_bytes(leaf)
        return _payload(leaf)
    except MemoryError:
        raise
    except Exception:  # a part that a program has broken may raise anything
        return None


def _message_bytes(leaf: MIMEPart) -> bytes:
    """An attached message. Some programs encode it, which the rules forbid."""
    inner: Any = leaf.get_payload()
    data = b"\n".join(one.as_bytes() for one in inner)
    encoding = str(leaf.get("Content-Transfer-Encoding", "")).strip().lower()
    if encoding == "base64":
        return base64.b64decode(data)
    return quopri.decodestring(data) if encoding == "quoted-printable" else data


def _payload(leaf: MIMEPart) -> bytes:
    payload = leaf.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""


def _body_reading(leaf: MIMEPart) -> Reading:
    kind, data = leaf.get_content_type(), _payload(leaf)
    charset = str(leaf.get_content_charset() or "")
    # A wrong declaration as ASCII does not help to find the encoding.
    declared = "" if charset == "us-ascii" else charset
    text = decode(data, html=kind == "text/html", declared=declared)
    if kind == media_types.CALENDAR:
        return calendar_reading(text)
    return text_reading(text, is_html=kind == "text/html")


def text_reading(text: str, *, is_html: bool) -> Reading:
    """The body of a message, which is a page or plain text."""
    return html_reading(text) if is_html else Reading(text_elements(text))


def shown_name(file_name: str | None, number: int) -> str:
    """A name to show: no folders, one line."""
    last = (file_name or "").replace("\\", "/").rpartition("/")[2]
    # Keep the ending, which is a hint for text formats.
    return " ".join(last.split())[-_MAX_NAME_CHARACTERS:] or f"attachment {number}"


def message_reading(
    headers: Mapping[str, str], bodies: Iterable[Reading], attached: Attached
) -> Reading:
    """A message from its parts; `attached` are its files."""
    subject = " ".join(headers.get("Subject", "").split())
    body = _elements(subject, headers, bodies, attached.names)
    return Reading(attached.after(body), page_count=attached.page_count, title=subject or None)


def _elements(
    subject: str, headers: Mapping[str, str], bodies: Iterable[Reading], attached: list[str]
) -> Iterator[Element]:
    if subject:
        yield Element("Title", subject, depth=0)
    lines = [f"{name}: {' '.join(headers[name].split())}" for name in _SHOWN if headers.get(name)]
    if attached:
        # The names are listed here, so an unreadable file can still be found.
        lines.append("Attachments: " + ", ".join(attached))
    yield Element("Text", "\n".join(lines))
    for element in body_titles_demoted(joined(bodies)):
        # One level below the subject, so that the subject stays valid for the text after it.
        depth = None if element.depth is None else element.depth + 1
        yield replace(element, depth=depth)
