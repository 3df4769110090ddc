"""Ask before something that is easily done by mistake."""

import sys

import typer

from docmill.worker.errors import UsageError


def require_yes(said: str, go_on: str, *, is_sure: bool, can_ask: bool) -> None:
    """Return if the user agrees: by `--yes`, or by an answer at a terminal.

    Raises UsageError, which names `--yes`, if there is no terminal; typer.Abort after a no.
    """
    if is_sure:
        return
    if not (can_ask and sys.stdin.isatty()):
        raise UsageError(f"{said}: say --yes to {go_on}")
    typer.confirm(f"{said}. Go on?", abort=True)
