"""Medians and spreads, printed alike by every benchmark."""

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class Figures:
    """Measured values of one case."""

    name: str
    unit: str
    values: list[float] = field(default_factory=list)

    def quantile(self, share: float) -> float:
        """The smallest value that is not below this share of the values."""
        ordered = sorted(self.values)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def machine() -> str:
    """The machine of the measurements."""
    return f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"


def print_table(cases: Sequence[Figures]) -> None:
    """One row per case, as Markdown."""
    print("| case | n | min | p50 | p95 | p99 | max |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for case in cases:
        shown = [f"{case.quantile(share):.4g}" for share in (0, 0.5, 0.95, 0.99, 1)]
        print(f"| {case.name} ({case.unit}) | {len(case.values)} | " + " | ".join(shown) + " |")
