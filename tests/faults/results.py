"""Stores the figures of docs/guarantees.md."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from tests.benchmarks.figures import machine

RESULTS: Final = Path(__file__).parent / "results.json"


def recorded() -> dict[str, Any]:
    """The last measurements, by part: `chaos` and `directed`."""
    kept: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    return kept


def record(part: str, figures: Any, **about: Any) -> None:
    """Store these measurements and facts about their run, instead of the earlier ones."""
    kept = recorded()
    kept[part] = {"machine": machine(), "figures": figures, **about}
    RESULTS.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")


def by_fault(ledger: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each fault: how often it was injected, and the results."""
    rows: dict[str, dict[str, Any]] = {}
    for entry in ledger:
        row = rows.setdefault(
            entry["fault"],
            {"fault": entry["fault"], "times": 0, "jobs": 0, "lost": 0, "duplicated": 0},
        )
        row["times"] += 1
        for name in ("jobs", "lost", "duplicated"):
            row[name] += entry[name]
        if entry["recovery"] is not None:
            row["longest_recovery_seconds"] = round(
                max(entry["recovery"], row.get("longest_recovery_seconds", 0)), 1
            )
    return list(rows.values())
