"""Runs the command line, and explains its errors."""

import os
import sys
from contextlib import suppress
from typing import Annotated, NoReturn

import typer

from docmill.cli.app import app, help_without_command
from docmill.cli.commands import (
    data,
    documents,
    processes,
    setting_up,
    spending,
    steering,
    the_index,
    trying,
    watching,
)
from docmill.cli.exit_code import ExitCode
from docmill.worker.errors import DocmillError, JobError, RefusedError, StoppedError, UsageError

__all__ = ["COMMANDS", "app", "main"]

#: These imports register their commands in `app`.
COMMANDS = (trying, setting_up, processes, documents, watching, steering, spending, the_index, data)


def main() -> None:
    """Run the command line; every error becomes one sentence on stderr."""
    try:
        code = app(standalone_mode=False)
        sys.stdout.flush()
    except StoppedError as error:
        _end_at_once(str(error), 128 + error.signal_number)
    except (KeyboardInterrupt, typer.Abort):
        _end_at_once("interrupted", ExitCode.INTERRUPTED)
    except BrokenPipeError:
        _end("", ExitCode.DONE)
    except SystemExit as error:
        # Typer and rich turn a broken pipe into this. The reader of our output has closed it.
        if isinstance(error.__context__, BrokenPipeError):
            _end("", ExitCode.DONE)
        raise
    except Exception as error:
        _end(*_explain(error))
    if code == ExitCode.INTERRUPTED:  # typer's code for Ctrl-C
        _end_at_once("interrupted", code)
    sys.exit(code if isinstance(code, int) else ExitCode.DONE)


def _end_at_once(message: str, code: int) -> NoReturn:
    """End without waiting for threads, which may be uploading."""
    with suppress(OSError):
        print(f"docmill: {message}", file=sys.stderr, flush=True)
        sys.stdout.flush()
    os._exit(code)


def _end(message: str, code: int) -> NoReturn:
    if message:
        print(f"docmill: {message}", file=sys.stderr)
    # Drop unwritten output: otherwise Python would complain about it at exit.
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def _explain(error: Exception) -> tuple[str, ExitCode]:
    if isinstance(error, RefusedError):
        return str(error), ExitCode.FAILED
    if isinstance(error, UsageError):
        return str(error), ExitCode.USAGE
    if isinstance(error, DocmillError) and not isinstance(error, JobError):
        return str(error), ExitCode.ENVIRONMENT
    format_message = getattr(error, "format_message", None)
    if format_message is not None:  # an error of the command line itself
        command = getattr(getattr(error, "ctx", None), "command_path", "docmill")
        return f"{format_message().rstrip('.')} (see {command} --help)", ExitCode.USAGE
    from docmill.cli.unexpected import explain_unknown

    return explain_unknown(error)


def _print_version(wanted: bool) -> None:
    if wanted:
        from docmill import __version__

        print(f"docmill {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def options(
    context: typer.Context,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show it.")
    ] = False,
) -> None:
    """Turn files in Supabase Storage into searchable vectors in your own Postgres."""
    help_without_command(context)
