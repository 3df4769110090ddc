"""Asking before something is done that is easily done by mistake."""

import sys

import typer

from docmill.worker.errors import UsageError


def require_yes(said: str, go_on: str, *, is_sure: bool, can_ask: bool) -> None:
    """Return when the user wants it: by `--yes`, or by an answer at a terminal.

    Raises UsageError, which names `--yes`, where nobody can be asked; typer.Abort after a no.
    """
    if is_sure:
        return
    if not (can_ask and sys.stdin.isatty()):
        raise UsageError(f"{said}: say --yes to {go_on}")
    typer.confirm(f"{said}. Go on?", abort=True)
