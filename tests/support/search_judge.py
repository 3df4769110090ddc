"""What docs/retrieval.md promises, as a full scan in Python over the passages a caller may read.

It knows nothing of the schema. Snowball's stems are PostgreSQL's and are given to it; all other
rules are written here again. It scores queries without phrases; of others it says what is found.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final
from urllib.parse import quote

import numpy as np

from tests.support import words

Stem = Callable[[str, str], str | None]

#: Some stop words of two languages, enough for texts made of them.
STOP_WORDS: Final = {"english": ("the", "of", "is", "with"), "german": ("und", "nicht", "mit")}
_QUOTES: Final = dict.fromkeys(map(ord, "„“”«»"), '"')
#: What ts_rank divides by: the sum of 1/n².
_ALL_PLACES: Final = 1.64493406685


@dataclass(frozen=True)
class Passage:
    """A chunk of a document."""

    content: str
    headings: tuple[str, ...] = ()


@dataclass
class Document:
    """A document, as its owner, its place and its passages say."""

    owner: str | None
    access: str
    bucket: str
    name: str
    title: str | None
    metadata: Mapping[str, Any]
    day: int
    passages: Sequence[Passage]
    is_withdrawn: bool = False
    id: Any = None
    ids: Sequence[Any] = ()
    vectors: Sequence[Any] = ()

    @property
    def called(self) -> str:
        """Its title, or the name of its file."""
        return self.title or self.name.rpartition("/")[2]

    def is_for(self, caller: str) -> bool:
        """Whether the caller may read it. `open/` is what Storage's policy shows to others."""
        if self.is_withdrawn:
            return False
        is_shared = self.access == "inherit" and self.name.startswith("open/")
        return caller in {"service_role", self.owner} or (is_shared and caller != "mallory")


@dataclass(frozen=True)
class Term:
    """A word as written or by a stem, a beginning, or a code; `phrase`: words in a row."""

    forms: frozenset[str] = frozenset()
    is_beginning: bool = False
    phrase: tuple[str, ...] = ()
    is_common: bool = False

    def matches(self, word: str) -> bool:
        return any(
            word.startswith(form) if self.is_beginning else word == form for form in self.forms
        )


@dataclass
class Query:
    """What a query looks for, requires, and leaves out."""

    terms: list[Term] = field(default_factory=list)
    required: list[Term] = field(default_factory=list)
    left_out: list[Term] = field(default_factory=list)

    @property
    def has_phrase(self) -> bool:
        return any(term.phrase for term in self.terms)


def parts(query: str) -> Iterable[tuple[str, str]]:
    """The parts of a query: "phrase", "-phrase", "-word" or "word", with their texts."""
    text = query.translate(_QUOTES)
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        minus = text[at : at + 2] == '-"'
        if minus or text[at] == '"':
            start = at + 1 + minus
            end = text.find('"', start)
            end = len(text) if end < 0 else end
            yield ("-phrase" if minus else "phrase"), text[start:end]
            at = end + 1
            continue
        end = at
        while end < len(text) and not text[end].isspace() and text[end] != '"':
            end += 1
        word = text[at:end]
        is_first = at == 0 or text[at - 1].isspace()
        if is_first and word[0] == "-" and len(word) > 1 and word[1] not in "-0123456789":
            yield "-word", word[1:]
        else:
            yield "word", word
        at = end


def phrase_of(text: str, *, is_beginning: bool = False) -> Term | None:
    """The words of a phrase. A run of letters without spaces may go on in the text."""
    found = words.words(text)
    if not found:
        return None
    last = found[-1]
    if len(last) == 1 and words.is_paired(last):
        if len(found) > 1 and len(found[-2]) == 2 and found[-2][-1] == last:
            found.pop()
        else:
            is_beginning = True
    return Term(phrase=tuple(found), is_beginning=is_beginning)


def query_of(query: str, languages: Iterable[str], stem: Stem) -> Query:
    """Reads a query; the languages are those of the caller's passages."""
    made = Query()
    for kind, text in parts(query):
        if kind != "word":
            is_beginning = kind == "-word" and text.endswith("*")
            term = phrase_of(text, is_beginning=is_beginning)
            if term is not None and kind == "phrase":
                made.terms.append(term)
                made.required.append(term)
            elif term is not None:
                made.left_out.append(term)
            continue
        made.terms += [Term(frozenset([code])) for code in sorted(words.codes(text))]
        asked = words.words(text)
        for place, word in enumerate(asked):
            is_letter = len(word) == 1 and words.is_paired(word)
            if is_letter and place and len(asked[place - 1]) == 2 and asked[place - 1][1] == word:
                continue
            stems = [] if is_letter else [stem(language, word) for language in languages]
            # A word is looked up in each language, so a beginning may be a stop word as well.
            is_common = None in stems
            if text.endswith("*") and place == len(asked) - 1:
                made.terms.append(Term(frozenset([word]), True, is_common=is_common))
            else:
                forms = frozenset([word, *filter(None, stems)])
                made.terms.append(Term(forms, is_letter, is_common=is_common))
    unique: dict[Any, Term] = {}
    for term in made.terms:
        unique.setdefault(replace(term, is_common=False), term)
    made.terms = list(unique.values())
    return made


def language_of(content: str) -> str:
    """The language of most stop words; the first by name if several have as many."""
    count = Counter(
        language
        for word in words.words(content)
        for language, listed in STOP_WORDS.items()
        if word in listed
    )
    return min(count, key=lambda language: (-count[language], language)) if count else ""


class Row:
    """A passage that a caller may read, with its words."""

    def __init__(self, document: Document, place: int, stem: Stem) -> None:
        self.document, self.place = document, place
        self.id = document.ids[place]
        self.vector = document.vectors[place]
        passage = document.passages[place]
        self.language = language_of(passage.content)
        called = document.called if place == 0 else None
        headings = " | ".join(one for one in passage.headings if one != called)
        #: Where each word stands, and its weight there.
        self.places: dict[str, dict[int, float]] = {}
        self.text: list[set[str]] = []
        #: The same of the title of its document.
        self.title = forms_of(document.called, language_of(document.passages[0].content), stem)
        before = 0
        for text, weight in ((called or "", 1.0), (headings, 1.0), (passage.content, 0.5)):
            found = words.words(text)
            self.text += forms_of(text, self.language, stem)
            for at, word in enumerate(found, 1):
                self._add(word, before + at, weight)
                if self.language and (stemmed := stem(self.language, word)):
                    self._add(stemmed, before + at, weight)
            codes = words.codes(text)
            for code in codes:
                self._add(code, before + 1, weight)
            before += max(len(found), bool(codes))

    def _add(self, word: str, at: int, weight: float) -> None:
        self.places.setdefault(word, {})[at] = weight

    def has(self, term: Term) -> bool:
        """Whether the passage, with its title if it is the first, has a term."""
        return any(map(term.matches, self.places)) if term.forms else stands_in(term, self.text)

    def satisfies(self, query: Query) -> bool:
        """Whether it, or the title of its document, has what is required, and nothing left out."""

        def holds(term: Term) -> bool:
            return stands_in(term, self.text) or stands_in(term, self.title)

        return all(map(holds, query.required)) and not any(map(holds, query.left_out))

    def rank(self, term: Term) -> float:
        """How much of the passage a term makes up, as ts_rank says."""
        score = 0.0
        for word, places in self.places.items():
            if not term.matches(word):
                continue
            weights = [weight for _, weight in sorted(places.items())]
            each = [weight / (at + 1) ** 2 for at, weight in enumerate(weights)]
            most = max(range(len(weights)), key=lambda at: (weights[at], -at))
            score += (weights[most] + sum(each) - each[most]) / _ALL_PLACES
        length = sum(map(len, self.places.values())) + (self.document.owner is not None)
        return score / len(term.forms) / math.log2(length + 1)


def forms_of(text: str, language: str, stem: Stem) -> list[set[str]]:
    """Each word of a text, with its stem."""
    return [
        {word, (stem(language, word) if language else None) or word} for word in words.words(text)
    ]


def stands_in(term: Term, text: Sequence[set[str]]) -> bool:
    """Whether the words of a phrase stand one after another in a text."""
    *before, last = term.phrase
    for start in range(len(text) - len(before)):
        here = text[start : start + len(before) + 1]
        if all(word in forms for word, forms in zip(before, here, strict=False)) and any(
            form.startswith(last) if term.is_beginning else form == last for form in here[-1]
        ):
            return True
    return False


@dataclass(frozen=True)
class Hit:
    """A hit with its scores; they are None for a query with phrases."""

    row: Row
    vector: float
    text: float | None

    def score(self, weights: tuple[float, float]) -> float:
        assert self.text is not None
        return (self.vector * weights[0] + self.text * weights[1]) / sum(weights)


class Judge:
    """What one caller finds in a library."""

    def __init__(self, library: Sequence[Document], caller: str, stem: Stem) -> None:
        self.stem = stem
        self.rows = [
            Row(document, place, stem)
            for document in library
            if document.is_for(caller)
            for place in range(len(document.passages))
        ]
        # Words are known in the languages of withdrawn passages too, until they are removed.
        self.languages = sorted(
            {row.language for row in self.rows}
            | {
                language_of(passage.content)
                for document in library
                if document.is_withdrawn and caller in {document.owner, "service_role"}
                for passage in document.passages
            }
            - {""}
        )
        self.languages = [language for language in self.languages if language]

    def by_words(
        self, text: str, fits: Callable[[Document], bool]
    ) -> tuple[Query, dict[Row, float | None]]:
        """The passages that the words find, with their scores."""
        query = query_of(text, self.languages, self.stem)
        found = [
            row
            for row in self.rows
            if fits(row.document) and row.satisfies(query) and any(map(row.has, query.terms))
        ]
        if query.has_phrase:
            return query, dict.fromkeys(found)
        weights = []
        for term in query.terms:
            holding = sum(row.has(term) for row in self.rows)
            rarity = math.log(1 + (len(self.rows) - holding + 0.5) / (holding + 0.5))
            weights.append(rarity * (0.1 if term.is_common else 1))
        return query, {
            row: sum(
                weight * row.rank(term)
                for term, weight in zip(query.terms, weights, strict=True)
                if row.has(term)
            )
            for row in found
        }

    def search(
        self,
        text: str,
        vector: Any = None,
        *,
        fits: Callable[[Document], bool] = lambda _: True,
        candidates: int = 50,
    ) -> list[Hit] | None:
        """All hits, in no order. None: near ties at the end of a list, so any may be in it."""
        query, by_words = self.by_words(text, fits)
        worded = scaled(by_words, candidates, is_from_zero=len(by_words) < candidates)
        by_vector: dict[Row, float | None] = {}
        if vector is not None:
            unit = vector / np.linalg.norm(vector)
            by_vector = {
                row: float(row.vector @ unit)
                for row in self.rows
                if fits(row.document) and row.satisfies(query)
            }
        near = scaled(by_vector, candidates, is_from_zero=False)
        if worded is None or near is None:
            return None
        return [Hit(row, near.get(row) or 0.0, worded.get(row, 0.0)) for row in {**worded, **near}]


def similar(library: Sequence[Document], caller: str, document: Document) -> dict[Any, float]:
    """How similar the other documents that the caller may read are to a document."""
    if not document.is_for(caller):
        return {}
    count = len(document.vectors)
    passages = [document.vectors[place] for place in sorted({n * count // 8 for n in range(8)})]
    return {
        other.id: sum(max(0.0, *(float(one @ far) for far in other.vectors)) for one in passages)
        / len(passages)
        for other in library
        if other is not document and other.is_for(caller)
    }


def metadata_of(document: Document, passage: Passage) -> dict[str, Any]:
    """What match_documents says of a passage."""
    place = f"{document.bucket}/{document.name}"
    said = {
        **document.metadata,
        "document_id": str(document.id),
        "bucket_id": document.bucket,
        "object_name": document.name,
        "file_name": document.name.rpartition("/")[2],
        "url": "/storage/v1/object/authenticated/" + quote(place),
        "headings": [*passage.headings],
    }
    return said | ({"title": document.title} if document.title is not None else {})


def contains(held: Any, wanted: Any) -> bool:
    """Containment of JSON: of objects by name, of lists by value, in any order."""
    if isinstance(wanted, dict):
        return isinstance(held, dict) and all(
            name in held and contains(held[name], one) for name, one in wanted.items()
        )
    if isinstance(wanted, list):
        return isinstance(held, list) and all(
            any(contains(other, one) for other in held) for one in wanted
        )
    return type(held) is type(wanted) and bool(held == wanted)


def scaled(
    scores: Mapping[Row, float | None], most: int, *, is_from_zero: bool
) -> dict[Row, float | None] | None:
    """The best of a list with scores from 0 to 1; None if the last is not clearly better."""
    if len(scores) > most and None in scores.values():
        return None
    if None in scores.values() or not scores:
        return dict(scores)
    order = sorted(scores, key=lambda row: -(scores[row] or 0))
    kept = {row: scores[row] or 0.0 for row in order[:most]}
    if len(order) > most and min(kept.values()) - (scores[order[most]] or 0) < 1e-3:
        return None
    least, best = (0.0 if is_from_zero else min(kept.values())), max(kept.values())
    return {
        row: (one - least) / (best - least) if best > least else 1.0 for row, one in kept.items()
    }
