"""The table of docs/job_states.md, made from schema/functions/016_hold_reasons.sql."""

import re
from pathlib import Path
from typing import Final, NamedTuple

from tests.support.pages import ROOT

PAGE: Final = ROOT / "docs" / "job_states.md"
MARK: Final = "<!-- made by: python -m tests.support.hold_table -->"
END: Final = "<!-- end -->"
_SQL: Final = ROOT / "schema" / "functions" / "016_hold_reasons.sql"
_ROW: Final = re.compile(r"\('(\w+)', (true|false),\s+'((?:[^']|'')*)',\s+'((?:[^']|'')*)'\)")


class HoldReason(NamedTuple):
    """One row of the list."""

    reason: str
    is_stored: bool
    set_when: str
    ends: str


def hold_reasons() -> list[HoldReason]:
    """All rows, in the order of the file."""
    return [
        HoldReason(reason, stored == "true", set_when.replace("''", "'"), ends.replace("''", "'"))
        for reason, stored, set_when, ends in _ROW.findall(_SQL.read_text())
    ]


def hold_table() -> str:
    """The reasons as a Markdown table."""
    rows = ["| hold_reason | set when | ends |", "| --- | --- | --- |"]
    rows += [f"| `{row.reason}` | {row.set_when} | {row.ends} |" for row in hold_reasons()]
    return "\n".join(rows)


def with_table(page: str) -> str:
    """The page with the current table between its marks."""
    before, _, rest = page.partition(MARK)
    _, _, after = rest.partition(END)
    return f"{before}{MARK}\n\n{hold_table()}\n\n{END}{after}"


if __name__ == "__main__":
    Path(PAGE).write_text(with_table(PAGE.read_text()))
