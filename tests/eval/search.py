"""Searches every question in the database in every way, as its user."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from docmill.worker.embedding.local import LocalEmbedder
from tests.eval.collection import Question
from tests.eval.corpus import OWNER, Passage
from tests.eval.measures import Scores, fused_by_rank, scores_of
from tests.schema.actors import Connection, literal, rows
from tests.support.database import Database, as_client

#: The lists that hybrid search combines.
VECTOR, WORDS = "vector", "words"
#: The weights of embedding and words.
WEIGHTS: Final = {"hybrid 1:1": (1, 1), "hybrid 1:2": (1, 2), "hybrid 2:1": (2, 1)}
DEFAULT: Final = "hybrid 1:2"
RRF: Final = "RRF"
METHODS: Final = (VECTOR, WORDS, *WEIGHTS, RRF)
#: The length of each list: the default of hybrid_search.
_CANDIDATES: Final = 50


class Asked:
    """Scores of all questions by method: arrays with rows for questions, columns for measures."""

    def __init__(self, methods: Sequence[str]) -> None:
        self._rows: dict[str, list[tuple[float, float, float]]] = {name: [] for name in methods}
        self.unanswerable = 0  #: questions whose answer is in no single passage

    def add(self, rankings: dict[str, list[str]], right: set[str]) -> None:
        """Add the rankings of one question."""
        self.unanswerable += not right
        for name, ranking in rankings.items():
            self._rows[name].append(scores_of(ranking, right))

    def scores(self, method: str) -> Scores:
        """An array of shape (questions, measures)."""
        return np.array(self._rows[method])


def ask_all(
    database: Database,
    questions: Sequence[Question],
    passages: Sequence[Passage],
    embedder: LocalEmbedder,
) -> Asked:
    """Search all questions as the owner of the passages, each in a transaction of the Data API."""
    asked = Asked(METHODS)
    for question in questions:
        vectors, _tokens = embedder.embed([question.question])
        right = {
            passage.id
            for passage in passages
            if question.is_answered_by(passage.document, passage.content)
        }
        with as_client(database, {"sub": OWNER}, read_only=True) as client:
            asked.add(_rankings(client, question.question, literal(vectors[0]), embedder), right)
    return asked


def _rankings(
    client: Connection, text: str, vector: str, embedder: LocalEmbedder
) -> dict[str, list[str]]:
    by_vector = _ids(
        client,
        "select chunk_id from ingest.match_chunks(%s, %s, %s)",
        *(vector, embedder.model, _CANDIDATES),
    )
    by_words = _ids(
        client,
        "select chunk_id from ingest.hybrid_search(%s, match_count => %s)",
        *(text, _CANDIDATES),
    )
    both = {
        name: _ids(
            client,
            """select chunk_id from ingest.hybrid_search(%s, %s, %s, 10,
                           vector_weight => %s, text_weight => %s)""",
            *(text, vector, embedder.model, *weights),
        )
        for name, weights in WEIGHTS.items()
    }
    return {VECTOR: by_vector, WORDS: by_words, **both, RRF: fused_by_rank(by_vector, by_words)}


def _ids(client: Connection, query: str, *parameters: Any) -> list[str]:
    return [str(row["chunk_id"]) for row in rows(client, query, *parameters)]
