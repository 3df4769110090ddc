"""Webhooks recorded from a real Storage; tests/fixtures/webhooks names their source."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

_RECORDED = Path(__file__).parents[1] / "fixtures" / "webhooks" / "recorded.jsonl"


@lru_cache(maxsize=1)
def recorded_bodies() -> tuple[dict[str, Any], ...]:
    """All bodies in the order in which they were sent."""
    lines = _RECORDED.read_text().splitlines()
    return tuple(body for line in lines for body in json.loads(line)["webhooks"])
