"""What a benchmark measured: printed, and with `--record` kept for docs/benchmarks.md."""

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Final

from docmill import __version__
from tests.benchmarks.figures import machine
from tests.schema.actors import Connection, value

FOLDER: Final = Path(__file__).parents[2] / "docs" / "benchmarks"
#: Fewer runs than this make no median.
RUNS: Final = 5


@dataclass
class Case:
    """The values of one side, in runs that took turns with those of the others."""

    group: str  #: what is compared within it
    name: str
    unit: str
    values: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Of all runs."""
        return median(self.values)

    def row(self) -> str:
        """One line of a table."""
        spread = f"{min(self.values):.3g} to {max(self.values):.3g}"
        return (
            f"| {self.group} | {self.name} | {self.median:.3g} | {spread} |"
            f" {len(self.values)} | {self.unit} |"
        )


@dataclass(frozen=True)
class Target:
    """What was promised, and what came of it."""

    promise: str
    got: float
    least: float | None = None
    most: float | None = None

    @property
    def is_met(self) -> bool:
        """Whether the figure is within its bound."""
        return (self.least is None or self.got >= self.least) and (
            self.most is None or self.got <= self.most
        )

    def row(self) -> str:
        """One line of a table."""
        return f"| {self.promise} | {self.got:.3g} | {'yes' if self.is_met else '**no**'} |"


@dataclass
class Record:
    """A benchmark's outcome."""

    name: str  #: of its file
    title: str
    conditions: str  #: what was measured, in one or two sentences
    cases: list[Case] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    machine: str = field(default_factory=machine)
    day: str = field(default_factory=lambda: datetime.now(UTC).date().isoformat())
    #: How many processes wanted a core in the minute before: above 1, somebody else was at work.
    load_before: float = field(default_factory=lambda: round(os.getloadavg()[0], 1))

    def case(self, group: str, name: str, unit: str) -> Case:
        """The case of this name, made when it is first asked for."""
        for one in self.cases:
            if (one.group, one.name) == (group, name):
                return one
        self.cases.append(Case(group, name, unit))
        return self.cases[-1]

    def groups(self) -> list[tuple[str, list[Case]]]:
        """Cases of the same group and unit, in the order in which the groups began."""
        keys = dict.fromkeys((case.group, case.unit) for case in self.cases)
        return [
            (group, [case for case in self.cases if (case.group, case.unit) == (group, unit)])
            for group, unit in keys
        ]

    def text(self) -> str:
        """Tables in Markdown."""
        named = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        lines = [
            f"{self.conditions} {self.machine}; load before: {self.load_before}; {self.day}.",
            f"Versions: {named}.",
            "",
            "| | | median | least to most | runs | |",
            "| --- | --- | --- | --- | --- | --- |",
            *(case.row() for _, cases in self.groups() for case in cases),
        ]
        if self.targets:
            lines += ["", "| target | measured | met |", "| --- | --- | --- |"]
            lines += [target.row() for target in self.targets]
        return "\n".join(lines) + "\n"

    def save(self) -> None:
        """Keep it for the page."""
        FOLDER.mkdir(exist_ok=True)
        (FOLDER / f"{self.name}.json").write_text(json.dumps(asdict(self), indent=1) + "\n")


def load(path: Path) -> Record:
    """A record that was kept."""
    said = json.loads(path.read_text())
    said["cases"] = [Case(**one) for one in said["cases"]]
    said["targets"] = [Target(**one) for one in said["targets"]]
    return Record(**said)


def versions_of(connection: Connection) -> dict[str, str]:
    """Docmill and its database."""
    pgvector = value(connection, "select extversion from pg_extension where extname = 'vector'")
    return {
        "docmill": __version__,
        "PostgreSQL": str(value(connection, "show server_version")).split()[0],
        "pgvector": str(pgvector),
    }


def arguments(description: str, **sizes: int) -> argparse.Namespace:
    """Options that all have: `--runs`, `--record`, and these sizes."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--record", action="store_true", help="keep it for docs/benchmarks.md")
    for name, size in sizes.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=size)
    return parser.parse_args()


def finish(record: Record, options: argparse.Namespace) -> None:
    """Print the outcome; keep it if that is asked for and there are enough runs."""
    print(record.text())
    if options.record and options.runs < RUNS:
        raise SystemExit(f"not kept: a record needs {RUNS} runs")
    if options.record:
        record.save()


def slope(points: Sequence[tuple[float, float]]) -> float:
    """The exponent k of y = c * x^k that fits best, by least squares of the logarithms.

    Raises ValueError for a single point.
    """
    import numpy as np

    if len(points) < 2:
        raise ValueError("an exponent needs two sizes")
    x, y = np.log(np.array(points, dtype=float)).T
    return float(np.polyfit(x, y, 1)[0])
