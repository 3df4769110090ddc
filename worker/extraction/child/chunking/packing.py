"""Where the blocks of a section are cut into chunks: at places that the text itself chooses.

When each chunk is filled to the brim, an inserted line moves every boundary after it. Here each
place between two blocks has a price, made from the text before it. Of all ways to cut that keep
within the size, the cheapest is taken. An inserted line changes few prices, so the cheapest way is
soon the same again: `make bench-boundaries` measures how soon.

The cheapest way is found as by Viterbi's algorithm: for each place the cheapest way to it. A cut is
settled as soon as all ways that can still win have it in common, so nothing depends on how much
of the section is known. The work grows with the number of blocks.
"""

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from typing import Final

from docmill.worker.extraction.child.chunking.blocks import Block

#: A cut within a paragraph costs this many times one at its end.
_WITHIN: Final = 1.25
#: A chunk smaller than this share of the room is made only where nothing else fits.
_SMALL_SHARE: Final = 10
#: What such a chunk costs: more than any cut.
_SMALL_PRICE: Final = 4.0
#: After so many full chunks without a cut in common the way that is cheapest so far decides. Text
#: that repeats itself needs it: its places have equal prices.
_MOST_OPEN: Final = 8
#: A chunk has no more characters, even if it has few tokens: it is mostly blank.
_FULL_CHARACTERS: Final = 60_000


def price(block: Block) -> float:
    """What a cut after this block costs: above 0, and 1.25 at most."""
    digest = blake2b(block.text.encode(), digest_size=4).digest()
    drawn = (int.from_bytes(digest, "big") + 1) / (1 << 32)
    return drawn if block.ends_paragraph else drawn * _WITHIN


class Packer:
    """Takes the blocks of one section, gives the groups that become chunks."""

    def __init__(self, room: int, blocks: Iterable[Block] = ()) -> None:
        self._room = room  #: tokens in a chunk
        self._small = room // _SMALL_SHARE
        self.open = list(blocks)  #: those that are in no group yet
        self._forget()

    def add(self, block: Block) -> Iterator[list[Block]]:
        """Take the next block; the groups that are settled with it."""
        self.open.append(block)
        yield from self._settled()

    def finish(self) -> Iterator[list[Block]]:
        """No more blocks: the groups that are left."""
        yield from self._settled()
        while self.open:
            yield self._take(self._first[-1])
            yield from self._settled()

    def put_back(self, blocks: list[Block]) -> None:
        """These had no room in the group that was given last."""
        self.open[:0] = blocks
        self._forget()

    def _settled(self) -> Iterator[list[Block]]:
        while self._known < len(self.open):
            self._look_at(self.open[self._known])
            if len(self._firsts) == 1 and 0 not in self._firsts:
                yield self._take(next(iter(self._firsts)))
            elif self._sizes[-1] > _MOST_OPEN * self._room:
                yield self._take(self._first[-1])

    def _take(self, cut: int) -> list[Block]:
        taken, self.open = self.open[:cut], self.open[cut:]
        self._forget()
        return taken

    # -- the cheapest way to each place; place n is the one after n blocks

    def _forget(self) -> None:
        self._known = 0
        self._sizes = [0]  #: of all blocks before a place
        self._cost = [0.0]
        self._first = [0]  #: the first cut of the cheapest way to a place; 0: none yet
        #: Where the chunk that ends at the last place may begin, the cheapest place first. A place
        #: is forgotten when a later one is as cheap.
        self._fair: deque[int] = deque()
        self._next_fair = 0
        #: The first cuts of all places that a chunk can still begin at.
        self._firsts: Counter[int] = Counter({0: 1})
        self._oldest = 0  #: of those places

    def _look_at(self, block: Block) -> None:
        self._known += 1
        here = self._known
        self._sizes.append(self._sizes[-1] + self._size(block))
        self._drop_far(here)
        self._admit_fair(here)
        before, cost = self._best()
        self._cost.append(cost + price(block))
        self._first.append(self._first[before] or here)
        self._firsts[self._first[here]] += 1

    def _size(self, block: Block) -> int:
        blank = block.characters * self._room // _FULL_CHARACTERS
        return max(block.cost, blank)

    def _drop_far(self, here: int) -> None:
        """Places that are too far behind for a chunk to begin at."""
        while self._oldest < here - 1 and self._between(self._oldest, here) > self._room:
            first = self._first[self._oldest]
            self._firsts[first] -= 1
            if not self._firsts[first]:
                del self._firsts[first]
            self._oldest += 1
        while self._fair and self._fair[0] < self._oldest:
            self._fair.popleft()

    def _admit_fair(self, here: int) -> None:
        while self._next_fair < here and self._between(self._next_fair, here) >= self._small:
            place = self._next_fair
            self._next_fair += 1
            if place < self._oldest:
                continue
            # Of equally cheap places the later one is taken: a section's last chunk is then the
            # small one, not its first.
            while self._fair and self._cost[self._fair[-1]] >= self._cost[place]:
                self._fair.pop()
            self._fair.append(place)

    def _best(self) -> tuple[int, float]:
        if self._fair:
            return self._fair[0], self._cost[self._fair[0]]
        return self._oldest, self._cost[self._oldest] + _SMALL_PRICE

    def _between(self, place: int, later: int) -> int:
        return self._sizes[later] - self._sizes[place]
