"""The text of a message as a mail program shows it, read with the standard library's parser."""

import email
import email.policy
from email.message import EmailMessage

from tests.support.independent import web

_HEADERS = ("Subject", "From", "To", "Cc", "Date")


def letters(data: bytes) -> str:
    """The visible headers and the text parts; of alternatives the last one that is text."""
    message = email.message_from_bytes(data, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    headers = "\n".join(str(message[name]) for name in _HEADERS if name in message)
    body = message.get_body(("html", "plain"))
    shown = ""
    if body is not None:
        shown = body.get_content()
        if body.get_content_type() == "text/html":
            shown = web.letters(shown.encode())
    return f"{headers}\n{shown}"
