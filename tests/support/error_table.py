"""The table of docs/errors.md, made from schema/functions/092_error_codes.sql."""

from docmill.cli.error_texts import error_texts

MARK = "<!-- made by: python -m tests.support.error_table -->"


def error_table() -> str:
    """Codes with kind, message and remedy as a Markdown table."""
    rows = ["| code | kind | what an owner reads | remedy |", "| --- | --- | --- | --- |"]
    for text in error_texts().values():
        cells = (f"`{text.code}`", text.kind, text.message, text.remedy)
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    from pathlib import Path

    path = Path("docs/errors.md")
    path.write_text(path.read_text().split(MARK)[0] + MARK + "\n\n" + error_table())
