"""Text that is made to do harm: a mark of its kind, again and again, in every text reader.

Two judges, for any marks: the CPU time of a text of double length is about double, and the text is
never called damaged. Where all of a text is shown, a third: its words are found, in order. Only
JSON and XML may be refused, and only for their depth.
"""

import io
import re
import time
from dataclasses import dataclass
from operator import mul
from typing import Final

from hypothesis import example, given, settings
from hypothesis import strategies as st

from docmill.worker.errors import JobError
from docmill.worker.extraction.child.chunking.window import chunked
from docmill.worker.extraction.child.kinds.base import Source
from docmill.worker.extraction.child.kinds.registry import open_reading
from docmill.worker.extraction.child.kinds.shortcuts import take_shortcuts
from docmill.worker.extraction.zygote.warm import use_blank_sentence_splitter
from docmill.worker.models import Chunk, ChunkRules

use_blank_sentence_splitter()
take_shortcuts()

#: A text may need this much more than double the time of its half: for noise.
MARGIN: Final = 1.35
#: Times below this are too short to compare.
SHORT_SECONDS: Final = 0.1
#: The longest texts, and how often a length may grow out of proportion. Where a bound on work is
#: reached between two lengths, it does once; without a bound it always does.
LONGEST: Final = 64_000
STEPS: Final = 3
FIRST: Final = 4_000
RULES: Final = ChunkRules(400)
TOO_DEEP: Final = "nested too deeply"


@dataclass(frozen=True)
class Kind:
    """A kind of text, and what its readers look for."""

    joined: str  #: its marks, with bars between them
    before: str = ""
    after: str = ""

    @property
    def marks(self) -> list[str]:
        """What is repeated."""
        return self.joined.split("¦")


KINDS: Final = {
    "txt": Kind(
        "a¦. ¦A b. ¦a\n¦a\n\n¦- a\n¦1. ¦= a =\n¦\x0c¦\r¦(¦[¦a:b\n¦'¦\u4e00¦e\u0301¦\u200d¦a@b ¦"
        "A.¦\xa0¦<!-- ¦-->¦From a 2024\n¦~{ab~}",
    ),
    "md": Kind(
        "1. ¦* ¦- 1. ¦> ¦>¦# a\n¦a\n=\n¦***\n¦*¦**¦_a ¦*a*¦**a *b ¦c* d** ¦`¦``a¦\\¦\\[¦[¦]¦](¦"
        "[a](b)¦[a]: b\n¦![a](¦<¦<a>¦<div>¦</div>¦<!--¦<!-- a -->¦<b><!---->¦<?¦&amp;¦<a@b>¦|¦"
        '|a|\n|-|\n¦```\n¦    a\n\n¦  \n¦a\n\n¦* a\n    b\n¦> a\n\n¦-\t¦(¦"¦<p>¦<table><tr><td>¦'
        "* > ",
    ),
    "csv": Kind(
        'a,b\n¦"¦"a¦a,¦",¦"a\n¦;¦|¦"a","b"\n¦\r¦""',
    ),
    "json": Kind(
        '[¦]¦{"a":¦}¦{"a":[¦[1,¦"¦\\"¦{"a":1}\n¦"a":1,¦// a\n¦null,¦-¦1e¦{"a":{"b":1,"c":¦[{"a":',
    ),
    "xml": Kind(
        '<a>¦</a>¦<a/>¦<a>t</a>¦<a ¦<a b="c">¦<a b="¦&lt;b&gt;¦&amp;¦<![CDATA[¦]]>¦<!--¦-->¦'
        "<?a?>¦&a;¦t<b></b>¦<a xmlns:b=\"c\">¦<!ENTITY a 'b'>",
        '<?xml version="1.0"?><r>',
        "</r>",
    ),
    "html": Kind(
        "<div>¦</div>¦<p>¦<b>¦</b>¦<table>¦<tr><td>a¦<table><tr><td>¦<ul><li>¦<h1>a¦<a ¦<¦<a b=¦"
        '<a b="¦&lt;¦<!--¦-->¦<script>¦<style>¦<select>¦<dl><dt>¦<pre>a¦<nav>¦<nav>a¦'
        "<section><header>¦<table>a¦<form>a¦<td rowspan=9>a¦<b><table>¦<q>¦"
        "<div class=nav><a>b</a>¦<math>¦<svg>¦<template>¦<noscript>¦<br>a¦<del>a",
        "<!doctype html><html><body>",
    ),
    "eml": Kind(
        "a\n¦--b\n¦--b--\n¦--b\nContent-Type: text/plain\n\na\n¦=\n¦=3D¦> ¦<p>¦X: a\n¦\n¦"
        "--b\nContent-Type: multipart/mixed; boundary=b\n\n¦"
        "--b\nContent-Type: message/rfc822\n\n¦begin 644 a\n",
        "From: a@b\nTo: c@d\nSubject: e\nMIME-Version: 1.0\n"
        "Content-Type: multipart/mixed; boundary=b\n\n",
    ),
    "ics": Kind(
        'BEGIN:VEVENT\n¦END:VEVENT\n¦SUMMARY:a\n¦\n ¦;¦A;B="c¦ATTENDEE;CN=a:b\n¦\\n¦\\¦'
        "DESCRIPTION:a\\n\\n¦BEGIN:VALARM\n¦A;B=C:d\n",
        "BEGIN:VCALENDAR\nBEGIN:VEVENT\n",
    ),
    "rtf": Kind(
        "{¦}¦\\¦\\*¦{\\*¦\\par ¦a¦\\cell ¦\\row ¦\\cellx1¦\\clvmrg\\cellx1\\intbl \\cell¦"
        "{\\footnote a¦{\\header a}¦\\'¦\\u1 ?¦\\u55357¦\\bin1 ¦{\\fonttbl¦{\\pntext a¦\\f1¦"
        "{\\stylesheet¦\\uc9¦{\\upr a{\\*\\ud b}}¦{\\title a¦\\pard\\intbl a\\cell¦"
        "{\\field{\\fldrslt",
        "{\\rtf1 ",
        "}",
    ),
}


@dataclass(frozen=True)
class Hostile:
    """A text of any length: marks repeated, nested in others, or both in turns."""

    kind: str
    openings: tuple[str, ...]
    closings: tuple[str, ...] = ()

    def text(self, length: int) -> bytes:
        """A text of about that many characters."""
        opening, closing = "".join(self.openings), "".join(self.closings)
        times = max(1, length // len(opening + closing))
        kind = KINDS[self.kind]
        return f"{kind.before}{opening * times}{closing * times}{kind.after}".encode()


@st.composite
def hostile_texts(draw: st.DrawFn) -> Hostile:
    kind = draw(st.sampled_from(sorted(KINDS)))
    marks = st.sampled_from(KINDS[kind].marks)
    return Hostile(
        kind,
        tuple(draw(st.lists(marks, min_size=1, max_size=3))),
        tuple(draw(st.lists(marks, max_size=2))),
    )


def read(data: bytes, name: str) -> list[Chunk]:
    """The chunks of a text, as a child makes them. Raises JobError."""
    kind, reading = open_reading(Source(io.BytesIO(data), name))
    parts = chunked(reading.parts, RULES, "", media_type=kind, last=True)
    return [part for part in parts if isinstance(part, Chunk)]


def seconds(data: bytes, name: str) -> float:
    """CPU seconds. Only a text without anything to show, or that is too deep, may be refused."""
    refused = None
    began = time.process_time()
    try:
        read(data, name)
    except JobError as error:
        refused = error
    spent = time.process_time() - began
    assert refused is None or refused.code == "empty_document" or is_too_deep(refused, name)
    return spent


def is_too_deep(error: JobError, name: str) -> bool:
    """Whether JSON or XML was refused for its depth."""
    return name in ("a.json", "a.xml") and error.args == ("corrupt", TOO_DEEP)


def is_out_of_proportion(hostile: Hostile, length: int) -> bool:
    """Whether double the length takes more than about double the time: least of two runs."""
    name = f"a.{hostile.kind}"
    once, twice = hostile.text(length), hostile.text(2 * length)
    runs = [(seconds(once, name), seconds(twice, name)) for _ in range(2)]
    short, long = min(run[0] for run in runs), min(run[1] for run in runs)
    return long > 2 * MARGIN * short + SHORT_SECONDS / 2


def judge(hostile: Hostile) -> None:
    """Find a length that takes long enough to compare, and compare."""
    length = FIRST
    while seconds(hostile.text(length), f"a.{hostile.kind}") < SHORT_SECONDS and length < LONGEST:
        length *= 2
    assert not all(is_out_of_proportion(hostile, length << step) for step in range(STEPS)), length


@settings(deadline=None, max_examples=40)
@example(Hostile("md", ("1. ",)))
@example(Hostile("md", ("\\[",)))
@example(Hostile("md", ("*a*",)))
@example(Hostile("md", ("***\n",)))
@example(Hostile("md", ("<b><!---->",)))
@example(Hostile("md", ("a\n=\n", "<table><tr><td>", "</div>")))
@example(Hostile("rtf", ("\\*",)))
@example(Hostile("xml", ("<a>",), ("</a>",)))
@example(Hostile("json", ("[",), ("]",)))
@given(hostile_texts())
def test_time_grows_with_the_text_and_no_text_is_damaged(hostile: Hostile) -> None:
    judge(hostile)


def words(data: bytes, name: str) -> set[str]:
    """The words q1z and so on that are found in a text."""
    return set(re.findall(r"q\d+z", "\n".join(chunk.embedded_text for chunk in read(data, name))))


def test_a_mail_of_mails_is_read_however_deep() -> None:
    part = "Content-Type: multipart/mixed; boundary=b{0}\n\n--b{0}\n"
    parts = "".join(map(part.format, range(2_000)))
    head = "From: a@b\nTo: c@d\nSubject: e\nMIME-Version: 1.0\n"
    assert words(f"{head}{parts}\n\nq1z\n".encode(), "a.eml") == {"q1z"}


#: Marks that hide nothing, of any number and in any order.
SHOWN: Final = {
    "md": ("1. ¦* ¦- ¦> ¦# ¦\n¦\n\n¦    ¦***\n¦*¦**¦_¦`¦\\[¦<div>¦</div>¦<b>¦|¦[¦]"),
    "html": ("<div>¦</div>¦<p>¦<b>¦</b>¦<q>¦<h1>¦<pre>¦<ul><li>¦<sub>¦<ins>¦<code>¦<x-a>"),
    "json": ('[¦]¦{"a":¦}¦1,¦\n¦,'),
    "xml": ("<a>¦</a>¦<a/>¦<b>¦</b>¦&amp;¦]]>¦&a;"),
    "rtf": ("{¦}¦\\par ¦\\cell ¦\\row ¦\\pard ¦\\intbl ¦\\b ¦{\\footnote ¦\\f1 ¦\\tab "),
    "txt": ("1. ¦* ¦> ¦# ¦\n¦\n\n¦    ¦*¦[¦]¦<b>¦\x0c¦\r¦{¦}¦\\"),
}


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_no_word_is_lost_however_often_marks_are_repeated(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(SHOWN)))
    marks = st.sampled_from(SHOWN[name].split("¦"))
    times = st.sampled_from([1, 2, 30, 400, 3_000])
    pieces = data.draw(st.lists(st.builds(mul, marks, times), min_size=1, max_size=4))
    body = "".join(f"{piece} q{number}z " for number, piece in enumerate(pieces))
    kind = KINDS[name]
    text = f"{kind.before}q99z {body}{kind.after}"
    try:
        found = words(text.encode(), f"a.{name}")
    except JobError as error:
        if not is_too_deep(error, f"a.{name}"):
            raise
        return
    assert found == {"q99z", *(f"q{number}z" for number in range(len(pieces)))}
