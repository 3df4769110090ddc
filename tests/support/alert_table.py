"""The table of docs/metrics.md that says how each alert was tried.

Its figures are those of the last `python -m tests.faults.alerts --record`.
"""

from typing import Any, Final

from tests.faults.results import recorded
from tests.support.metrics_reference import PAGE

BEGIN: Final = "<!-- made by: python -m tests.faults.alerts --record -->"
END: Final = "<!-- end of alerts -->"


def alert_table() -> str:
    """Each alert, what was done for it, and seconds until it fired and ended."""
    part: dict[str, Any] = recorded()["alerts"]
    lines = [
        f"Last tried on a machine of {part['machine']}.",
        "",
        "| alert | what was done | fired after (s) | ended after the repair (s) | fired with it |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in part["figures"]:
        names = ", ".join(f"`{name}`" for name in row["with_it"])
        lines.append(
            f"| `{row['alert']}` | {row['done']} | {row['fired_after']:.0f} | "
            f"{row['ended_after']:.0f} | {names} |"
        )
    return "\n".join(lines)


def write_table() -> None:
    """Put it into the page."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}\n\n{alert_table()}\n\n{END}{after}")


if __name__ == "__main__":
    write_table()
