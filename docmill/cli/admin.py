"""The admin connection of commands. No process that stays imports this."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import psycopg

from docmill.cli.confirm import require_yes
from docmill.cli.context import running_stack
from docmill.cli.output import cell
from docmill.cli.unexpected import reason_of
from docmill.embedded.stack import DEFAULT_OWNER
from docmill.worker.admin.callers import find_user, is_known
from docmill.worker.errors import RefusedError, ServiceError
from docmill.worker.maintenance import sweeps
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


def require_known_owner(
    connection: Connection, owner: str | None, go_on: str, *, is_sure: bool, can_ask: bool
) -> None:
    """Return unless nobody is known by this id: a name that was mistyped belongs to nobody.

    An owner may be new all the same, where another Auth than Supabase's knows the users; then
    `--yes` is needed. `go_on` says what for. Raises UsageError, or typer.Abort after a no.
    """
    if owner is None or owner == DEFAULT_OWNER or is_known(connection, owner):
        return
    require_yes(unknown_owner(owner), go_on, is_sure=is_sure, can_ask=can_ask)


def unknown_owner(owner: str) -> str:
    """What is said of an owner whom neither Auth nor a document knows."""
    return f"no user has the id {cell(owner)}, and no document is theirs"


def note_unknown_owner(connection: Connection, owner: str | None) -> None:
    """Say on stderr why nothing was found, where the reason is a name that nobody has."""
    if owner is not None and not is_known(connection, owner):
        print(f"docmill: {unknown_owner(owner)}", file=sys.stderr)


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


def apply_holds(connection: Connection) -> int:
    """Hold the jobs that are paused or over a budget now, and let the others go on; how many."""
    return sum(sweeps.apply_pauses(lambda: nullcontext(connection)))
