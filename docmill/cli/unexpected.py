"""What is said of errors that no command expected."""

import os
import traceback

import psycopg

from docmill.cli.exit_code import ExitCode
from docmill.worker.log import redact
from docmill.worker.store.database import connection_failure


def reason_of(error: Exception) -> str:
    """Why something failed, without what must not be shown."""
    if isinstance(error, psycopg.Error) and error.diag.message_primary:
        said = (error.diag.message_primary, error.diag.message_hint)
        return redact(" (".join(part for part in said if part) + ")" * bool(said[1]))
    if isinstance(error, psycopg.Error):
        return connection_failure(error)
    return redact(str(error).strip()) or type(error).__name__


def explain_unknown(error: Exception) -> tuple[str, ExitCode]:
    """One sentence for an error that no command expected, and the exit code."""
    if isinstance(error, psycopg.errors.UndefinedTable | psycopg.errors.InvalidSchemaName):
        return "the schema is not installed: run docmill schema apply", ExitCode.ENVIRONMENT
    if isinstance(error, psycopg.Error):
        return f"the database answered: {reason_of(error)}", ExitCode.ENVIRONMENT
    if isinstance(error, OSError):
        place = f" {error.filename}" if error.filename else ""
        return f"cannot use{place or ' the output'}: {error.strerror}", ExitCode.ENVIRONMENT
    if os.environ.get("DOCMILL_LOG_LEVEL") == "debug":
        traceback.print_exception(error)
    kind = type(error).__name__
    return (
        f"unexpected {kind}: {reason_of(error)} (DOCMILL_LOG_LEVEL=debug shows where)",
        ExitCode.INTERNAL,
    )
