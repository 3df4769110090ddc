"""The table of docs/errors.md, made from schema/functions/092_error_codes.sql."""

import re
from importlib.resources import files

MARK = "<!-- made by: python -m tests.support.error_table -->"


def error_table() -> str:
    """Codes with kind, message and remedy as a Markdown table."""
    sql = files("schema").joinpath("functions/092_error_codes.sql").read_text()
    entries = re.findall(
        r"\('(\w+)', '(\w+)',\s+'((?:[^']|'')*)',\s+'((?:[^']|'')*)'\)", sql, re.DOTALL
    )
    rows = ["| code | kind | what an owner reads | remedy |", "| --- | --- | --- | --- |"]
    for code, kind, message, remedy in entries:
        cells = (f"`{code}`", kind, message, remedy)
        rows.append("| " + " | ".join(cell.replace("''", "'") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    from pathlib import Path

    path = Path("docs/errors.md")
    path.write_text(path.read_text().split(MARK)[0] + MARK + "\n\n" + error_table())
