"""Messages for errors that no command expected."""

import os
import traceback
from typing import Final

import psycopg

from docmill.cli.error_texts import error_texts
from docmill.cli.exit_code import ExitCode
from docmill.worker.errors import JobError
from docmill.worker.log import redact
from docmill.worker.store.outage import connection_failure


def reason_of(error: Exception) -> str:
    """Why something failed, without secrets or document text."""
    if isinstance(error, psycopg.Error) and error.diag.message_primary:
        said = (error.diag.message_primary, error.diag.message_hint)
        return redact(" (".join(part for part in said if part) + ")" * bool(said[1]))
    if isinstance(error, psycopg.Error):
        return connection_failure(error)
    return redact(str(error).strip()) or type(error).__name__


#: What to do after an error that a job would simply retry.
_REMEDIES: Final = {
    "provider_unavailable": "check OPENAI_BASE_URL and this machine's network, or try again later",
    "provider_invalid_response": (
        "check that OPENAI_BASE_URL leads to a server that speaks OpenAI's API, and that its "
        "model has the dimensions of the index (docmill reindex status)"
    ),
    "rate_limited": "try again in a minute; a higher limit at the provider prevents it",
    "storage_unavailable": "check SUPABASE_URL, and that this machine reaches it",
    "database_unavailable": "check DATABASE_URL and DOCMILL_ADMIN_DATABASE_URL with docmill doctor",
}


def explain_job_error(error: JobError) -> tuple[str, str]:
    """What happened and what to do, if a command meets an error of jobs."""
    known = error_texts()[error.code]
    detail = redact(str(error))
    seen = known.message.rstrip(".") + (f" ({detail})" if detail != error.code else "")
    return seen, _REMEDIES.get(error.code, known.remedy)


def explain_unknown(error: Exception) -> tuple[str, ExitCode]:
    """The message and exit code for an error that the command did not expect."""
    if isinstance(error, JobError):
        return ": ".join(explain_job_error(error)), ExitCode.ENVIRONMENT
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
