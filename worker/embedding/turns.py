"""The texts that wait, and which of them make up the next request.

Each text takes a share of a request: of its tokens or of its places, whichever is larger. The owner
who had least of the requests so far goes first and takes a part of one; then the next one does. A
small document is taken whole, or is left for the next request. Not thread-safe.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from typing import Final

from docmill.worker.embedding.submission import Item

#: A document that takes no more of a request than this is small, and one turn takes this at least.
SMALL: Final = 1 / 16
_ROUNDING: Final = 1e-9


@dataclass
class _Owner:
    had: float  #: how many requests' worth
    turn: int  #: grows with each owner who comes: the first of equals
    documents: deque[deque[Item]] = field(default_factory=deque)


@dataclass
class _Request:
    """What is in a request so far."""

    max_texts: int
    max_tokens: int
    items: list[Item] = field(default_factory=list)
    tokens: int = 0

    def fits(self, texts: int, tokens: int) -> bool:
        if not self.items:
            return True
        return len(self.items) + texts <= self.max_texts and self.tokens + tokens <= self.max_tokens

    def is_full(self) -> bool:
        return len(self.items) >= self.max_texts or self.tokens >= self.max_tokens


class Turns:
    """Texts by owner."""

    def __init__(self, *, max_texts: int, max_tokens: int) -> None:
        self._max_texts = max_texts
        self._max_tokens = max_tokens
        self._owners: dict[str, _Owner] = {}
        self._had = 0.0  # what the owner of the last turn had before it
        self._came = 0
        self.texts = 0
        self.tokens = 0

    def add(self, items: Sequence[Item]) -> None:
        """The texts of a submission come."""
        owner = self._owner(items[0].owner)
        owner.documents.append(deque(items))
        self._count(items, 1)

    def put_back(self, items: Iterable[Item]) -> None:
        """Texts of a request that came to nothing wait again, before those that came later."""
        back = list(items)
        for item in reversed(back):
            documents = self._owner(item.owner).documents
            if documents and documents[0][0].submission is item.submission:
                documents[0].appendleft(item)
            else:
                documents.appendleft(deque([item]))
        self._count(back, 1)

    def heads(self) -> Iterator[Item]:
        """Of each owner the text that has waited longest."""
        for owner in self._owners.values():
            yield owner.documents[0][0]

    def is_full(self) -> bool:
        """Whether there is enough for a full request."""
        return self.texts >= self._max_texts or self.tokens >= self._max_tokens

    def take(self, *, apart: Iterable[str] = (), max_tokens: int | None = None) -> list[Item]:
        """Take out the texts of the next request.

        Owners in `apart` share none with others. May be empty: texts of withdrawn submissions are
        passed over.
        """
        request = _Request(self._max_texts, min(self._max_tokens, max_tokens or self._max_tokens))
        line = self._line(set(apart))
        part = max(SMALL, 1 / len(line)) if line else 1.0
        while line and not request.is_full():
            had, turn, name = heappop(line)
            owner = self._owners[name]
            self._had = had
            taken = self._take_turn(owner, request, part)
            if not owner.documents:
                del self._owners[name]
            elif taken:
                heappush(line, (owner.had, turn, name))
            if request.items and request.items[-1].alone:
                break
        return request.items

    def _line(self, apart: set[str]) -> list[tuple[float, int, str]]:
        """Those who may share the next request, as a heap."""
        line = [(owner.had, owner.turn, name) for name, owner in self._owners.items()]
        heapify(line)
        if line and line[0][2] in apart:
            return [line[0]]
        line = [each for each in line if each[2] not in apart]
        heapify(line)
        return line

    def _take_turn(self, owner: _Owner, request: _Request, part: float) -> bool:
        """Move a part of a request, or the rest of one document. False: nothing fits."""
        document = owner.documents[0]
        if self._pass_over_withdrawn(owner, document):
            return True
        if document[0].alone and request.items:
            return False
        tokens = sum(item.tokens for item in document)
        is_small = self._share(len(document), tokens) <= SMALL + _ROUNDING
        if is_small and not request.fits(len(document), tokens):
            return False
        taken = 0.0
        while document and request.fits(1, document[0].tokens) and not request.is_full():
            share = self._share(1, document[0].tokens)
            if taken and taken + share > part + _ROUNDING:
                break
            taken += share
            self._move(document, request)
            if request.items[-1].alone:
                break
        owner.had += taken
        if not document:
            owner.documents.popleft()
        return bool(taken)

    def _pass_over_withdrawn(self, owner: _Owner, document: deque[Item]) -> bool:
        if not document[0].submission.is_withdrawn():
            return False
        self._count(document, -1)
        owner.documents.popleft()
        return True

    def _move(self, document: deque[Item], request: _Request) -> None:
        item = document.popleft()
        self._count([item], -1)
        request.items.append(item)
        request.tokens += item.tokens

    def _share(self, texts: int, tokens: int) -> float:
        return max(texts / self._max_texts, tokens / self._max_tokens)

    def _owner(self, name: str) -> _Owner:
        if name not in self._owners:
            self._came += 1
            self._owners[name] = _Owner(self._had, self._came)
        return self._owners[name]

    def _count(self, items: Iterable[Item], sign: int) -> None:
        for item in items:
            self.texts += sign
            self.tokens += sign * item.tokens
