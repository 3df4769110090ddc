"""The project that commands work on: the environment's, or else the running embedded stack."""

import os
from functools import lru_cache
from typing import Final

from docmill.embedded.stack import StackInfo, find_running
from docmill.worker.errors import ServiceError
from docmill.worker.settings.environment import Loaded, load_settings, variables_read
from docmill.worker.settings.processes import Settings

#: If one of these is set, the environment names a project of its own.
_PROJECT_VARIABLES: Final = (
    "DATABASE_URL",
    "DOCMILL_DATABASE_URL",
    "DOCMILL_ADMIN_DATABASE_URL",
    "SUPABASE_URL",
    "DOCMILL_SUPABASE_URL",
)


@lru_cache(maxsize=1)
def running_stack() -> StackInfo | None:
    """The embedded stack that this command works on; None if the environment names a project.

    The answer is kept from the first call, because `settings_in_use` later adds the stack's
    addresses to the environment.
    """
    return None if _names_project() else find_running()


def settings_in_use() -> Settings:
    """Settings from the environment, completed from the embedded stack when one runs here.

    Raises SettingsError, or ServiceError when there is neither a project nor a stack.
    """
    return project_settings(Settings)


def project_settings(kind: type[Loaded]) -> Loaded:
    """As `settings_in_use`, for a process that reads only some settings."""
    if running_stack() is None and not _names_project():
        raise ServiceError(
            "no project and no embedded stack: set DATABASE_URL, DOCMILL_ADMIN_DATABASE_URL and "
            "SUPABASE_URL, or start a stack with docmill up --detach"
        )
    return complete_settings(kind)


def complete_settings(kind: type[Loaded]) -> Loaded:
    """Settings of a command that needs no project, and at most its Redis. Raises SettingsError."""
    stack = running_stack()
    if stack is not None:
        read = variables_read(kind)
        for name, value in stack.environ().items():
            if name in read:
                os.environ.setdefault(name, value)
    return load_settings(kind)


def _names_project() -> bool:
    return any(os.environ.get(name) for name in _PROJECT_VARIABLES)
