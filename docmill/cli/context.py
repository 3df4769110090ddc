"""What commands work on: the environment's project, else the embedded stack that runs here."""

import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Final

import psycopg

from docmill.cli.exit_code import ExitCode
from docmill.embedded.stack import StackInfo, find_running
from docmill.worker.admin.callers import find_user
from docmill.worker.errors import RefusedError, ServiceError
from docmill.worker.log import redact
from docmill.worker.settings.environment import Loaded, load_settings
from docmill.worker.settings.parts import AdminSettings
from docmill.worker.settings.processes import Settings
from docmill.worker.store.database import CONNECT_OPTIONS, Connection, connection_failure

#: With one of these set, the environment means a project of its own.
_PROJECT_VARIABLES: Final = (
    "DATABASE_URL",
    "DOCMILL_DATABASE_URL",
    "DOCMILL_ADMIN_DATABASE_URL",
    "SUPABASE_URL",
    "DOCMILL_SUPABASE_URL",
)


@lru_cache(maxsize=1)
def running_stack() -> StackInfo | None:
    """The embedded stack that this command works on; None when the environment names a project.

    Decided once, before `settings_in_use` adds the stack's addresses to the environment.
    """
    return None if _names_project() else find_running()


def settings_in_use() -> Settings:
    """Settings from the environment, completed from the embedded stack when one runs here.

    Raises SettingsError, or ServiceError when there is neither a project nor a stack.
    """
    return project_settings(Settings)


def project_settings(kind: type[Loaded]) -> Loaded:
    """The same for a process, which reads a part of them."""
    if running_stack() is None and not _names_project():
        raise ServiceError(
            "no project and no embedded stack: set DATABASE_URL, DOCMILL_ADMIN_DATABASE_URL and "
            "SUPABASE_URL, or start a stack with docmill up --detach"
        )
    return complete_settings(kind)


def complete_settings(kind: type[Loaded]) -> Loaded:
    """The same where no project is needed, but at most its Redis. Raises SettingsError."""
    stack = running_stack()
    if stack is not None:
        for name, value in stack.environ().items():
            os.environ.setdefault(name, value)
    return load_settings(kind)


def _names_project() -> bool:
    return any(os.environ.get(name) for name in _PROJECT_VARIABLES)


@contextmanager
def admin_connection(settings: AdminSettings) -> Iterator[Connection]:
    """An autocommit connection with the admin URL. Raises ServiceError when it is refused."""
    url = settings.require("admin_database_url")
    try:
        connection = psycopg.connect(url, autocommit=True, **CONNECT_OPTIONS)
    except psycopg.OperationalError as error:
        if running_stack():
            raise ServiceError(
                f"the embedded PostgreSQL does not answer ({_reason(error)}): docmill down, then "
                "docmill up --detach"
            ) from None
        raise ServiceError(
            f"cannot connect with DOCMILL_ADMIN_DATABASE_URL ({_reason(error)}): "
            "check its host, port, user and password"
        ) from None
    with connection:
        yield connection


def owner_id(settings: AdminSettings, owner: str | None) -> str | None:
    """The owner as documents name them: an address is taken for the user who signs in with it.

    Raises RefusedError when nobody does.
    """
    if owner is None or "@" not in owner:
        return owner
    with admin_connection(settings) as connection:
        found = find_user(connection, owner)
    if found is None:
        raise RefusedError(f"no user has the address {owner}: --owner takes one, or a user's id")
    return found


def _reason(error: Exception) -> str:
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
        return f"the database answered: {_reason(error)}", ExitCode.ENVIRONMENT
    if isinstance(error, OSError):
        place = f" {error.filename}" if error.filename else ""
        return f"cannot use{place or ' the output'}: {error.strerror}", ExitCode.ENVIRONMENT
    if os.environ.get("DOCMILL_LOG_LEVEL") == "debug":
        traceback.print_exception(error)
    kind = type(error).__name__
    return (
        f"unexpected {kind}: {_reason(error)} (DOCMILL_LOG_LEVEL=debug shows where)",
        ExitCode.INTERNAL,
    )
