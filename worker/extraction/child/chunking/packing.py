"""Cuts the blocks of a section into chunks, at places that depend on the text itself.

If each chunk were filled completely, an inserted line would move every boundary after it. Here each
place between two blocks has a price, computed from the text before it. Of all ways to cut within
the size, the cheapest is taken. An inserted line changes few prices, so the cheapest way is soon
the same again: `make bench-boundaries` measures how soon.

It is found as in Viterbi's algorithm: for each place, the cheapest way to it. A cut is final as
soon as all ways that can still win share it, so the result does not depend on how much of the
section is known. The work grows with the number of blocks.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from typing import Final

from docmill.worker.extraction.child.chunking.blocks import Block

#: A cut within a paragraph costs this many times as much as one at its end.
_WITHIN: Final = 1.25
#: A chunk smaller than this share of the room is made only if nothing else fits.
_SMALL_SHARE: Final = 10
#: The price of such a chunk, higher than that of any cut.
_SMALL_PRICE: Final = 4.0
#: After this many full chunks without a shared cut, the cheapest way so far decides. Repeating text
#: needs this, because its places have equal prices.
_MOST_OPEN: Final = 8
#: A chunk never has more characters, even with few tokens; such a text is mostly blank.
_FULL_CHARACTERS: Final = 60_000


def price(block: Block) -> float:
    """The price of a cut after this block: above 0, and 1.25 at most."""
    digest = blake2b(block.text.encode(), digest_size=4).digest()
    drawn = (int.from_bytes(digest, "big") + 1) / (1 << 32)
    return drawn if block.ends_paragraph else drawn * _WITHIN


class Packer:
    """Takes the blocks of one section, and returns the groups that become chunks."""

    def __init__(self, room: int, blocks: Iterable[Block] = ()) -> None:
        self._room = room  #: tokens in a chunk
        self._small = room // _SMALL_SHARE
        self.open = list(blocks)  #: blocks that are in no group yet
        self._measures = [self._measure(block) for block in self.open]
        self._forget()

    def add(self, block: Block) -> Iterator[list[Block]]:
        """Take the next block; returns the groups that are now final."""
        self.open.append(block)
        self._measures.append(self._measure(block))
        yield from self._settled()

    def finish(self) -> Iterator[list[Block]]:
        """No more blocks follow: the remaining groups."""
        yield from self._settled()
        while self.open:
            yield self._take(self._first[-1])
            yield from self._settled()

    def put_back(self, blocks: list[Block]) -> None:
        """Take back blocks that did not fit into the last group."""
        self.open[:0] = blocks
        self._measures[:0] = [self._measure(block) for block in blocks]
        self._forget()

    def _settled(self) -> Iterator[list[Block]]:
        while self._known < len(self.open):
            self._look_at(*self._measures[self._known])
            if len(self._firsts) == 1 and 0 not in self._firsts:
                yield self._take(next(iter(self._firsts)))
            elif self._total > _MOST_OPEN * self._room:
                yield self._take(self._first[-1])

    def _take(self, cut: int) -> list[Block]:
        taken, self.open = self.open[:cut], self.open[cut:]
        del self._measures[:cut]
        self._forget()
        return taken

    # -- the cheapest way to each place; place n is the one after n blocks

    def _forget(self) -> None:
        self._known = 0
        self._total = 0  #: size of all blocks before the last place
        #: For each place, what a chunk that begins there costs more, less the size of all blocks
        #: before it: with the total this is the size of the chunk from there to the last place. It
        #: never grows if the chunk begins later.
        self._begins: list[int] = []
        self._cost = [0.0]
        self._first = [0]  #: the first cut of the cheapest way to a place; 0: none yet
        #: Places where the chunk that ends at the last place may begin, cheapest first. A place is
        #: dropped if a later one is as cheap.
        self._fair: deque[int] = deque()
        self._next_fair = 0
        #: The first cuts of all places where a chunk can still begin.
        self._firsts = {0: 1}
        self._oldest = 0  #: the earliest of those places

    def _look_at(self, size: int, lead: int, price_here: float) -> None:
        self._known = here = self._known + 1
        self._begins.append(lead - self._total)
        self._total += size
        self._drop_far(here)
        self._admit_fair(here)
        if self._fair:
            before, cost = self._fair[0], self._cost[self._fair[0]]
        else:
            before, cost = self._oldest, self._cost[self._oldest] + _SMALL_PRICE
        first = self._first[before] or here
        self._cost.append(cost + price_here)
        self._first.append(first)
        self._firsts[first] = self._firsts.get(first, 0) + 1

    def _measure(self, block: Block) -> tuple[int, int, float]:
        """Its size, its lead and its price. Measured once, because blocks are looked at again."""
        blank = block.characters * self._room // _FULL_CHARACTERS
        return max(block.cost, blank), block.lead, price(block)

    def _drop_far(self, here: int) -> None:
        """Drop places that are too far back for a chunk to begin there."""
        far = self._room - self._total
        while self._oldest < here - 1 and self._begins[self._oldest] > far:
            first = self._first[self._oldest]
            self._firsts[first] -= 1
            if not self._firsts[first]:
                del self._firsts[first]
            self._oldest += 1
        while self._fair and self._fair[0] < self._oldest:
            self._fair.popleft()

    def _admit_fair(self, here: int) -> None:
        near = self._small - self._total
        while self._next_fair < here and self._begins[self._next_fair] >= near:
            place = self._next_fair
            self._next_fair += 1
            if place < self._oldest:
                continue
            # Of equally cheap places the later one is taken, so the last chunk of a section is the
            # small one, and not the first.
            cost = self._cost[place]
            while self._fair and self._cost[self._fair[-1]] >= cost:
                self._fair.pop()
            self._fair.append(place)
