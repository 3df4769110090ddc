"""Reading of messages, mailboxes, invitations and feeds, compared with the standard library."""

import base64
import io
import mailbox
from collections import Counter
from email.message import EmailMessage
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from docmill.worker.extraction.child.kinds.base import Reading, Source
from docmill.worker.extraction.child.kinds.registry import open_reading
from docmill.worker.extraction.shared.parts import PageEnd
from docmill.worker.extraction.zygote.warm import use_blank_sentence_splitter
from docmill.worker.models import Element
from tests.support.independent.mail import all_letters, letters
from tests.support.judged_documents import words_in
from tests.support.languages import pairs, prose
from tests.support.mail_documents import random_mail

use_blank_sentence_splitter()

#: Headers that the standard library can write into a message.
_CHARSETS = [
    (language, encoding)
    for language, encoding in pairs()
    if not encoding.startswith(("utf-16", "hz", "iso2022_kr", "tis", "cp866", "cp874"))
]


def opened(data: bytes, name: str = "") -> tuple[str, Reading]:
    return open_reading(Source(io.BytesIO(data), name))


def text(data: bytes, name: str = "") -> str:
    return "\n".join(p.text for p in opened(data, name)[1].parts if isinstance(p, Element))


def squeezed(shown: str) -> str:
    return "".join(shown.split())


def message(subject: str, body: str, charset: str = "utf-8", kind: str = "plain") -> EmailMessage:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "a@example.org", "b@example.org", subject
    mail["Date"] = "Mon, 01 Jan 2024 10:00:00 +0000"
    mail.set_content(body, subtype=kind, charset=charset)
    return mail


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(_CHARSETS), st.booleans(), st.integers(0, 3))
def test_a_message_in_any_encoding(written: tuple[str, str], html: bool, seed: int) -> None:
    language, encoding = written
    words = prose(language, encoding, 300, seed)
    body = f"<html><body><p>{words}</p></body></html>" if html else words
    data = message(words[:30], body, encoding, "html" if html else "plain").as_bytes()
    found = squeezed(text(data))
    for line in letters(data).splitlines():
        # "To: a" is written after its name.
        assert squeezed(line) in found


@pytest.mark.parametrize(
    ("language", "encoding"),
    [("de", "cp1252"), ("ru", "koi8-r"), ("ja", "iso2022_jp"), ("zh-hans", "gbk")],
)
def test_what_declares_nothing_or_lies(language: str, encoding: str) -> None:
    words = prose(language, encoding, 400)
    for declared in ("", "; charset=us-ascii", "; charset=utf-8", "; charset=no-such"):
        head = f"From: a@b.c\nTo: d@e.f\nSubject: {words[:40]}\nMIME-Version: 1.0\n"
        head += f"Content-Type: text/plain{declared}\nContent-Transfer-Encoding: 8bit\n\n"
        found = squeezed(text(f"{head}{words}\n".encode(encoding)))
        assert found.count(squeezed(words[:30])) == 2
        assert squeezed(words) in found


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-8-sig"])
def test_mail_that_was_saved_in_unicode(encoding: str) -> None:
    mail = "From: a@b.c\nTo: d@e.f\nSubject: Größe\nMIME-Version: 1.0\n"
    mail += "Content-Type: text/plain; charset=utf-16\n\nDie Prüfung ist am Dienstag.\n"
    kind, reading = opened(mail.encode(encoding))
    assert kind == "message/rfc822"
    assert reading.title == "Größe"
    assert "Die Prüfung" in text(mail.encode(encoding))


@settings(max_examples=20, deadline=None)
@given(st.lists(st.sampled_from(["Plain.", "From here on it rains.", "Größe"]), min_size=1))
def test_a_mailbox_is_its_messages(bodies: list[str]) -> None:
    with TemporaryDirectory() as folder:
        box = mailbox.mbox(Path(folder, "box"))
        for number, body in enumerate(bodies):
            box.add(mailbox.mboxMessage(message(f"Subject {number}", f"{body}\n\n{body}\n")))
        box.close()
        kind, reading = opened(Path(folder, "box").read_bytes())
    parts = list(reading.parts)
    assert kind == "application/mbox"
    assert reading.page_count == len(bodies)
    assert [part.number for part in parts if isinstance(part, PageEnd)] == [
        *range(1, len(bodies) + 1)
    ]
    for number, body in enumerate(bodies):
        shown = "\n".join(
            part.text for part in parts if isinstance(part, Element) and part.page == number + 1
        )
        assert f"Subject {number}" in shown
        assert shown.count(body) == 2
        assert "MIME" not in shown


_CALENDAR = """BEGIN:VCALENDAR
VERSION:2.0
BEGIN:VTIMEZONE
TZID:Europe/Berlin
END:VTIMEZONE
BEGIN:VEVENT
SUMMARY:Budget meeting\\, first
 \\; part
LOCATION;LANGUAGE=en:Room 5
DTSTART;TZID=Europe/Berlin:20250304T100000
DTEND:20250304T113000Z
ORGANIZER;CN="Ada, L.":mailto:ada@example.org
DESCRIPTION:Bring figures.\\nAnd coffee.
BEGIN:VALARM
DESCRIPTION:unseen
END:VALARM
END:VEVENT
END:VCALENDAR
"""


def test_an_invitation_says_what_when_and_where() -> None:
    mail = message("Invite", "Please come.")
    mail.add_alternative("<p>Please come.</p>", subtype="html")
    mail.add_alternative(_CALENDAR, subtype="calendar")
    for data in (mail.as_bytes(), _CALENDAR.encode(), _CALENDAR.replace("\n", "\r\n").encode()):
        found = text(data)
        assert "Budget meeting, first; part" in found
        assert "Place: Room 5" in found
        assert "Start: 2025-03-04 10:00 Europe/Berlin" in found
        assert "End: 2025-03-04 11:30 UTC" in found
        assert "Ada, L. <ada@example.org>" in found
        assert "Bring figures.\nAnd coffee." in found
        assert "unseen" not in found


@pytest.mark.parametrize(
    "form",
    ["<![CDATA[{}]]>", "&lt;p&gt;Fish &amp;amp; chips for H&lt;sub&gt;2&lt;/sub&gt;O&lt;/p&gt;"],
)
def test_feeds_hold_no_tags(form: str) -> None:
    inner = form.format("<p>Fish &amp; chips for H<sub>2</sub>O</p><script>unseen</script>")
    feed = f"<rss><channel><item><title>1 &lt; 2</title><description>{inner}</description>"
    found = text(f"<?xml version='1.0'?>{feed}</item></channel></rss>".encode(), "a.xml")
    assert "description: Fish & chips for H2O" in found
    assert "title: 1 < 2" in found
    assert "unseen" not in found


def test_a_long_list_of_correspondents_is_read_in_time_and_decoded() -> None:
    names = ", ".join(f"=?utf-8?q?J=C3=BCrgen?= <j{n}@example.org>" for n in range(20_000))
    data = f"From: a@example.org\nTo: {names}\nSubject: x\n\nbody\n".encode()
    found = text(data, "a.eml")
    assert found.count("Jürgen") == 20_000
    assert "<j19999@example.org>" in found


def test_a_part_with_endless_parameters_is_read() -> None:
    kind = "text/plain; " + "a=b; " * 50_000
    data = f"From: a@example.org\nSubject: x\nContent-Type: {kind}\n\nbody here\n".encode()
    assert "body here" in text(data, "a.eml")


def test_what_a_server_reports_of_a_message_is_read() -> None:
    report = (
        b"From: a@example.org\nSubject: Undelivered\nMIME-Version: 1.0\n"
        b"Content-Type: multipart/report; report-type=delivery-status; boundary=x\n\n"
        b"--x\n\nIt could not be delivered.\n--x\nContent-Type: message/delivery-status\n\n"
        b"Reporting-MTA: dns; mail.example.org\n\n"
        b"Final-Recipient: rfc822; z@example.org\nDiagnostic-Code: smtp; 550 No such user\n\n"
        b"Final-Recipient: rfc822; y@example.org\n\n"
        b"--x\nContent-Type: message/rfc822\n\nSubject: Hello\n\nThe words of it.\n--x--\n"
    )
    found = text(report, "a.eml")
    assert "mail.example.org" in found
    assert "550 No such user" in found
    assert "y@example.org" in found
    assert found.count("The words of it.") == 1


@pytest.mark.parametrize("line", ["From a@example.org Mon Jan  1 10:00:00 2024", "From ", "From -"])
def test_prose_that_looks_like_the_beginning_of_a_message_is_prose(line: str) -> None:
    first = "From a@example.org Mon Jan  1 10:00:00 2024"
    headers = "From: a@example.org\nTo: b@example.org\nSubject: {}\n\n"
    box = f"{first}\n{headers.format('One')}Hours:\n\nFrom Monday to Friday\nTel: 555\n\n{line}\n"
    kind, reading = opened(f"{box}{headers.format('Two')}end\n".encode())
    assert (kind, reading.page_count) == ("application/mbox", 2)
    found = "\n".join(part.text for part in reading.parts if isinstance(part, Element))
    assert "From Monday to Friday\nTel: 555" in found
    assert "end" in found


def test_alternatives_within_alternatives_are_read_in_time() -> None:
    parts = "".join(
        f"Content-Type: multipart/alternative; boundary=b{n}\n\n--b{n}\n" for n in range(250)
    )
    assert "the words" in text(f"From: a@b.cd\nSubject: x\n{parts}\nthe words\n".encode(), "a.eml")


def test_an_attached_message_in_base64_is_read_though_the_rules_forbid_it() -> None:
    inner = base64.encodebytes(message("Inner", "word1x here").as_bytes()).decode()
    data = (
        "From: a@example.org\nSubject: Outer\nMIME-Version: 1.0\n"
        "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain\n\nouter\n"
        "--b\nContent-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\n"
        f"{inner}\n--b--\n"
    )
    shown = text(data.encode(), "a.eml")
    assert "word1x here" in shown
    assert inner[:40] not in shown


def test_a_wrong_boundary_is_found_in_the_text() -> None:
    data = (
        b"From: a@example.org\nSubject: S\nMIME-Version: 1.0\n"
        b"Content-Type: multipart/alternative; boundary=other\n\nNot shown.\n--right\n"
        b"Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n"
        b"Gr=C3=B6=C3=9Fe\n--right--\n"
    )
    shown = text(data, "a.eml")
    assert "Größe" in shown
    assert "Content-Type" not in shown


def test_an_encrypted_part_is_counted_and_not_read() -> None:
    outer = message("S", "See the file.")
    cipher = b"-----BEGIN PGP MESSAGE-----\n\nhIwDY32hYGCE8MkBA\n-----END PGP MESSAGE-----\n"
    outer.add_attachment(cipher, maintype="application", subtype="octet-stream", filename="a.asc")
    _, reading = opened(outer.as_bytes(), "a.eml")
    parts = list(reading.parts)
    assert [part.has_text for part in parts if isinstance(part, PageEnd)] == [True, False]
    assert not any("hIwDY" in part.text for part in parts if isinstance(part, Element))


@settings(deadline=None, max_examples=100)
@given(st.integers(min_value=0))
def test_each_word_that_a_mail_program_shows_is_read_once_in_order(seed: int) -> None:
    made = random_mail(Random(seed))
    assert words_in(text(made.data)) == made.shown


@settings(deadline=None, max_examples=60)
@given(st.integers(min_value=0))
def test_the_parser_of_the_standard_library_agrees_with_who_wrote_the_message(seed: int) -> None:
    made = random_mail(Random(seed))
    assert Counter(words_in(all_letters(made.data))) == Counter(made.shown)
