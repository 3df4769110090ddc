"""Make a fresh embedded database look like a Supabase project."""

from importlib.resources import files
from typing import Final

import psycopg
from psycopg import sql

from docmill.embedded.postgres import PostgresServer

#: The project's admin, and the login roles of PostgREST, Storage and Auth.
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
    """Set the login password of a role."""
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute(
            sql.SQL("alter role {} password {}").format(sql.Identifier(role), sql.Literal(password))
        )
