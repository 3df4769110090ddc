"""The lines of a child are checked one by one."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docmill.worker.extraction.parent.results import (
    End,
    Failure,
    Header,
    Item,
    MalformedResultError,
    ResultLines,
    Wanted,
)
from docmill.worker.extraction.shared import protocol
from docmill.worker.extraction.shared.parts import PageEnd, Summary
from docmill.worker.models import Chunk, Element, JsonObject


def header(**changes: object) -> JsonObject:
    fields: JsonObject = {
        "mime_type": "text/plain",
        "page_count": 3,
        "title": None,
        "starts": [],
        "context": "",
    }
    return {"header": fields | changes}


HEADER = header()


def element(**changes: object) -> JsonObject:
    fields: JsonObject = {
        "category": "Text",
        "text": "a",
        "page": None,
        "depth": None,
        "metadata": {},
    }
    return {"element": fields | changes}


def items(*messages: object) -> list[Item]:
    lines = b"".join(json.dumps(message).encode() + b"\n" for message in messages)
    return list(ResultLines().feed(lines))


def test_lines_become_items_in_order():
    assert items(
        HEADER,
        element(category="Title", depth=0, page=1),
        {"page": 1, "read": True},
        {"page": 3, "read": False, "uncomputed": 7},
        {"end": True},
    ) == [
        Header("text/plain", 3, None),
        Element("Title", "a", page=1, depth=0),
        PageEnd(1, has_text=True),
        PageEnd(3, has_text=False, uncomputed_formulas=7),
        End(),
    ]


def chunk(**changes: object) -> JsonObject:
    fields: JsonObject = {
        "content": "a",
        "headings": ["The kilns"],
        "page_start": 1,
        "page_end": 2,
        "token_count": 4,
        "metadata": {"category": "Table", "links": ["https://a.example"]},
    }
    return {"chunk": fields | changes}


def summary(**changes: object) -> JsonObject:
    return {"summary": {"title": "A", "hidden_characters": 2, "state": "eJw="} | changes}


def test_chunks_become_items():
    assert items(HEADER, chunk(), {"page": 1, "read": True}, summary(), {"end": True}) == [
        Header("text/plain", 3, None),
        Chunk(
            ordinal=0,
            content="a",
            headings=("The kilns",),
            page_start=1,
            page_end=2,
            token_count=4,
            metadata={"category": "Table", "links": ["https://a.example"]},
        ),
        PageEnd(1, has_text=True),
        Summary("A", 2, "eJw="),
        End(),
    ]


def test_a_child_that_is_given_its_window_writes_no_header():
    lines = ResultLines(Header("text/plain", 3, None))
    data = json.dumps(chunk()).encode() + b"\n"
    assert isinstance(next(lines.feed(data)), Chunk)
    with pytest.raises(MalformedResultError):
        list(lines.feed(json.dumps(HEADER).encode() + b"\n"))


def wish(profile: object, media_type: object) -> JsonObject:
    return {"wanted": {"profile": profile, "mime_type": media_type}}


def test_another_kind_of_child_may_be_asked_for_first_and_alone():
    assert items(wish("ocr", "application/pdf")) == [Wanted("ocr", "application/pdf")]
    assert items(wish("pandoc", "text/x-rst")) == [Wanted("pandoc", "text/x-rst")]
    with pytest.raises(MalformedResultError):
        items(wish("ocr", "image/png"), {"end": True})
    with pytest.raises(MalformedResultError):
        items(HEADER, wish("ocr", "image/png"))


@pytest.mark.parametrize(
    ("profile", "media_type"),
    [
        ("office", "application/pdf"),
        ("plain", "text/plain"),
        ("pandoc", "image/png"),
        ("shell", "text/x-rst"),
        (None, "text/x-rst"),
        ("ocr", ["image/png"]),
    ],
)
def test_no_child_gets_a_profile_that_its_type_does_not_need(profile, media_type):
    with pytest.raises(MalformedResultError):
        items(wish(profile, media_type))


def test_an_error_may_come_first():
    assert items({"error": {"code": "encrypted", "detail": ""}}) == [Failure("encrypted", "")]


def test_bytes_may_be_cut_anywhere():
    data = b"".join(
        json.dumps(m).encode() + b"\n" for m in (HEADER, element(text="ä"), {"end": True})
    )
    lines = ResultLines()
    found = [item for at in range(len(data)) for item in lines.feed(data[at : at + 1])]
    assert found == [Header("text/plain", 3, None), Element("Text", "ä"), End()]


@pytest.mark.parametrize(
    "messages",
    [
        [element()],
        [{"end": True}],
        [HEADER, HEADER],
        [HEADER, {"end": True}, element()],
        [HEADER, {"end": 1, "more": 2}],
        [HEADER, {"page": 2, "read": True}, {"page": 2, "read": True}],
        [HEADER, {"page": 4, "read": True}],
        [HEADER, {"page": 1, "read": "yes"}],
        [HEADER, {"page": True, "read": True}],
        [HEADER, element(category="CompositeElement")],
        [HEADER, element(category=["Text"])],
        [HEADER, element(text=None)],
        [HEADER, element(text=["a"])],
        [HEADER, element(text="x" * (protocol.MAX_ELEMENT_CHARACTERS + 1))],
        [HEADER, element(page=0)],
        [HEADER, element(page=1.5)],
        [HEADER, element(page=True)],
        [HEADER, element(page=10**9)],
        [HEADER, element(depth=-1)],
        [HEADER, element(metadata=[])],
        [HEADER, element(metadata={"filename": "/etc/passwd"})],
        [HEADER, element(metadata={"text_as_html": 1})],
        [HEADER, element(metadata={"text_as_html": "x" * 20_001})],
        [HEADER, element(metadata={"page_name": {"deep": "er"}})],
        [HEADER, {"element": {**element()["element"], "more": 1}}],
        [HEADER, {**element(), "more": 1}],
        [chunk()],
        [HEADER, chunk(content="")],
        [HEADER, chunk(content=" \n")],
        [HEADER, chunk(content="x" * (protocol.MAX_CHUNK_CHARACTERS + 1))],
        [HEADER, chunk(headings="a")],
        [HEADER, chunk(headings=["a"] * 7)],
        [HEADER, chunk(headings=["a" * 201])],
        [HEADER, chunk(headings=[["a"]])],
        [HEADER, chunk(page_start=0)],
        [HEADER, chunk(page_start=3, page_end=2)],
        [HEADER, chunk(page_start=None)],
        [HEADER, chunk(token_count=0)],
        [HEADER, chunk(token_count=1.5)],
        [HEADER, chunk(token_count=True)],
        [HEADER, chunk(token_count=10**9)],
        [HEADER, chunk(metadata=None)],
        [HEADER, chunk(metadata={"category": "Text"})],
        [HEADER, chunk(metadata={"links": ["a"] * 51})],
        [HEADER, chunk(metadata={"links": ["a" * 2001]})],
        [HEADER, chunk(metadata={"owner": "a"})],
        [HEADER, chunk(ordinal=3)],
        [HEADER, summary(title="x" * 301)],
        [HEADER, summary(hidden_characters=-1)],
        [HEADER, {"page": 1, "read": True, "uncomputed": -1}],
        [HEADER, summary(state=None)],
        [HEADER, summary(state="a b")],
        [HEADER, summary(state="a" * (protocol.MAX_STATE_CHARACTERS + 1))],
        [header(mime_type="no type")],
        [header(page_count=-1)],
        [header(title="x" * 501)],
        [header(starts=None)],
        [header(starts=[1, 1])],
        [header(starts=[2, 1])],
        [header(starts=[-1, 5])],
        [header(starts=[0, 2**41])],
        [header(starts=["0", "1"])],
        [header(starts=list(range(protocol.MAX_WINDOWS + 1)))],
        [header(context={})],
        [header(context="x" * (protocol.MAX_CONTEXT_BYTES + 1))],
        [header(context="\u20ac" * (protocol.MAX_CONTEXT_BYTES // 3 + 1))],
        [header(more=1)],
        [{"error": {"code": "worker_lost", "detail": ""}}],
        [{"error": {"code": ["encrypted"], "detail": ""}}],
        [{"error": {"code": "encrypted"}}],
        [[]],
        [None],
        [{}],
    ],
)
def test_what_no_child_of_ours_writes_is_refused(messages):
    with pytest.raises(MalformedResultError):
        items(*messages)


@pytest.mark.parametrize(
    "data",
    [
        b"\n",
        b"nonsense\n",
        b"[" * 100_000 + b"\n",
        b'{"a":' * 100_000 + b"\n",
        b'{"end": ' + b"9" * 10_000 + b"}\n",
        b"\xff\xfe\n",
        b"x" * (protocol.MAX_LINE_BYTES + 1),
    ],
)
def test_lines_that_are_no_json_or_too_long_are_refused(data):
    with pytest.raises(MalformedResultError):
        list(ResultLines().feed(data))


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(data):
    lines = ResultLines()
    with suppress(MalformedResultError):
        list(lines.feed(json.dumps(HEADER).encode() + b"\n" + data + b"\n"))


def test_the_first_child_says_where_the_other_windows_begin():
    (found,) = items(header(starts=[1, 51, 101], context='{"a": 1}'))
    assert found == Header("text/plain", 3, None, (1, 51, 101), '{"a": 1}')
    assert found.windows == [(51, 101), (101, None)]


def test_a_context_can_be_sent_on():
    (found,) = items(header(starts=[0, 1], context="a\x00b\ud800"))
    assert isinstance(found, Header)
    assert found.context.encode() == b"ab"


def test_text_is_sanitized_again():
    assert items(HEADER, element(text="a\x00b\ud800"))[1] == Element("Text", "ab")


@pytest.mark.parametrize(
    ("detail", "shown"),
    [
        ("image/jpeg", "image/jpeg"),
        ("KeyError in docx line 12", "KeyError in docx line 12"),
        ("/home/me/.env", "homeme.env"),
        ("sb_secret_0123456789012345678901234567890123456789", ""),
        ("<b>x</b>" * 100, "bxb" * 40),
    ],
)
def test_a_detail_keeps_no_path_no_key_and_little_text(detail, shown):
    assert items({"error": {"code": "corrupt", "detail": detail}}) == [Failure("corrupt", shown)]
