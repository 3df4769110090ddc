"""The table of docs/metrics.md, made from the exported metrics."""

from pathlib import Path

from docmill.worker.metrics import METRICS
from docmill.worker.processes.metrics import DATABASE_UP
from docmill.worker.store.gauges import GAUGES

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
COMMAND = "python -m tests.support.metrics_reference"
MARK = f"<!-- made by: {COMMAND} -->"


def exported_names() -> set[str]:
    """Every name of docmill's metrics that a query may use."""
    suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}
    made = {metric.name + suffix for metric in METRICS for suffix in suffixes[metric.kind]}
    return made | set(GAUGES) | {DATABASE_UP}


def metrics_table() -> str:
    """All metrics: first of processes, then those that every worker reads from the database."""
    rows = ["| metric | labels | meaning |", "| --- | --- | --- |"]
    for metric in METRICS:
        name = f"{metric.name}_total" if metric.kind == "counter" else f"{metric.name} (histogram)"
        rows.append(_row(name, metric.labels, metric.meaning))
    rows += [_row(name, labels, meaning) for name, (meaning, labels) in GAUGES.items()]
    return "\n".join(rows) + "\n"


def _row(name: str, labels: tuple[str, ...], meaning: str) -> str:
    bare, _, kind = name.partition(" ")
    return f"| `{bare}`{' ' + kind if kind else ''} | {', '.join(labels)} | {meaning} |"


if __name__ == "__main__":
    PAGE.write_text(PAGE.read_text().split(MARK)[0] + MARK + "\n\n" + metrics_table())
