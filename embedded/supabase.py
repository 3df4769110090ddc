"""Make a fresh embedded database look like a Supabase project."""

from importlib.resources import files
from typing import Final

import psycopg
from psycopg import sql

from docmill.embedded.postgres import PostgresServer

#: The project's admin, and what PostgREST, Storage and Auth log in as.
LOGIN_ROLES: Final = (
    "postgres",
    "authenticator",
    "supabase_storage_admin",
    "supabase_auth_admin",
)


def bootstrap_supabase(server: PostgresServer, database: str = "postgres") -> None:
    """Create the roles, schemas and tables of a Supabase project in an empty database."""
    script = files("docmill.embedded").joinpath("supabase.sql").read_text()
    with psycopg.connect(server.url(database), autocommit=True) as connection:
        connection.execute(script.encode())


def set_password(server: PostgresServer, role: str, password: str) -> None:
    """Give a role a password to log in with."""
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute(
            sql.SQL("alter role {} password {}").format(sql.Identifier(role), sql.Literal(password))
        )
