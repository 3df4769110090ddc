"""Count and cut texts of 100,000 characters: docmill and another exact library, in one run.

    python -m tests.benchmarks.tokens

Milliseconds of CPU, median of nine and spread; all counts are compared.
"""

import random
import statistics
import time
from collections.abc import Callable
from functools import partial

import bpe_openai

from docmill.worker.extraction.child.chunking.tokens import OpenAICounter, split
from tests.benchmarks.figures import machine

LENGTH = 100_000
_DICE = random.Random(1)
TEXTS = {
    "English": "The quick brown fox jumps over the lazy dog. " * (LENGTH // 45),
    "one Han letter": "\u7684" * LENGTH,
    "one letter": "a" * LENGTH,
    "random letters": "".join(_DICE.choices("abcdefghijklmnopqrstuvwxyz", k=LENGTH)),
    "blanks": "x" + " " * (LENGTH - 2) + "y",
}


def milliseconds(work: Callable[[], object]) -> str:
    """Median and spread."""
    spent = []
    for _ in range(9):
        began = time.process_time()
        work()
        spent.append(1000 * (time.process_time() - began))
    return f"{statistics.median(spent):.1f} ({min(spent):.1f} to {max(spent):.1f})"


def cut(text: str, counter: OpenAICounter) -> None:
    """Cut into pieces of 400 tokens."""
    for _ in split(text, counter, 400):
        pass


def main() -> None:
    """Print the table."""
    ours, other = OpenAICounter(), bpe_openai.get_encoding("cl100k_base")._backend
    print(f"{machine()}\n")
    print("| text | tokens | count, tiktoken | count, bpe-openai | cut into 400 |")
    print("| --- | --- | --- | --- | --- |")
    for name, text in TEXTS.items():
        tokens = ours.count(text)
        assert tokens == other.count(text)
        figures = (
            milliseconds(partial(ours.count, text)),
            milliseconds(partial(other.count, text)),
            milliseconds(partial(cut, text, ours)),
        )
        print(f"| {name} | {tokens} | {' | '.join(figures)} |")


if __name__ == "__main__":
    main()
