"""Counts tokens as the embedding model does, and cuts text into pieces of limited size.

The count is exact for OpenAI's models and the local model, whose vocabularies docmill includes. For
other models OpenAI's vocabulary is an approximation.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from docmill.worker.extraction.child.graphemes import before_grapheme
from docmill.worker.models import OPENAI_COUNTER
from docmill.worker.vocabularies import openai_encoding, wordllama_tokenizer

if TYPE_CHECKING:
    from numpy.typing import NDArray


class TokenCounter(Protocol):
    """A vocabulary. For any text, the time of each method grows as n log n at worst."""

    def count(self, text: str) -> int:
        """Number of tokens of a text by itself. Its parts may together have more or less."""

    def ends(self, text: str) -> "NDArray[np.int64]":
        """For each token, how many characters of the text are complete after it."""


class OpenAICounter:
    """Counts as text-embedding-3-small and -large do."""

    def __init__(self) -> None:
        self._encoding = openai_encoding()
        values = self._encoding.token_byte_values()
        self._bytes = np.zeros(self._encoding.n_vocab, np.int64)
        for value in values:
            self._bytes[self._encoding.encode_single_token(value)] = len(value)

    def count(self, text: str) -> int:
        """Number of tokens."""
        return len(self._encoding.encode_ordinary(text))

    def ends(self, text: str) -> "NDArray[np.int64]":
        """For each token, how many characters are complete after it; it may end within one."""
        tokens = np.asarray(self._encoding.encode_ordinary(text), np.int64)
        data = np.frombuffer(text.encode(), np.uint8)
        begins = np.cumsum((data & 0xC0) != 0x80)
        last = np.cumsum(self._bytes[tokens])  # one past the token's last byte
        complete = np.append(begins, len(text) + 1)[last] - 1
        return np.asarray(complete, np.int64)


class LocalCounter:
    """Counts as the local model does."""

    def __init__(self) -> None:
        self._tokenizer = wordllama_tokenizer()

    def count(self, text: str) -> int:
        """Number of tokens."""
        return len(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def ends(self, text: str) -> "NDArray[np.int64]":
        """For each token, where it ends."""
        offsets = self._tokenizer.encode(text, add_special_tokens=False).offsets
        return np.maximum.accumulate(np.array([end for _, end in offsets], np.int64))


#: By the name that providers and chunking rules have for it.
COUNTERS: Final[Mapping[str, Callable[[], TokenCounter]]] = {
    OPENAI_COUNTER: OpenAICounter,
    "local": LocalCounter,
}


@lru_cache(maxsize=len(COUNTERS))
def counter_for(name: str) -> TokenCounter:
    """What counts under this name. Safe to use from several threads."""
    return COUNTERS[name]()


_BLANK: Final = re.compile(r"\s*")
_BLANK_LINES: Final = re.compile(r"(?:[^\S\n]*\n)*")
_SENTENCE_END: Final = re.compile(
    "[.!?\u2026\u061f\u0964][\"'\u201d\u2019\u00bb)\\]]*(?=\\s)|[\u3002\uff01\uff1f][\u300d\u300f\u201d\u2019\uff09]*"
)
#: After this many tries to meet a size, further tries halve it, so the work for a piece is bounded.
_TRIES: Final = 3


def split(
    text: str, counter: TokenCounter, limit: int, *, keeps_lines: bool = False
) -> Iterator[tuple[int, str]]:
    """Pieces of at most `limit` tokens, with their character offsets, without outer white space.

    `keeps_lines` keeps the indentation of lines. Every character except white space is in exactly
    one piece. The whole text is encoded once, and each piece once or a few times more, so the work
    grows linearly with the length of the text.
    """
    ends = counter.ends(text)
    begin = _BLANK_LINES if keeps_lines else _BLANK
    start = _after(begin, text, 0)
    while start < len(text):
        end, piece = _piece(text, start, ends, counter, limit)
        if piece:
            yield start, piece
        # Only the beginning of a line has indentation.
        start = _after(begin if text[end - 1] == "\n" else _BLANK, text, end)


def _after(blank: re.Pattern[str], text: str, start: int) -> int:
    found = blank.match(text, start)
    return found.end() if found else start


def _piece(
    text: str, start: int, ends: "NDArray[np.int64]", counter: TokenCounter, limit: int
) -> tuple[int, str]:
    """The end and the text of the piece that begins at `start`."""
    first = int(np.searchsorted(ends, start, side="right"))
    budget, tries = limit, 0
    while True:
        last = first + budget - 1
        furthest = int(ends[last]) if last < len(ends) else len(text)
        end = _end_before(text, start, max(furthest, start + 1))
        piece = text[start:end].rstrip()
        # A cut may change the tokens around it, so the piece itself is counted.
        excess = counter.count(piece) - limit
        if excess <= 0 or end - start == 1:
            return end, piece
        tries += 1
        budget = max(1, budget - excess if tries <= _TRIES else budget // 2)


def _end_before(text: str, start: int, furthest: int) -> int:
    """The best place to cut in this range: after a paragraph, line, sentence, word or character.

    For better places it looks further back, but not so far that the piece becomes much shorter than
    necessary.
    """
    if furthest >= len(text):
        return len(text)
    half = start + (furthest - start) // 2
    for sign in ("\n\n", "\n"):
        found = text.rfind(sign, half, furthest + 1)
        if found > start:
            return found + len(sign)
    sentences = list(_SENTENCE_END.finditer(text, half, furthest))
    if sentences and sentences[-1].end() > start:
        return sentences[-1].end()
    late = text[start + (furthest - start) // 4 : furthest]
    if late[-1:].isspace() or text[furthest].isspace():
        return furthest
    word = late.rsplit(None, 1)[-1:]
    if word and len(word[0]) < len(late):
        return furthest - len(word[0])
    place = before_grapheme(text, furthest)
    return place if place > start else furthest
