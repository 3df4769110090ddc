"""Write docs/guarantees.md from the latest measurements.

python -m tests.faults.guarantees
"""

from collections import Counter
from pathlib import Path
from typing import Any, Final

from tests.faults.oracles import SETTLE_SECONDS, SPEND_RATIO
from tests.faults.results import recorded

PAGE: Final = Path(__file__).parents[2] / "docs" / "guarantees.md"

_HEAD: Final = """\
# What is guaranteed, and how it is tested

A committed upload becomes searchable or says why not. Work may run twice, but only one run can
publish. Nobody sees a half-ingested or deleted document, or a document of somebody else. If a
document kills the worker that runs it alone twice, this document fails, and no other document does.

`make faults` and `make chaos` write this page from their measurements.

- **lost**: files whose newest version is, at the end, neither searchable nor failed with a code.
- **duplicated**: versions that were published twice, and chunks that are stored twice.
- **torn reads**: searches that saw only a part of a document, or two versions of it at once.
- **recovery**: time from the fault to the next run of a job that it hit. The lease is 3 s (60 s is
  the default), and processes are started again at once.
"""

_CHAOS: Final = """
## At random

Three owners upload, overwrite, move, swap and delete files. A fourth one uploads hostile files.
Index versions are started, filled, activated, rolled back and dropped, and some of these commands
are broken off. Two workers, an isolated worker, the webhook, beat, Redis and Postgres are killed,
frozen and restarted. Hints are lost, sent twice and delayed. The provider refuses requests and
answers wrongly. A reader searches all the time.
"""

_CHAOS_END: Final = """
In flight: requests that the provider was answering when a worker or Postgres was hit. If a new
version or a move supersedes a document while it is embedded, its texts are also requested again,
with or without a fault.
"""

_DIRECTED: Final = """
## One by one

Each of these tests also checks facts that many faults at once would hide: counted attempts, counted
deaths, and texts that the provider was asked for twice.
"""


def page() -> str:
    """The whole page."""
    kept = recorded()
    return "\n".join([_HEAD, *_chaos_lines(kept["chaos"]), *_directed_lines(kept["directed"])])


def _table(heads: list[str], rows: list[list[Any]]) -> list[str]:
    lines = [heads, ["---"] * len(heads), *rows]
    return ["| " + " | ".join(str(cell) for cell in line) + " |" for line in lines]


def _chaos_lines(part: dict[str, Any]) -> list[str]:
    runs = part["figures"]
    faults: Counter[str] = Counter()
    for run in runs:
        faults.update(run["faults"])

    def total(name: str) -> int:
        return int(sum(run[name] for run in runs))

    settle = [run["settle_seconds"] for run in runs]
    outcome = [
        ["operations of Storage", total("operations"), ""],
        ["hostile files", total("mischief"), ""],
        ["changes of index versions", sum(sum(run["changes"].values()) for run in runs), ""],
        ["jobs", total("jobs"), ""],
        ["runs that died", total("runs_crashed"), ""],
        ["runs that were stopped as stale", total("stale_runs_stopped"), ""],
        ["readings", total("readings"), ""],
        ["lost", total("lost"), "0"],
        ["duplicated", total("duplicated"), "0"],
        ["torn reads", total("torn_reads"), "0"],
        ["longest recovery (s)", max(run["longest_recovery_seconds"] for run in runs), ""],
        [
            "longest time to settle (s)",
            "not settled" if None in settle else max(settle),
            f"{SETTLE_SECONDS:.0f}",
        ],
        ["batches paid for twice", total("batches_paid_twice"), ""],
        ["batches in flight at faults", total("batches_in_flight_at_faults"), ""],
        ["tokens, of those needed, at most", max(run["spend_ratio"] for run in runs), SPEND_RATIO],
        ["promises that did not hold", sum(len(run["broken"]) for run in runs), "0"],
    ]
    return [
        _CHAOS,
        f"{len(runs)} seeds of {runs[0]['seconds']:g} s on a machine of {part['machine']}.\n",
        *_table(["fault", "times"], [[name, times] for name, times in sorted(faults.items())]),
        "",
        *_table(["outcome", "measured", "allowed"], outcome),
        _CHAOS_END,
    ]


def _directed_lines(part: dict[str, Any]) -> list[str]:
    return [
        _DIRECTED,
        f"On a machine of {part['machine']}"
        + (".\n" if part.get("full") else ", in the few repetitions of `make test`.\n"),
        *_table(
            ["fault", "times", "jobs", "lost", "duplicated", "longest recovery (s)"],
            [
                [
                    *(row[name] for name in ("fault", "times", "jobs", "lost", "duplicated")),
                    row.get("longest_recovery_seconds", ""),
                ]
                for row in part["figures"]
            ],
        ),
        "",
    ]


if __name__ == "__main__":
    PAGE.write_text(page())
