"""Messages of Outlook: correspondents, texts in 8 bits, messages within messages."""

import io
import struct
import time
from collections.abc import Mapping, Sequence

from docmill.worker.extraction.child.kinds.base import Source
from docmill.worker.extraction.child.kinds.registry import open_reading
from docmill.worker.extraction.shared import media_types
from docmill.worker.extraction.shared.parts import PageEnd
from docmill.worker.extraction.zygote.warm import use_blank_sentence_splitter
from docmill.worker.models import Element
from tests.integration.extraction.ole import Content, Storage, make_ole, properties

use_blank_sentence_splitter()

#: Tags of properties: the meaning, then 1F for text, 1E for text in 8 bits, 3 for a number.
_SUBJECT, _BODY, _CLASS = 0x0037001F, 0x1000001F, 0x001A001F
_SENDER, _SENDER_ADDRESS, _HEADERS = 0x0C1A001F, 0x0C1F001F, 0x007D001F
_NAME, _ADDRESS, _SMTP, _KIND = 0x3001001F, 0x3003001F, 0x39FE001F, 0x0C150003
_EXCHANGE = "/O=ACME/OU=FIRST/CN=RECIPIENTS/CN=ADA"


def wide(**texts: str) -> dict[int, bytes | int]:
    return {globals()[f"_{name.upper()}"]: text.encode("utf-16-le") for name, text in texts.items()}


def message(
    values: Mapping[int, bytes | int],
    recipients: Sequence[Mapping[int, bytes | int]] = (),
    inner: Mapping[str, Storage] | None = None,
    header_bytes: int = 32,
) -> dict[str, Content]:
    files = len(inner or {})
    counts = struct.pack("<4I", len(recipients), files, len(recipients), files)
    header = (bytes(8) + counts).ljust(header_bytes, b"\0")
    storages: dict[str, Content] = {
        f"__recip_version1.0_#{number:08X}": properties(bytes(8), person)
        for number, person in enumerate(recipients)
    }
    attached: dict[str, Content] = {
        f"__attach_version1.0_#{number:08X}": {
            **properties(bytes(8), {}),
            "__substg1.0_3701000D": storage,
        }
        for number, storage in enumerate((inner or {}).values())
    }
    return {**properties(header, values), **storages, **attached}


def read(storage: Storage) -> tuple[list[str], list[bool]]:
    """The texts, and for each page whether it was read."""
    kind, reading = open_reading(Source(io.BytesIO(make_ole(storage)), "a.msg"))
    assert kind == media_types.MSG
    parts = list(reading.parts)
    texts = [part.text for part in parts if isinstance(part, Element)]
    return texts, [part.has_text for part in parts if isinstance(part, PageEnd)]


def test_correspondents_are_shown_by_name_and_by_kind() -> None:
    people: list[Mapping[int, bytes | int]] = [
        {**wide(name="Ada Lovelace", address=_EXCHANGE), _KIND: 1},
        {**wide(name="Alan", address=_EXCHANGE, smtp="alan@example.org"), _KIND: 2},
        {**wide(name="grace@example.org", address="grace@example.org"), _KIND: 3},
    ]
    values = wide(subject="Plans", body="See below.", sender="Charles", sender_address=_EXCHANGE)
    texts, _ = read(message(values, people))
    assert texts == [
        "Plans",
        "From: Charles\nTo: Ada Lovelace\nCc: Alan <alan@example.org>\nBcc: grace@example.org",
        "See below.",
    ]


def test_encoded_words_of_the_sender_are_decoded() -> None:
    values = wide(subject="S", body="B.", headers="From: =?UTF-8?B?w4RkYQ==?= <a@example.org>\n\n")
    assert "From: Äda <a@example.org>" in read(message(values))[0]


def test_text_in_another_encoding_than_named_is_read() -> None:
    # Named as UTF-8 (65001), written in Windows-1252.
    values: dict[int, bytes | int] = {
        0x3FDE0003: 65001,
        0x1000001E: "Prüfung für alle".encode("cp1252"),
    }
    assert read(message(values))[0][-1] == "Prüfung für alle"


def test_messages_within_messages_are_read_to_three_levels() -> None:
    storage = message(wide(subject="level 5", body="word5x"), header_bytes=24)
    for level in (4, 3, 2):
        values = wide(subject=f"level {level}", body=f"word{level}x")
        storage = message(values, inner={"a": storage}, header_bytes=24)
    texts, read_pages = read(message(wide(subject="level 1", body="word1x"), inner={"a": storage}))
    shown = "\n".join(texts)
    found = [shown.count(f"word{level}x") for level in range(1, 6)]
    assert found == [1, 1, 1, 1, 0]
    # What lies deeper is counted.
    assert read_pages == [True, False]


def test_a_signed_message_is_read_once() -> None:
    signed = (
        b"MIME-Version: 1.0\r\nContent-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n"
        b"Content-Type: text/plain\r\n\r\nThe price is fixed.\r\n--b\r\n"
        b"Content-Type: application/pkcs7-signature\r\n\r\nMIAGCSqG\r\n--b--\r\n"
    )
    values = {
        **wide(subject="S", body="The price is fixed."),
        _CLASS: "IPM.Note.SMIME.MultipartSigned".encode("utf-16-le"),
    }
    attachment = properties(bytes(8), {0x3707001F: "m".encode("utf-16-le"), 0x37010102: signed})
    storage = {**message(values), "__attach_version1.0_#00000000": attachment}
    texts, read_pages = read(storage)
    assert (texts.count("The price is fixed."), read_pages) == (1, [True, True])
    assert "MIAGCSqG" not in "\n".join(texts)


def test_all_of_very_many_recipients_are_read_in_time_that_grows_as_they_do() -> None:
    def seconds(count: int) -> float:
        people = [{**wide(name=f"Person {number}"), _KIND: 1} for number in range(count)]
        data = make_ole(message(wide(subject="News", body="Hello"), people))
        began = time.process_time()
        _, reading = open_reading(Source(io.BytesIO(data), "a.msg"))
        texts = [part.text for part in reading.parts if isinstance(part, Element)]
        took = time.process_time() - began
        assert all(f"Person {number}" in "\n".join(texts) for number in (0, count // 2, count - 1))
        return took

    seconds(10)  # which imports what it needs
    few, many = (min(seconds(count) for _ in range(2)) for count in (500, 4_000))
    # Eight times as many: when each looked for its streams among all, it took 40 times as long.
    assert many < 20 * few
