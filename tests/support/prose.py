"""Random prose, with an inserted line, and in chunks of the simplest kind."""

import random
from collections.abc import Sequence

from docmill.worker.extraction.child.chunking.tokens import TokenCounter
from docmill.worker.models import Element

_TEXT = (
    "about after again air all also animal answer any ask back because before between big "
    "book both boy bridge called can car change children city close come copper country cut "
    "day did different does down each early earth eat end even every example eye face family "
    "far father feet few find first follow food form found four from garden gave girl give "
    "good great green group grow had hand hard has have head help her here high him his home "
    "house how idea important into its just keep kind know lamp land large last learn leave "
    "left letter life light like line list little live long look made make man many may mean "
    "men might mile more most mother mountain move much must name near need never new next "
    "night number off often oil old once one only open other our out over own page paper part "
    "people picture place plant play point put question quick read really right river room "
    "round said same saw say school sea second see seem sentence set she ship should show "
    "side small some something song soon sound spell stand start state still stop story study "
    "such sun table take talk tell than that the their them then there these they thing think "
    "this those thought three through time together told too took town tree try turn two "
    "under until upon use very walk want was water way well went were what when where which "
    "while white who why will with without word work world would write year young "
)
_WORDS = _TEXT.split()


def prose(seed: int, paragraphs: int) -> list[Element]:
    """Paragraphs of one to seven sentences of common words, each word about a token."""
    rng = random.Random(seed)

    def sentence() -> str:
        return " ".join(rng.choices(_WORDS, k=rng.randint(6, 24))).capitalize() + "."

    return [
        Element("NarrativeText", " ".join(sentence() for _ in range(rng.randint(1, 7))))
        for _ in range(paragraphs)
    ]


def with_line(elements: Sequence[Element], place: int, sentence: int | None) -> list[Element]:
    """Insert one line: as a paragraph, or as a sentence of an existing paragraph."""
    line = f"The lamp of room {place} was lit at seven by somebody whom nobody knew."
    if sentence is None:
        return [*elements[:place], Element("NarrativeText", line), *elements[place:]]
    sentences = elements[place].text.split(". ")
    sentences.insert(sentence % (len(sentences) + 1), line.rstrip("."))
    changed = Element("NarrativeText", ". ".join(sentences))
    return [*elements[:place], changed, *elements[place + 1 :]]


def to_the_brim(elements: Sequence[Element], counter: TokenCounter, limit: int) -> list[str]:
    """Chunks that are filled with as many whole paragraphs as fit."""
    chunks: list[str] = []
    tokens = limit
    for element in elements:
        more = counter.count(element.text) + 1
        if tokens + more > limit:
            chunks.append(element.text)
            tokens = more
        else:
            chunks[-1] += "\n\n" + element.text
            tokens += more
    return chunks
