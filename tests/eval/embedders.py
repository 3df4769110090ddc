"""Compare the local embedding models, by embedding alone.

    python -m tests.eval.embedders [--set FOLDER] [--sizes 200,400]

Without a database: every passage is compared with every question. A hit is correct by the same rule
as in the other measures.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from docmill.worker.embedding.e5 import E5Embedder
from docmill.worker.embedding.local import LocalEmbedder
from docmill.worker.ports import Embedder, Vectors
from docmill.worker.providers.base import Kind
from tests.eval.__main__ import OWN
from tests.eval.collection import Question, documents_of, questions_of
from tests.eval.corpus import read_files

#: For passages and for queries.
EMBEDDERS: dict[str, tuple[Embedder, Embedder]] = {
    "local": (LocalEmbedder(), LocalEmbedder()),
    "e5": (E5Embedder(), E5Embedder(Kind.QUERY)),
}


def measured(
    passages: Sequence[tuple[str, str, str]], questions: Sequence[Question], name: str
) -> str:
    """A line with recall@5, also for each language, MRR and time."""
    of_passages, of_queries = EMBEDDERS[name]
    began = time.perf_counter()
    vectors = of_passages.embed([embedded for _, _, embedded in passages])[0]
    seconds = time.perf_counter() - began
    asked = of_queries.embed([question.question for question in questions])[0]
    ranks = [
        _rank(question, vector, vectors, passages)
        for question, vector in zip(questions, asked, strict=True)
    ]
    found: dict[str, list[bool]] = {"all": [rank <= 5 for rank in ranks]}
    for question, rank in zip(questions, ranks, strict=True):
        found.setdefault(question.language or "-", []).append(rank <= 5)
    recalls = ", ".join(f"{key} {100 * np.mean(hits):.1f}" for key, hits in found.items())
    reciprocal = 100 * np.mean([1 / rank if rank <= 10 else 0 for rank in ranks])
    each = 1000 * seconds / len(passages)
    return f"{name:6} recall@5 {recalls}; MRR {reciprocal:.1f}; {each:.1f} ms a passage"


def _rank(
    question: Question,
    vector: "np.ndarray[tuple[int], np.dtype[np.float32]]",
    vectors: Vectors,
    passages: Sequence[tuple[str, str, str]],
) -> float:
    """The place of the first correct passage, from 1; infinite if there is none."""
    for place, index in enumerate(np.argsort(-(vectors @ vector)), start=1):
        document, content, _ = passages[index]
        if question.is_answered_by(document, content):
            return place
    return np.inf


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--set", type=Path, default=OWN, metavar="FOLDER")
    parser.add_argument("--sizes", default="200,400", help="chunk sizes in tokens")
    options = parser.parse_args()
    questions = questions_of(options.set)
    with tempfile.TemporaryDirectory() as work:
        for size in map(int, options.sizes.split(",")):
            files = read_files(documents_of(options.set, Path(work)), tokens=size)
            unique = {
                (name, chunk.embedded_text): (name, chunk.content, chunk.embedded_text)
                for name, file in files.items()
                for chunk in file.chunks
            }
            passages = list(unique.values())
            print(f"Chunks of {size} tokens: {len(questions)} questions, {len(passages)} passages")
            for name in EMBEDDERS:
                print(measured(passages, questions, name), flush=True)


if __name__ == "__main__":
    main()
