"""The measured figures of a set: stored in results/, shown in docs/evaluation.md."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tests.eval.collection import Question
from tests.eval.measures import MEASURES, Interval, compare, interval
from tests.eval.search import METHODS, VECTOR, WORDS, Asked

FOLDER: Final = Path(__file__).with_name("results")


def result_of(
    name: str, tokens: int, questions: Sequence[Question], passages: int, asked: Asked
) -> dict[str, Any]:
    """The figures of one set at one chunk size."""
    lists = {name: asked.scores(name) for name in (VECTOR, WORDS)}
    fused = [method for method in METHODS if method not in lists]
    return {
        "set": name,
        "chunk_tokens": tokens,
        "questions": len(questions),
        "passages": passages,
        "split": asked.unanswerable,
        "methods": {
            method: {
                measure: _figures(interval(asked.scores(method)[:, column]))
                for column, measure in enumerate(MEASURES)
            }
            for method in METHODS
        },
        "against": {
            method: {
                measure: _compared(asked, method, column) for column, measure in enumerate(MEASURES)
            }
            for method in fused
        },
        "groups": _groups(questions, asked),
    }


def _compared(asked: Asked, method: str, column: int) -> dict[str, Any]:
    lists = {name: asked.scores(name)[:, column] for name in (VECTOR, WORDS)}
    compared = compare(asked.scores(method)[:, column], lists)
    return {
        "better": compared.better,
        "verdict": compared.verdict,
        **_figures(compared.difference),
    }


def _groups(questions: Sequence[Question], asked: Asked) -> dict[str, dict[str, Any]]:
    """Mean nDCG at 10 of each method by language and by kind of question."""
    found: dict[str, dict[str, Any]] = {}
    for field in ("language", "kind"):
        for group in sorted({getattr(question, field) for question in questions} - {""}):
            picked = [n for n, one in enumerate(questions) if getattr(one, field) == group]
            means = {m: round(float(asked.scores(m)[picked, 2].mean()), 4) for m in METHODS}
            found[f"{field} {group}"] = {"questions": len(picked), **means}
    return found


def _figures(one: Interval) -> dict[str, float]:
    return {"mean": round(one.mean, 4), "low": round(one.low, 4), "high": round(one.high, 4)}


def keep(results: Sequence[Mapping[str, Any]], name: str) -> None:
    """Write the figures of a set."""
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{name}.json").write_text(json.dumps(results, indent=1) + "\n")


def kept() -> dict[str, list[dict[str, Any]]]:
    """All figures by set, docmill's own set first."""
    names = sorted((path.stem for path in FOLDER.glob("*.json")), key=lambda n: (n != "own", n))
    return {name: json.loads((FOLDER / f"{name}.json").read_text()) for name in names}
