"""The frame of the command line: its groups, and a help that lists commands by task."""

from typing import Any, Final

import typer
from typer.core import TyperGroup

from docmill.cli.exit_code import ExitCode

#: The sections of the help, in this order. A command names its section in `rich_help_panel`.
TRY_IT: Final = "Try it on this machine"
SET_UP: Final = "Set up a project"
RUN: Final = "Run"
DOCUMENTS: Final = "Work with documents"
WATCH: Final = "See what happens"
STEP_IN: Final = "Step in"
INDEX: Final = "Change the index"
DATA: Final = "Take data out"
TASKS: Final = (TRY_IT, SET_UP, RUN, DOCUMENTS, WATCH, STEP_IN, INDEX, DATA)


class ByTask(TyperGroup):
    """A group whose help has a section for each task."""

    def format_commands(self, _context: Any, formatter: Any) -> None:
        """Write the sections. A command without a task would be missing: a test checks for that."""
        longest = max(map(len, self.commands))
        for task in TASKS:
            rows = [
                # The names of all sections are equally wide.
                (name.ljust(longest), command.get_short_help_str(formatter.width - longest - 6))
                for name, command in self.commands.items()
                if getattr(command, "rich_help_panel", None) == task
            ]
            if rows:
                with formatter.section(task):
                    formatter.write_dl(rows)


app = typer.Typer(
    name="docmill",
    cls=ByTask,
    # Plain help: drawing boxes would take as long as everything else together.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def group(name: str, task: str) -> typer.Typer:
    """Make a group of commands below `docmill`, listed under a task."""
    made = typer.Typer()
    app.add_typer(made, name=name, rich_help_panel=task)
    return made


def help_without_command(context: typer.Context) -> None:
    """Print the help of a group that was called without one of its commands."""
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit(ExitCode.USAGE)
