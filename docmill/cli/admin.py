"""The admin connection of commands. No process that stays imports this."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from docmill.cli.context import running_stack
from docmill.cli.unexpected import reason_of
from docmill.worker.admin.callers import find_user
from docmill.worker.errors import RefusedError, ServiceError
from docmill.worker.settings.parts import AdminSettings
from docmill.worker.store.database import CONNECT_OPTIONS, Connection


@contextmanager
def admin_connection(settings: AdminSettings) -> Iterator[Connection]:
    """An autocommit connection with the admin URL. Raises ServiceError when it is refused."""
    url = settings.require("admin_database_url")
    try:
        connection = psycopg.connect(url, autocommit=True, **CONNECT_OPTIONS)
    except psycopg.OperationalError as error:
        if running_stack():
            raise ServiceError(
                f"the embedded PostgreSQL does not answer ({reason_of(error)}): docmill down, then "
                "docmill up --detach"
            ) from None
        raise ServiceError(
            f"cannot connect with DOCMILL_ADMIN_DATABASE_URL ({reason_of(error)}): "
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
