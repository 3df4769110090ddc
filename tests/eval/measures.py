"""How good a ranking is, and how sure that is. Pure: numbers in, numbers out."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

#: Name of each measure, in the order of the tables.
MEASURES: Final = ("recall@5", "MRR", "nDCG@10")
RESAMPLES: Final = 5000
#: Reciprocal rank fusion adds 1 / (60 + rank), as its authors do.
_RRF: Final = 60

Scores = np.ndarray[Any, np.dtype[np.float64]]


def scores_of(ranking: Sequence[str], right: set[str]) -> tuple[float, float, float]:
    """What a ranking of ids, the best first, is worth: a right one among five, MRR, nDCG at 10."""
    hits = [place for place, one in enumerate(ranking[:10]) if one in right]
    gained = sum(1 / math.log2(place + 2) for place in hits)
    ideal = sum(1 / math.log2(place + 2) for place in range(min(10, len(right))))
    return (
        float(bool(hits) and hits[0] < 5),
        1 / (hits[0] + 1) if hits else 0.0,
        gained / ideal if ideal else 0.0,
    )


def fused_by_rank(*lists: Sequence[str]) -> list[str]:
    """Reciprocal rank fusion of lists of ids; of two alike the one that a list has earlier."""
    worth: dict[str, float] = {}
    for ranking in lists:
        for place, one in enumerate(ranking, start=1):
            worth[one] = worth.get(one, 0.0) + 1 / (_RRF + place)
    return sorted(worth, key=lambda one: -worth[one])


@dataclass(frozen=True)
class Interval:
    """A mean and where it lies in 95 of 100 resamples of the questions."""

    mean: float
    low: float
    high: float


def interval(values: Scores) -> Interval:
    """Of the mean of one measure over questions, by the bootstrap. The same in every run."""
    chance = np.random.default_rng(1)
    picked = chance.integers(0, len(values), size=(RESAMPLES, len(values)))
    low, high = np.quantile(values[picked].mean(axis=1), [0.025, 0.975])
    return Interval(float(values.mean()), float(low), float(high))


@dataclass(frozen=True)
class Comparison:
    """A method beside the better of the lists that it is made of, question by question."""

    better: str  #: of the two lists
    difference: Interval  #: what the method has more than that

    @property
    def verdict(self) -> str:
        """In a word, as far as the questions tell."""
        if self.difference.high < 0:
            return "worse"
        return "better" if self.difference.low > 0 else "no difference shown"


def compare(method: Scores, lists: Mapping[str, Scores]) -> Comparison:
    """Paired bootstrap against the list with the greater mean."""
    better = max(lists, key=lambda name: float(lists[name].mean()))
    return Comparison(better, interval(method - lists[better]))
