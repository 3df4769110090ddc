"""Measure how many chunks an inserted line changes, and how many chunks there are.

    make bench-boundaries OPTIONS='--docs FOLDER'

Takes random prose, or the text files of a folder, in which blank lines separate paragraphs. A line
is inserted at many places, as its own paragraph and as a sentence of another one. For comparison,
the same run makes chunks that are filled with as many whole paragraphs as fit.
"""

import argparse
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from docmill.worker.extraction.child.chunking.chunker import chunk_elements
from docmill.worker.extraction.child.chunking.tokens import counter_for
from docmill.worker.models import Element
from tests.benchmarks.figures import Figures, machine, print_table
from tests.support.prose import prose, to_the_brim, with_line

Chunks = Callable[[Sequence[Element]], set[str]]
PLACES = 60


def main() -> None:
    """Insert lines, count what changes, print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--docs", type=Path, help="folder of text files")
    parser.add_argument("--tokens", type=int, default=400, help="most tokens in a chunk")
    options = parser.parse_args()
    counter = counter_for("openai")
    documents = list(_of_files(options.docs)) if options.docs else [prose(n, 120) for n in range(6)]

    def ours(elements: Sequence[Element]) -> set[str]:
        found = chunk_elements(elements, counter, max_tokens=options.tokens)
        return {chunk.embedded_text for chunk in found}

    def brim(elements: Sequence[Element]) -> set[str]:
        return set(to_the_brim(elements, counter, options.tokens))

    print(f"{machine()}, {len(documents)} documents\n")
    cases = [_changed("docmill", ours, documents), _changed("to the brim", brim, documents)]
    print_table(cases)
    for case in cases:
        few = sum(value <= 3 for value in case.values) / len(case.values)
        print(f"\n{case.name}: three chunks or fewer after {few:.1%} of the insertions")
    made, least = (sum(len(chunks(found)) for found in documents) for chunks in (ours, brim))
    print(f"\n{made} chunks, {made / least:.2f} times the {least} that are filled to the brim")


def _changed(name: str, chunks: Chunks, documents: Sequence[Sequence[Element]]) -> Figures:
    case = Figures(name, "chunks changed")
    for elements in documents:
        before = chunks(elements)
        for place in range(0, len(elements), max(1, len(elements) // PLACES)):
            for sentence in (None, place):
                after = chunks(with_line(elements, place, sentence))
                case.values.append(len(after - before))
    return case


def _of_files(folder: Path) -> Iterator[list[Element]]:
    for path in sorted(folder.rglob("*.txt")):
        paragraphs = re.split(r"\n\s*\n", path.read_text(errors="replace"))
        elements = [Element("NarrativeText", " ".join(text.split())) for text in paragraphs]
        if len(elements) > PLACES:
            yield elements


if __name__ == "__main__":
    main()
