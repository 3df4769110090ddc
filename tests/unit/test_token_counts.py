"""Chunks hold what they may, counted by another library than ours; the work grows with the text."""

import gzip
import hashlib
import random
import time
import unicodedata
from collections.abc import Callable, Iterable

import bpe_openai
import pytest
import tiktoken_ext.openai_public
from hypothesis import example, given, settings
from hypothesis import strategies as st

from docmill.worker import vocabularies
from docmill.worker.extraction.child.chunking.chunker import chunk_elements
from docmill.worker.extraction.child.chunking.tokens import (
    LocalCounter,
    OpenAICounter,
    TokenCounter,
    counter_for,
    split,
)
from docmill.worker.models import Chunk, Element

#: The oracle: a Rust library that shares neither code nor vocabulary file with tiktoken.
ORACLE = bpe_openai.get_encoding("cl100k_base")
OURS = OpenAICounter()
LOCAL = LocalCounter()
_DICE = random.Random(20)


def letters_of(*ranges: tuple[int, int]) -> str:
    return "".join(
        chr(point)
        for first, last in ranges
        for point in range(first, last)
        if unicodedata.category(chr(point)) != "Cs"
    )


#: Alphabets that hold what makes tokens odd: runs, blanks, marks, contractions, whole planes.
ALPHABETS = {
    "latin": letters_of((0x20, 0x7F)),
    "blanks": " \n\t\r\u00a0\u2003\u3000\u200b.a'",
    "cyrillic": letters_of((0x400, 0x500)) + " .",
    "han": letters_of((0x4E00, 0x5200)) + "。",
    "hangul": letters_of((0xAC00, 0xAE00)),
    "marks": "ae" + letters_of((0x300, 0x370)),
    "emoji": "👨\u200d👩🏽🇩🇪☕\ufe0f",
    "digits": "0123456789\u0660\u0661²½. ,",
    "everything": letters_of((0x20, 0xD800), (0xE000, 0x11000), (0x1F000, 0x20000)),
}
texts = st.sampled_from(sorted(ALPHABETS)).flatmap(
    lambda name: st.text(st.sampled_from(ALPHABETS[name]), max_size=400)
)
#: Long texts of few letters, which no language has.
MONSTERS = {
    "one letter": "a" * 20_000,
    "one Han letter": "的" * 20_000,
    "one mark": "e" + "\u0301" * 5_000,
    "one family": "👨‍👩‍👧" * 2_000,
    "blank": "x" + " " * 50_000 + "y",
    "lines": "x\n" * 10_000,
    "quotes": "'" * 20_000,
    "random letters": "".join(_DICE.choices("abcdefghijklmnopqrstuvwxyz", k=20_000)),
    "random planes": "".join(_DICE.choices(ALPHABETS["everything"], k=20_000)),
    "spelt-out special tokens": "<|endoftext|>" * 1_000,
}


def letters(text: str) -> str:
    return "".join(text.split())


@settings(max_examples=400, deadline=None)
@given(text=texts | st.lists(texts, max_size=4).map(" ".join))
@example(text="'\u017f x'\u017fy \u212a")  # letters that count as s and K where case is ignored
def test_our_count_is_that_of_another_library(text: str) -> None:
    assert OURS.count(text) == len(ORACLE.encode_ordinary(text))


@pytest.mark.parametrize("text", MONSTERS.values(), ids=MONSTERS.keys())
def test_our_count_of_what_no_language_has_is_that_of_another_library(text: str) -> None:
    assert OURS.count(text) == len(ORACLE.encode_ordinary(text))


def test_the_vocabulary_and_its_pattern_are_those_of_tiktoken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = {}

    def load(_url: str, expected_hash: str) -> dict[bytes, int]:
        expected["hash"] = expected_hash
        return {}

    monkeypatch.setattr(tiktoken_ext.openai_public, "load_tiktoken_bpe", load)
    description = tiktoken_ext.openai_public.cl100k_base()
    unpacked = gzip.decompress(vocabularies.OPENAI_FILE.read_bytes())
    assert hashlib.sha256(unpacked).hexdigest() == expected["hash"]
    assert description["pat_str"] == vocabularies._OPENAI_PATTERN


@settings(max_examples=200, deadline=None)
@given(text=texts)
@pytest.mark.parametrize("counter", [OURS, LOCAL], ids=["openai", "local"])
def test_tokens_end_where_the_text_before_is_complete(counter: TokenCounter, text: str) -> None:
    ends = counter.ends(text).tolist()
    assert len(ends) == counter.count(text)
    assert ends == sorted(ends)
    assert not ends or ends[-1] == len(text)


def begins_character(text: str, place: int) -> bool:
    return not (
        unicodedata.category(text[place]).startswith("M")
        or text[place] in "\u200d🏽🇩🇪"
        or text[place - 1] == "\u200d"
    )


@settings(max_examples=200, deadline=None)
@given(
    text=texts | st.lists(texts, min_size=2, max_size=5).map("\n".join), limit=st.integers(8, 60)
)
@pytest.mark.parametrize("local", [False, True], ids=["openai", "local"])
def test_pieces_fit_cover_the_text_and_are_cut_between_characters(
    local: bool, text: str, limit: int
) -> None:
    counter = counter_for("local" if local else "openai")
    count = LOCAL.count if local else lambda piece: len(ORACLE.encode_ordinary(piece))
    end = 0
    for offset, piece in split(text, counter, limit):
        assert text[offset : offset + len(piece)] == piece
        assert piece == piece.strip()
        assert count(piece) <= limit
        assert not text[end:offset].strip()
        if 0 < offset == end and not begins_character(text, offset):
            # Only what is too long to stay whole is torn.
            begin = offset - 1
            while begin and not begins_character(text, begin):
                begin -= 1
            after = offset + 1
            while after < len(text) and not begins_character(text, after):
                after += 1
            assert after - begin >= 64 or count(text[begin:after]) > limit // 2
        end = offset + len(piece)
    assert not text[end:].strip()


@pytest.mark.parametrize("local", [False, True], ids=["openai", "local"])
@pytest.mark.parametrize("text", MONSTERS.values(), ids=MONSTERS.keys())
def test_pieces_of_what_no_language_has_fit_and_cover_the_text(local: bool, text: str) -> None:
    counter = counter_for("local" if local else "openai")
    count = LOCAL.count if local else lambda piece: len(ORACLE.encode_ordinary(piece))
    pieces = [piece for _, piece in split(text, counter, 400)]
    assert letters("".join(pieces)) == letters(text)
    assert max(map(count, pieces)) <= 400


elements = st.builds(
    Element,
    category=st.sampled_from(["Title", "NarrativeText", "ListItem", "Table", "CodeSnippet"]),
    text=texts | st.lists(texts, max_size=6).map("\n".join),
    page=st.none() | st.integers(1, 9),
    depth=st.none() | st.integers(0, 8),
)


def chunks_of(made_of: Iterable[Element], max_tokens: int) -> list[Chunk]:
    return list(chunk_elements(made_of, OURS, max_tokens=max_tokens))


@settings(max_examples=120, deadline=None)
@given(document=st.lists(elements, max_size=10), max_tokens=st.integers(32, 120))
def test_no_chunk_has_more_tokens_than_it_may_headings_included(
    document: list[Element], max_tokens: int
) -> None:
    chunks = chunks_of(document, max_tokens)
    for chunk in chunks:
        counted = len(ORACLE.encode_ordinary(chunk.embedded_text))
        assert chunk.token_count == counted <= max_tokens
    if not any(element.category in ("Title", "Table") for element in document):
        content = letters("".join(chunk.content for chunk in chunks))
        assert content == letters("".join(element.text for element in document))


@pytest.mark.parametrize("heading", ["的" * 190, "word " * 39], ids=["Han", "English"])
def test_headings_too_long_for_a_chunk_are_content(heading: str) -> None:
    titles = [Element("Title", f"{number} {heading}", depth=number) for number in range(6)]
    body = Element("NarrativeText", "The body. " * 300)
    chunks = chunks_of([*titles, body], 400)
    assert max(len(ORACLE.encode_ordinary(chunk.embedded_text)) for chunk in chunks) <= 400
    told = letters("".join(chunk.embedded_text for chunk in chunks))
    assert all(letters(title.text) in told for title in titles)
    assert letters(body.text) in letters("".join(chunk.content for chunk in chunks))


def cpu_seconds(work: Callable[[], object]) -> float:
    began = time.thread_time()
    work()
    return time.thread_time() - began


@pytest.mark.parametrize("text", MONSTERS.values(), ids=MONSTERS.keys())
@pytest.mark.parametrize("counter", [OURS, LOCAL], ids=["openai", "local"])
def test_four_times_the_text_takes_no_more_than_eight_times_the_work(
    counter: TokenCounter, text: str
) -> None:
    def chunk(times: int) -> Callable[[], object]:
        document = [Element("NarrativeText", text * times)]
        return lambda: list(chunk_elements(document, counter, max_tokens=400))

    def grows_little() -> bool:
        # In turns, and the least of each: a busy machine adds to CPU time and takes nothing away.
        pairs = [(cpu_seconds(chunk(2)), cpu_seconds(chunk(8))) for _ in range(3)]
        short, long = (min(seconds) for seconds in zip(*pairs, strict=True))
        # Work that grows with the square takes 16 times as long.
        return bool(long <= 8 * short + 0.02)

    assert any(grows_little() for _ in range(4))
