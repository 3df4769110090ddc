"""The help of the command line: each command in its section, and no line cut at 80 columns."""

from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from docmill.cli.app import TASKS
from docmill.cli.main import app

COMMANDS: Any = get_command(app)


def helped(*arguments: str) -> str:
    """The help on a terminal of 80 columns."""
    result = CliRunner().invoke(app, [*arguments, "--help"], env={"COLUMNS": "80"})
    assert result.exit_code == 0
    return result.output


def test_every_command_is_listed_once_under_its_task() -> None:
    lines = [line for line in helped().splitlines() if line.startswith("  ")]
    listed = [line.split()[0] for line in lines if not line.split()[0].startswith("-")]
    assert sorted(set(COMMANDS.commands)) == sorted(set(listed) - {"Turn"})
    for name, command in COMMANDS.commands.items():
        assert command.rich_help_panel in TASKS, name
        assert listed.count(name) == 1, name


def test_the_tasks_follow_each_other_as_they_come_up() -> None:
    said = helped()
    places = [said.index(f"\n{task}:\n") for task in TASKS]
    assert places == sorted(places)


@pytest.mark.parametrize(
    "group", ["", *(n for n, c in COMMANDS.commands.items() if hasattr(c, "commands"))]
)
def test_no_line_about_a_command_is_cut(group: str) -> None:
    assert not [
        line
        for line in helped(*group.split()).splitlines()
        if line.endswith("...") and not line.startswith("Usage")
    ]
