"""What the documentation lists is what the code has."""

import re
from pathlib import Path

from typer.main import get_command

from tests.support.error_table import MARK, error_table
from worker.cli.main import ExitCode, app
from worker.errors import ERROR_CODES

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def test_the_table_of_errors_is_up_to_date() -> None:
    assert (DOCS / "errors.md").read_text().split(MARK)[1].strip() == error_table().strip()
    assert all(f"`{code}`" in error_table() for code in ERROR_CODES)


def test_every_exit_code_is_documented() -> None:
    text = (DOCS / "commands.md").read_text()
    assert all(f"| {code.value} |" in text for code in ExitCode)


def test_every_command_is_documented() -> None:
    text = (DOCS / "commands.md").read_text()
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        for full in [f"{name} {sub}" for sub in getattr(command, "commands", {})] or [name]:
            assert f"`{full}" in text, full


def test_every_command_of_the_readme_exists() -> None:
    commands = get_command(app).commands  # type: ignore[attr-defined]
    for name in re.findall(r"docmill ([a-z]+)", (ROOT / "README.md").read_text()):
        assert name in commands or name in ("turns", "extracts")


def test_no_page_links_to_a_missing_one() -> None:
    for page in [ROOT / "README.md", *DOCS.glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
