"""A Database Webhook on storage.objects, like one made in the dashboard."""

import json
from typing import Any, Final

import psycopg
from psycopg import sql

TRIGGER: Final = "docmill_webhook"
#: The dashboard's default, in milliseconds. The function's own default is 1000.
TIMEOUT_MILLISECONDS: Final = 5000


def install_webhook(connection: psycopg.Connection[Any], url: str, secret: str) -> None:
    """POST every change of storage.objects to `url`, with `secret` in x-webhook-secret.

    Runs as the project's admin, in the connection's transaction. Repeatable: another url or secret
    replaces the first. As on every Supabase project, anybody who may read pg_trigger can read the
    secret.
    """
    headers = {"Content-type": "application/json", "x-webhook-secret": secret}
    connection.execute(
        sql.SQL(
            "create or replace trigger {} after insert or update or delete on storage.objects"
            " for each row execute function"
            " supabase_functions.http_request({}, 'POST', {}, '{{}}', {})"
        ).format(
            sql.Identifier(TRIGGER),
            sql.Literal(url),
            sql.Literal(json.dumps(headers)),
            sql.Literal(str(TIMEOUT_MILLISECONDS)),
        )
    )
