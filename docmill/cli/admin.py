"""The admin connection of commands. No long-running process imports this."""

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
    """Open an autocommit connection with the admin URL. Raises ServiceError if that fails."""
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
    """Check that somebody has this owner id, because a mistyped id belongs to nobody.

    A new owner may be unknown if users sign in with another system than Supabase Auth; then `--yes`
    is needed. `go_on` completes the sentence "say --yes to ...". Raises UsageError, or typer.Abort
    after a no.
    """
    if owner is None or owner == DEFAULT_OWNER or is_known(connection, owner):
        return
    require_yes(unknown_owner(owner), go_on, is_sure=is_sure, can_ask=can_ask)


def unknown_owner(owner: str) -> str:
    """The message for an owner that neither Auth nor any document knows."""
    return f"no user has the id {cell(owner)}, and no document is theirs"


def note_unknown_owner(connection: Connection, owner: str | None) -> None:
    """Explain on stderr that nothing was found because nobody has this owner id."""
    if owner is not None and not is_known(connection, owner):
        print(f"docmill: {unknown_owner(owner)}", file=sys.stderr)


def owner_id(settings: AdminSettings, owner: str | None) -> str | None:
    """The owner's id as documents store it; an e-mail address becomes the id of that user.

    Raises RefusedError if no user has the address.
    """
    if owner is None or "@" not in owner:
        return owner
    with admin_connection(settings) as connection:
        found = find_user(connection, owner)
    if found is None:
        raise RefusedError(f"no user has the address {owner}: --owner takes one, or a user's id")
    return found


def apply_holds(connection: Connection) -> int:
    """Hold the jobs that are paused or over a budget, and release the others; return the number."""
    return sum(sweeps.apply_pauses(lambda: nullcontext(connection)))
