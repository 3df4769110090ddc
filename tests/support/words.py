"""The words of a text and the hits of a query, found without the schema's code: an oracle."""

import math
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

#: First and last letter of scripts that put no space between words.
_PAIRED = (
    *(("\u0e01", "\u0e4e"), ("\u3005", "\u3007"), ("\u3041", "\u3096"), ("\u30a1", "\u30fa")),
    *(("\u30fc", "\u30ff"), ("\u3400", "\u4dbf"), ("\u4e00", "\u9fff"), ("\uac00", "\ud7a3")),
)
#: Characters that join the parts of a code.
_JOINERS = "-/._@+:#&"


def is_paired(letter: str) -> bool:
    """Whether the letter's script puts no space between words."""
    return any(first <= letter <= last for first, last in _PAIRED)


def _is_of_word(letter: str) -> bool:
    return unicodedata.category(letter)[0] in "LNM"


def normal(text: str) -> str:
    """One form of each letter, in lower case."""
    return unicodedata.normalize("NFKC", text.replace("\u00ad", "")).lower()


def words(text: str) -> list[str]:
    """Runs of letters, digits and marks; for scripts without spaces, pairs and the last letter."""
    found: list[str] = []
    run = ""
    for letter in [*normal(text), " "]:
        kind = "pairs" if is_paired(letter) else "word" if _is_of_word(letter) else ""
        if run and (not kind or is_paired(run[0]) != (kind == "pairs")):
            found.extend(_of_run(run))
            run = ""
        if kind:
            run += letter
    return found


def _of_run(run: str) -> list[str]:
    if is_paired(run[0]):
        return [run[place : place + 2] for place in range(len(run))]
    return [run[:64]]


def codes(text: str) -> set[str]:
    """Codes such as `AB-12`: text with a joining character and no spaces, up to 64 letters."""
    found = set()
    spaced = "".join(
        letter if (_is_of_word(letter) and not is_paired(letter)) or letter in _JOINERS else " "
        for letter in normal(text)
    )
    for written in spaced.split():
        code = written.strip(_JOINERS)
        if len(code) <= 64 and any(joiner in code for joiner in _JOINERS):
            found.add(code)
    return found


def asked(query: str) -> list[str]:
    """The words of a query; the last letter of a run counts only if it is the whole run."""
    found: list[str] = []
    for word in words(query):
        is_rest = len(word) == 1 and is_paired(word) and found and found[-1][-1:] == word
        if not (is_rest and len(found[-1]) == 2 and is_paired(found[-1][0])):
            found.append(word)
    return list(dict.fromkeys(found))


def holds(text: str, word: str) -> bool:
    """Whether a text has a word, or a pair that begins with it."""
    if len(word) == 1 and is_paired(word):
        return any(other.startswith(word) for other in words(text))
    return word in words(text)


def scores(query: str, texts: Sequence[str]) -> dict[str, float]:
    """Texts that contain a word of the query, with their BM25 score by the rarity of the words.

    For texts of equal length in which no word occurs twice: then the rest of BM25 is the same.
    """
    wanted = asked(query)
    count = {word: sum(holds(text, word) for text in texts) for word in wanted}
    rarity: Mapping[str, float] = {
        word: math.log(1 + (len(texts) - held + 0.5) / (held + 0.5)) for word, held in count.items()
    }
    found = {
        text: sum(rarity[word] for word in wanted if holds(text, word))
        for text in dict.fromkeys(texts)
    }
    return {text: score for text, score in found.items() if score > 0}


def classes(score: Mapping[str, float]) -> list[set[str]]:
    """Texts in order of their score; texts of equal score are together."""
    order: dict[float, set[str]] = {}
    for text, value in score.items():
        order.setdefault(round(value, 4), set()).add(text)
    return [order[value] for value in sorted(order, reverse=True)]


def is_in_order(found: Iterable[str], expected: Sequence[set[str]]) -> bool:
    """Whether the texts come in the order of these groups, and all of them come."""
    left = list(found)
    for group in expected:
        if set(left[: len(group)]) != group:
            return False
        left = left[len(group) :]
    return not left
