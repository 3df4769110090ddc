"""Chunks that the embedding provider refuses: cut them, or set them aside.

A refused text may be too long for the provider; only a try can show this. So the text is cut into
parts, and the parts are requested. A text that is refused however short it is gets set aside: the
document becomes searchable without it, and says so.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from math import ceil
from typing import Final

from docmill.worker.errors import JobError
from docmill.worker.models import Chunk, Placed, SetAside

#: A text is halved this often, so it may be eight times too long.
SPLITS: Final = 3
#: Number of characters that no provider finds too long. Shorter texts are not cut.
SHORTEST_CUT: Final = 32
#: This many chunks of any document may be set aside, and this share of a long document.
MAX_SET_ASIDE: Final = 3
MAX_SHARE_SET_ASIDE: Final = 0.01

#: If more chunks are refused than may be set aside, this many are cut first, to see whether cutting
#: helps.
SAMPLE: Final = 4

#: A chunk under its hash.
Hashed = tuple[bytes, Chunk]


def allowed(chunks: int) -> int:
    """How many chunks of a document with this many chunks may be set aside."""
    return max(MAX_SET_ASIDE, int(chunks * MAX_SHARE_SET_ASIDE))


def halves(chunk: Chunk) -> list[Chunk]:
    """Two halves of a chunk, cut between words if possible; no parts if it is too short to cut.

    The token counts of the parts are estimated from their lengths, which is enough to fill
    requests.
    """
    text = chunk.content
    if len(text) < SHORTEST_CUT:
        return []
    cut = _cut(text)
    parts = [part for part in (text[:cut].strip(), text[cut:].strip()) if part]
    if len(parts) < 2:
        return []
    tokens = chunk.token_count / len(text)
    return [
        replace(chunk, content=part, token_count=max(1, ceil(tokens * len(part)))) for part in parts
    ]


def _cut(text: str) -> int:
    # The gap between words that is nearest the middle.
    middle = len(text) // 2
    gaps = (text.rfind(" ", 0, middle + 1), text.find(" ", middle))
    return min((gap for gap in gaps if gap > 0), key=lambda gap: abs(gap - middle), default=middle)


class Refusals:
    """The chunks of one document that were refused."""

    def __init__(
        self,
        *,
        name: Callable[[Chunk], bytes],
        embed: Callable[[Sequence[Hashed]], Sequence[Hashed]],
    ) -> None:
        """Begin with none.

        `name` makes the hash of a part. `embed` stages the parts that are accepted and returns the
        others.
        """
        self._name = name
        self._embed = embed
        self._waiting: list[Hashed] = []
        #: The parts of each chunk or part that was cut.
        self._parts: dict[bytes, list[bytes]] = {}
        #: Chunks and parts that were refused and cannot be cut any more.
        self._final: set[bytes] = set()
        self._lost = 0  # chunks of which at least a part is refused

    def __len__(self) -> int:
        """How many chunks wait to be cut."""
        return len(self._waiting)

    def add(self, refused: Sequence[Hashed]) -> None:
        """Add refused chunks."""
        self._waiting += refused

    def settle(self, bound: int) -> None:
        """Cut the waiting chunks, and set aside the parts that are still refused.

        Raises JobError `embedding_rejected` if more than `bound` chunks are lost. Most chunks of a
        document may be too long for its provider; then cutting helps them all.
        """
        waiting, self._waiting = self._waiting, []
        sample = SAMPLE if len(waiting) > bound else 0
        self._cut(waiting[:sample])
        helps = not sample or self._lost < sample
        for start in range(sample, len(waiting), SAMPLE):
            if not helps or self._lost > bound:
                break
            self._cut(waiting[start : start + SAMPLE])
        if not helps or self._lost > bound:
            raise JobError("embedding_rejected", f"{len(waiting)} chunks")

    def outcome(self, placed: Sequence[Placed]) -> tuple[list[Placed], list[SetAside]]:
        """The chunks of a document to publish, and those to set aside, in reading order."""
        return sort_out(placed, self._parts, self._final)

    def _cut(self, chunks: Sequence[Hashed]) -> None:
        left = list(chunks)
        for _ in range(SPLITS):
            parts = []
            for digest, chunk in left:
                made = [(self._name(part), part) for part in halves(chunk)]
                self._parts[digest] = [part_digest for part_digest, _part in made]
                parts += made
                if not made:
                    self._final.add(digest)
            left = list(self._embed(parts))
        self._final.update(digest for digest, _chunk in left)
        placed = [Placed(digest) for digest, _chunk in chunks]
        self._lost += sum(bool(sort_out([each], self._parts, self._final)[1]) for each in placed)


def sort_out(
    placed: Sequence[Placed], parts: Mapping[bytes, Sequence[bytes]], refused: Collection[bytes]
) -> tuple[list[Placed], list[SetAside]]:
    """Of the placed chunks, those to publish and those to set aside, both in reading order.

    `parts` has the parts of each chunk that was cut. `refused` has the chunks and parts that the
    provider refused at every length. If all parts of a chunk are set aside, the chunk counts as
    one.
    """
    published: list[Placed] = []
    aside: dict[bytes, SetAside] = {}
    for place in placed:
        for leaf, is_accepted in _leaves(place.content_hash, parts, refused):
            if is_accepted:
                published.append(place._replace(content_hash=leaf))
            else:
                pages = (place.page_start, place.page_end)
                found = SetAside(leaf, len(published), *pages, "embedding_rejected")
                aside.setdefault(leaf, found)
    return published, list(aside.values())


def _leaves(
    digest: bytes, parts: Mapping[bytes, Sequence[bytes]], refused: Collection[bytes]
) -> list[tuple[bytes, bool]]:
    if digest in refused:
        return [(digest, False)]
    if digest not in parts:
        return [(digest, True)]
    leaves = [leaf for part in parts[digest] for leaf in _leaves(part, parts, refused)]
    return leaves if any(accepted for _, accepted in leaves) else [(digest, False)]
