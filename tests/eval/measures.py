"""How good a ranking is, and how certain that is. Pure: numbers in, numbers out."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

#: Name of each measure, in the order of the tables.
MEASURES: Final = ("recall@5", "MRR", "nDCG@10")
RESAMPLES: Final = 5000
#: Reciprocal rank fusion adds 1 / (60 + rank), like its authors.
_RRF: Final = 60

Scores = np.ndarray[Any, np.dtype[np.float64]]


def scores_of(ranking: Sequence[str], right: set[str]) -> tuple[float, float, float]:
    """Measures of a ranking of ids, best first: a hit in the first five, MRR, nDCG at 10."""
    hits = [place for place, one in enumerate(ranking[:10]) if one in right]
    gained = sum(1 / math.log2(place + 2) for place in hits)
    ideal = sum(1 / math.log2(place + 2) for place in range(min(10, len(right))))
    return (
        float(bool(hits) and hits[0] < 5),
        1 / (hits[0] + 1) if hits else 0.0,
        gained / ideal if ideal else 0.0,
    )


def fused_by_rank(*lists: Sequence[str]) -> list[str]:
    """Reciprocal rank fusion of lists of ids; of equal ones, the earlier one in a list."""
    worth: dict[str, float] = {}
    for ranking in lists:
        for place, one in enumerate(ranking, start=1):
            worth[one] = worth.get(one, 0.0) + 1 / (_RRF + place)
    return sorted(worth, key=lambda one: -worth[one])


@dataclass(frozen=True)
class Interval:
    """A mean, and its interval in 95 of 100 resamples of the questions."""

    mean: float
    low: float
    high: float


def interval(values: Scores) -> Interval:
    """The interval of a measure's mean over questions, by the bootstrap. The same in every run."""
    chance = np.random.default_rng(1)
    picked = chance.integers(0, len(values), size=(RESAMPLES, len(values)))
    low, high = np.quantile(values[picked].mean(axis=1), [0.025, 0.975])
    return Interval(float(values.mean()), float(low), float(high))


@dataclass(frozen=True)
class Comparison:
    """A method compared with the better of the lists that it combines, question by question."""

    better: str  #: the better of the two lists
    difference: Interval  #: the method minus the better list

    @property
    def verdict(self) -> str:
        """The result in a word, as far as the questions show it."""
        if self.difference.high < 0:
            return "worse"
        return "better" if self.difference.low > 0 else "no difference shown"


def compare(method: Scores, lists: Mapping[str, Scores]) -> Comparison:
    """Paired bootstrap against the list with the higher mean."""
    better = max(lists, key=lambda name: float(lists[name].mean()))
    return Comparison(better, interval(method - lists[better]))
