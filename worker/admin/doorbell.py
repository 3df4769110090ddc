"""The doorbell on storage.objects: its address and its secrets. For the schema's owner.

The address is in ingest_private.settings. The secrets are in Vault: the newest and, after a
rotation, the one before it. Both sign each request, so a receiver may know either of them, and no
receiver must be restarted at a certain moment.
"""

import base64
import secrets
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, LiteralString
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg.rows import dict_row

from docmill.worker.errors import UsageError

Connection = psycopg.Connection[Any]

#: Where `docmill webhook` listens.
RECEIVER_PATH: Final = "/webhooks/storage"
_SECRET_BYTES: Final = 32

_READ: Final[LiteralString] = """
    select (select value ->> 'url' from ingest_private.settings where name = 'webhook') as url,
           (select value from ingest_private.settings where name = 'webhook_failure') as failure
"""
_SET_URL: Final[LiteralString] = """
    insert into ingest_private.settings (name, value)
    values ('webhook', jsonb_build_object('url', %(url)s::text))
        on conflict (name) do update set value = excluded.value
"""
_FORGET_FAILURE: Final[LiteralString] = """
    delete from ingest_private.settings where name = 'webhook_failure'
"""
_REMOVE: Final[LiteralString] = """
    delete from ingest_private.settings where name in ('webhook', 'webhook_failure')
"""
_HAS_SCHEMA: Final[LiteralString] = """
    select exists (select from pg_namespace where nspname = %(name)s)
"""
_READ_SECRETS: Final[LiteralString] = """
    select id, decrypted_secret from vault.decrypted_secrets
     where name = 'docmill_webhook_signing_secrets'
"""
_CREATE_SECRETS: Final[LiteralString] = """
    select vault.create_secret(%(secrets)s, 'docmill_webhook_signing_secrets',
                               'What signs the events of docmill: docmill schema webhook.')
"""
_UPDATE_SECRETS: Final[LiteralString] = "select vault.update_secret(%(id)s, %(secrets)s)"
_REMOVE_SECRETS: Final[LiteralString] = """
    delete from vault.secrets where name = 'docmill_webhook_signing_secrets'
"""
_ANSWER: Final[LiteralString] = """
    select status_code, coalesce(timed_out, false), error_msg
      from net._http_response where id = %(request)s
"""
#: More than a request of the doorbell may take.
_ANSWER_SECONDS: Final = 8.0
_RING: Final[LiteralString] = """
    select ingest_private.ring_doorbell(
               'INSERT', ingest_private.event_row(gen_random_uuid(), 'docmill', 'test', '1'), null)
"""


@dataclass(frozen=True)
class Doorbell:
    """The installed doorbell, and whether it works."""

    url: str | None
    problem: str | None = None  #: why it cannot ring now, and the remedy
    failed_at: datetime | None = None  #: the last failure at an upload, to the minute
    failure: str | None = None


def read_doorbell(connection: Connection) -> Doorbell:
    """Read the installed doorbell. Tries to ring and rolls back: nothing is sent."""
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(_READ).fetchone()
    assert row is not None
    if row["url"] is None:
        return Doorbell(None)
    failure = row["failure"] or {"at": None, "message": None}
    failed_at = datetime.fromisoformat(failure["at"]) if failure["at"] else None
    return Doorbell(row["url"], _problem(connection), failed_at, failure["message"])


def install_doorbell(connection: Connection, url: str) -> str | None:
    """Ring at this address from now on; return the secret if a new one was made.

    Repeatable: another address replaces the first, and the secret stays. Raises UsageError, and
    changes nothing, if the database cannot send.
    """
    with connection.transaction():
        _require_extensions(connection)
        made = None
        if _secrets(connection) is None:
            made = _new_secret()
            connection.execute(_CREATE_SECRETS, {"secrets": made})
        connection.execute(_SET_URL, {"url": receiver_url(url)})
        connection.execute(_FORGET_FAILURE)
        _require_ringing(connection)
    return made


def rotate_secret(connection: Connection) -> str:
    """Make a new secret that signs from now on, beside the one before it; return it.

    Also repairs a doorbell whose secret is missing or broken. Raises UsageError if there is no
    doorbell.
    """
    made = _new_secret()
    with connection.transaction():
        if read_doorbell(connection).url is None:
            raise UsageError("no doorbell is installed: docmill schema webhook --url https://...")
        _require_extensions(connection)
        found = _secrets(connection)
        if found is None:
            connection.execute(_CREATE_SECRETS, {"secrets": made})
        else:
            secret_id, before = found
            kept = [secret for secret in before.split(",")[:1] if _is_secret(secret)]
            connection.execute(
                _UPDATE_SECRETS, {"id": secret_id, "secrets": ",".join([made, *kept])}
            )
        connection.execute(_FORGET_FAILURE)
        _require_ringing(connection)
    return made


def remove_doorbell(connection: Connection) -> bool:
    """Remove the doorbell and its secrets. False if there was none."""
    with connection.transaction():
        was_there = connection.execute(_REMOVE).rowcount > 0
        if _has_schema(connection, "vault"):
            connection.execute(_REMOVE_SECRETS)
    return was_there


def receiver_url(given: str) -> str:
    """The address for pg_net; if only a host was given, with the receiver's path."""
    try:
        parts = urlsplit(given)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        is_address = False
    if not is_address or any(character <= " " for character in given):
        raise UsageError(f"--url {given!r} is not an address that starts with https://")
    if parts.username is not None or parts.fragment:
        raise UsageError("--url takes no user, password or fragment: the signature says who sends")
    if parts.path in ("", "/"):
        parts = parts._replace(path=RECEIVER_PATH)
    return urlunsplit(parts)


def _new_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def _is_secret(text: str) -> bool:
    try:
        key = base64.b64decode(text.removeprefix("whsec_"), validate=True)
    except ValueError:
        return False
    return text.startswith("whsec_") and bool(key)


def _has_schema(connection: Connection, name: str) -> bool:
    row = connection.execute(_HAS_SCHEMA, {"name": name}).fetchone()
    assert row is not None
    return bool(row[0])


def _missing_extension(connection: Connection) -> str | None:
    for schema, extension in (("net", "pg_net"), ("vault", "supabase_vault")):
        if not _has_schema(connection, schema):
            return f"the extension {extension} is missing: enable it in the dashboard"
    return None


def _require_extensions(connection: Connection) -> None:
    missing = _missing_extension(connection)
    if missing is not None:
        raise UsageError(f"the database cannot send: {missing}")


def _secrets(connection: Connection) -> tuple[Any, str] | None:
    return connection.execute(_READ_SECRETS).fetchone()


def _problem(connection: Connection) -> str | None:
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(_RING)
    except psycopg.Error as error:
        said = error.diag.message_primary or type(error).__name__
        return _missing_extension(connection) or said
    return None


def try_doorbell(connection: Connection) -> str | None:
    """Send a real request about no object, wait for the answer, and return the problem, if any.

    The connection must be in autocommit mode, because pg_net sends only after a commit.
    """
    row = connection.execute(_RING).fetchone()
    assert row is not None
    deadline = time.monotonic() + _ANSWER_SECONDS
    while time.monotonic() < deadline:
        answer = connection.execute(_ANSWER, {"request": row[0]}).fetchone()
        if answer is not None:
            return _refusal(*answer)
        time.sleep(0.1)
    return "pg_net sends nothing: see that its worker runs (select net.check_worker_is_up())"


def _refusal(status: int | None, timed_out: object, error: str | None) -> str | None:
    if status is None:
        said = "no answer in time" if timed_out else error or "no answer"
        return f"{said}: start docmill webhook, and see that the database reaches its address"
    if status == 401:
        return "it refuses the signature: give it the secret that docmill schema webhook has shown"
    if status >= 300:
        return f"it answers with status {status}: see what docmill webhook logs"
    return None


def _require_ringing(connection: Connection) -> None:
    problem = _problem(connection)
    if problem is not None:
        raise UsageError(f"the database cannot send: {problem}")
