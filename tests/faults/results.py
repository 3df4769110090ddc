"""Where the figures of docs/guarantees.md are kept."""

import json
from pathlib import Path
from typing import Any, Final

from tests.benchmarks.figures import machine

RESULTS: Final = Path(__file__).parent / "results.json"


def record(part: str, figures: Any) -> None:
    """Keep what was measured, in place of what was measured before."""
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    kept[part] = {"machine": machine(), "figures": figures}
    RESULTS.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")
