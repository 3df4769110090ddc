"""Errors, sorted by what happens next.

Every error on a job row has a stable code. Owners read the fixed text of that code, and never the
text of an exception, which may hold keys, addresses or document text.
"""

import errno
from dataclasses import dataclass
from enum import StrEnum

#: Errors of the system when a disk, or a user's share of it, is full.
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


class ErrorKind(StrEnum):
    """What an error means for the job."""

    PERMANENT = "permanent"  #: no number of attempts will help: the job fails
    WAITING = "waiting"  #: the job is held until somebody changes something
    TRANSIENT = "transient"  #: the same attempt may succeed later
    CONFIGURATION = "configuration"  #: every job would meet it: none is counted, all are held


@dataclass(frozen=True)
class ErrorCode:
    """One entry of the fixed list that schema/functions/092_error_codes.sql holds too."""

    code: str
    kind: ErrorKind
    counted: bool  #: whether a failure of this kind uses up one of the job's attempts


def _codes(kind: ErrorKind, *names: str, counted: bool) -> dict[str, ErrorCode]:
    return {name: ErrorCode(name, kind, counted) for name in names}


ERROR_CODES: dict[str, ErrorCode] = {
    **_codes(
        ErrorKind.PERMANENT,
        "unsupported_type",
        "unsupported_name",
        "encrypted",
        "corrupt",
        "empty_document",
        "document_too_large",
        "archive_too_large",
        "parse_timeout",
        "parse_memory",
        "parse_crashed",
        "too_many_chunks",
        "embedding_rejected",
        "bulk_unsupported",
        "worker_lost",
        "cancelled",
        counted=True,
    ),
    **_codes(ErrorKind.WAITING, "owner_budget_exceeded", "paused", counted=False),
    # An outage of another service is not the document's fault, so it never uses up an attempt.
    **_codes(
        ErrorKind.TRANSIENT,
        "storage_unavailable",
        "object_changed",
        "rate_limited",
        "provider_unavailable",
        "database_unavailable",
        "no_space",
        counted=False,
    ),
    # The document or docmill may be the cause of these, so max_attempts bounds them.
    **_codes(
        ErrorKind.TRANSIENT,
        "provider_invalid_response",
        "parse_stalled",
        "internal_error",
        counted=True,
    ),
    **_codes(
        ErrorKind.CONFIGURATION,
        "provider_quota_exhausted",
        "provider_auth",
        "provider_model_missing",
        "storage_auth",
        counted=False,
    ),
}


class DocmillError(Exception):
    """Base of all errors that docmill raises on purpose."""


class SettingsError(DocmillError):
    """A setting is missing, unknown or impossible. The message names it and the remedy."""


class SchemaError(DocmillError):
    """The database schema is missing, older, newer or changed by hand."""


class UsageError(DocmillError):
    """The command line is wrong. The message says what to write."""


class ServiceError(DocmillError):
    """A service, or a part of the embedded stack, is missing or does not do its work.

    The message says what to do.
    """


class StoppedError(DocmillError):
    """A signal ended the command before it was done.

    The message says how far it came.
    """

    def __init__(self, message: str, signal_number: int) -> None:
        self.signal_number = signal_number
        super().__init__(message)


class RefusedError(DocmillError):
    """The request cannot be fulfilled: there is no such job, for example. Nothing was changed."""


class JobError(DocmillError):
    """A run of a job ended without a result; `code` is one of ERROR_CODES.

    `retry_after_seconds` is the pause that the other side asked for, if any. `counted` says whether
    the error uses up an attempt, if this differs from the rule of the code. The message is only for
    the worker's log.
    """

    def __init__(
        self,
        code: str,
        message: str = "",
        *,
        retry_after_seconds: float | None = None,
        counted: bool | None = None,
    ) -> None:
        self.error = ERROR_CODES[code]
        self.retry_after_seconds = retry_after_seconds
        self.counted = self.error.counted if counted is None else counted
        # Celery makes the error of a task again, from these; else it would not know it, and write a
        # traceback.
        super().__init__(code, message or code)

    def __str__(self) -> str:
        """The message."""
        return str(self.args[1])

    @property
    def code(self) -> str:
        """The stable code."""
        return self.error.code


class AskError(DocmillError):
    """A question was not answered. `code` is stable; the message is for the user who asked.

    `status` is the HTTP status of the answer.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        self.status = status
        self.code = code
        super().__init__(message)


class LeaseLostError(DocmillError):
    """Another run owns the job, or no run may: stop, and write nothing more."""


class CancelledRunError(DocmillError):
    """The job's owner asked to cancel it."""


class InBatchError(DocmillError):
    """Texts of the job are in a batch of the provider: give it back until they are answered."""


class DrainError(DocmillError):
    """The worker is shutting down: give the job back at this point."""


class DocumentSupersededError(DocmillError):
    """Storage now holds another version, which has a job of its own."""
