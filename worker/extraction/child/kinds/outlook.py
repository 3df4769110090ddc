"""Messages as Outlook stores them (MSG)."""

import email.policy
from collections.abc import Iterable, Iterator
from contextlib import suppress
from email.message import EmailMessage
from email.parser import HeaderParser
from typing import Any

from oxmsg.domain import constants
from oxmsg.properties import Properties
from oxmsg.storage import Storage

from docmill.worker.extraction.child.compound import storage_of
from docmill.worker.extraction.child.encodings import decode
from docmill.worker.extraction.child.kinds.attachments import Attached, OpenPart, Part
from docmill.worker.extraction.child.kinds.base import Reading, Source
from docmill.worker.extraction.child.kinds.mail import (
    decoded_words,
    message_reading,
    shown_name,
    text_reading,
)
from docmill.worker.extraction.shared import media_types

#: [MS-OXMSG] 2.4: bytes before the properties of a message, and of a message within another.
_HEADER_BYTES, _INNER_HEADER_BYTES = 32, 24
_INNER_MESSAGE = f"__substg1.0_{constants.PID_ATTACH_DATA_BINARY:04X}000D"
#: [MS-OXOMSG] 2.2.3.1: the values of the property PidTagRecipientType.
_RECIPIENTS = {1: "To", 2: "Cc", 3: "Bcc"}
#: attachments.py reads three levels of messages in messages, and counts the next as unread.
_MAX_LEVELS = 5


def read_msg(source: Source, open_part: OpenPart) -> Reading:
    """Read a message as Outlook stores it. `open_part` begins to read an attached file."""
    message = _Message(storage_of(source.file), _HEADER_BYTES)
    # The only file of a signed message holds all of it.
    html, text = ("", "") if message.is_signed else (message.html, message.body)
    body = text_reading(html or text, is_html=bool(html))
    parts = [
        Part(shown_name(name, number), data)
        for number, (name, data) in enumerate(message.files(), start=1)
    ]
    attached = Attached(parts, source, open_part)
    attached.ask_for_recognition(media_types.MSG)
    return message_reading(message.headers(), [body], attached)


class _Message:
    """One message, or a message within a message. A damaged property counts as absent."""

    def __init__(self, storage: Any, header_bytes: int, level: int = 1) -> None:
        self._storage = storage
        self._properties = Properties(storage, properties_header_offset=header_bytes)
        self._level = level

    @property
    def is_signed(self) -> bool:
        return self._own(constants.PID_MESSAGE_CLASS).endswith(".SMIME.MultipartSigned")

    @property
    def body(self) -> str:
        return _text(self._properties, self._storage, constants.PID_BODY)

    @property
    def html(self) -> str:
        """The HTML, also if the message names a wrong encoding."""
        data = self._properties.binary_prop_value(constants.PID_HTML)
        if not data:
            return self._own(constants.PID_BODY_HTML)
        declared = ""
        with suppress(Exception):  # a code page that nobody knows
            declared = self._properties.body_encoding
        return decode(data, html=True, declared=declared)

    def headers(self) -> dict[str, str]:
        """Subject, correspondents with names and addresses, date; without the absent ones."""
        people: dict[str, list[str]] = {}
        for storage in self._storage.iter_recipient_storages():
            kind, shown = _recipient(storage)
            people.setdefault(kind, []).append(shown)
        headers = {
            "Subject": self._own(constants.PID_SUBJECT),
            "From": self._sender(),
            **{kind: ", ".join(filter(None, shown)) for kind, shown in people.items()},
        }
        with suppress(Exception):  # a date that does not exist
            sent = self._properties.date_prop_value(constants.PID_CLIENT_SUBMIT_TIME)
            headers["Date"] = sent.isoformat() if sent else ""
        return {name: shown for name, shown in headers.items() if shown}

    def files(self) -> Iterator[tuple[str | None, bytes | None]]:
        """Name and bytes of each attached file. A linked file has no bytes."""
        for storage in self._storage.iter_attachment_storages():
            properties = Properties(storage, properties_header_offset=8)
            inner = next((one for one in storage.storages if one.name == _INNER_MESSAGE), None)
            if inner is not None:
                yield self._inner(inner)
                continue
            data = None
            with suppress(KeyError):  # its stream is missing
                data = properties.binary_prop_value(constants.PID_ATTACH_DATA_BINARY)
            yield _file_name(properties, storage), data if isinstance(data, bytes) else None

    def as_internet_mail(self) -> bytes:
        """The message in the form of Internet mail, with its files."""
        mail = EmailMessage(policy=email.policy.default)
        for name, shown in self.headers().items():
            with suppress(Exception):  # what Internet mail cannot express
                mail[name] = _encodable(" ".join(shown.split()))
        html = self.html
        mail.set_content(_encodable(html or self.body), subtype="html" if html else "plain")
        for file_name, data in self.files():
            if data is not None:
                shown = _encodable(shown_name(file_name, 1))
                mail.add_attachment(
                    data, maintype="application", subtype="octet-stream", filename=shown
                )
        return mail.as_bytes()

    def _inner(self, storage: Storage) -> tuple[str, bytes | None]:
        message = _Message(storage, _INNER_HEADER_BYTES, self._level + 1)
        name = f"{message.headers().get('Subject', 'message')}.eml"
        return name, message.as_internet_mail() if self._level < _MAX_LEVELS else None

    def _sender(self) -> str:
        headers = HeaderParser().parsestr(self._own(constants.PID_TRANSPORT_MESSAGE_HEADERS))
        if written := headers["from"]:
            return ",".join(map(decoded_words, str(written).split(",")))
        address = self._own(constants.PID_SENDER_SMTP_ADDRESS) or self._own(
            constants.PID_SENDER_EMAIL_ADDRESS
        )
        name = self._own(constants.PID_SENDER_NAME)
        return _person(name or self._own(constants.PID_SENT_REPRESENTING_NAME), address)

    def _own(self, number: int) -> str:
        return _text(self._properties, self._storage, number)


def _recipient(storage: Any) -> tuple[str, str]:
    properties = Properties(storage, properties_header_offset=8)
    kind = properties.int_prop_value(constants.PID_RECIPIENT_TYPE)
    name, smtp, address = (
        _text(properties, storage, number)
        for number in (
            constants.PID_DISPLAY_NAME,
            constants.PID_SMTP_ADDRESS,
            constants.PID_EMAIL_ADDRESS,
        )
    )
    return _RECIPIENTS.get(kind or 0, "To"), _person(name, smtp or address)


def _person(name: str, address: str) -> str:
    """A correspondent as mail programs show one. Addresses within Exchange are not shown."""
    name = name.strip().strip("'\"")
    if "@" not in address:
        return name or address
    return f"{name} <{address}>" if name and name.lower() != address.lower() else address


def _file_name(properties: Properties, storage: Any) -> str | None:
    numbers: Iterable[int] = (
        constants.PID_ATTACH_LONG_FILENAME,
        constants.PID_ATTACH_FILENAME,
        constants.PID_DISPLAY_NAME,
    )
    return next(filter(None, (_text(properties, storage, number) for number in numbers)), None)


def _text(properties: Properties, storage: Any, number: int) -> str:
    """A text, also if the message names a wrong encoding for it."""
    try:
        return properties.str_prop_value(number) or ""
    except (UnicodeDecodeError, LookupError, ValueError):
        pass
    declared = ""
    with suppress(Exception):  # a code page that nobody knows
        declared = properties._str_prop_encoding  # noqa: SLF001 -- has no other name
    with suppress(KeyError):  # its stream is missing
        data = storage.property_stream_bytes(number, constants.PTYP_STRING8)
        return decode(data, declared=declared)
    return ""


def _encodable(text: str) -> str:
    return text.encode(errors="replace").decode()
