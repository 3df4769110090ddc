"""Measure how often a text without a declared encoding is read correctly.

    make bench-encodings

Thirty languages in the encodings that are used for them, with three texts of each length. A result
is correct if it equals the original text. For comparison: libraries that guess among all encodings
they know.
"""

import time
from collections.abc import Callable, Mapping
from typing import Final

import chardet
import charset_normalizer

from docmill.worker.extraction.child.encodings import decode
from tests.benchmarks.figures import machine
from tests.support.languages import pairs, prose

LENGTHS: Final = (40, 100, 400, 4000)
SEEDS: Final = range(3)


def by_chardet(data: bytes) -> str:
    """The text according to chardet; empty if it does not decide."""
    name = chardet.detect(data)["encoding"]
    return data.decode(name, errors="replace") if name else ""


def by_charset_normalizer(data: bytes) -> str:
    """The most likely text according to charset-normalizer; empty if it finds none."""
    found = charset_normalizer.from_bytes(data).best()
    return str(found) if found else ""


READERS: Final[Mapping[str, Callable[[bytes], str]]] = {
    "docmill": decode,
    f"chardet {chardet.__version__}": by_chardet,
    f"charset-normalizer {charset_normalizer.__version__}": by_charset_normalizer,
}


def row_of(read: Callable[[bytes], str]) -> list[str]:
    """The share of correct texts for each length, and the milliseconds per text."""
    cells, took, texts = [], 0.0, 0
    for length in LENGTHS:
        right = number = 0
        for language, encoding in pairs():
            for seed in SEEDS:
                text = prose(language, encoding, length, seed)
                began = time.process_time()
                found = read(text.encode(encoding))
                took += time.process_time() - began
                # A byte order mark is not a letter.
                right += found.removeprefix("\ufeff") == text.removeprefix("\ufeff")
                number += 1
        cells.append(f"{right / number:.3f}")
        texts += number
    return [*cells, f"{took / texts * 1000:.2f}"]


def main() -> None:
    """Read all texts with each reader, print the table."""
    print(f"{machine()}, {len(pairs())} pairs, {len(SEEDS)} texts each\n")
    print("| read by | " + " | ".join(f"{length} bytes" for length in LENGTHS) + " | ms a text |")
    print("|" + " --- |" * (len(LENGTHS) + 2))
    for name, read in READERS.items():
        print(f"| {name} | " + " | ".join(row_of(read)) + " |", flush=True)


if __name__ == "__main__":
    main()
