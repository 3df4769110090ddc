"""The project under test: a part of the embedded stack, or any project by its URL.

For some tests of another project its secret key is enough. Others need users who can sign in, or a
connection to the database as `postgres`; without it they are skipped with this reason. All that the
tests make has NAME in its name and is removed at the end.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

import httpx
import psycopg
import pytest
from supabase import Client, create_client

from docmill.embedded.api import ApiServer
from tests.support.api import DEMO_PASSWORD, KEYS, http_client, user_client
from tests.support.database import Database

#: The beginning of names: of buckets with `-`, of tables and functions with `_`.
NAME = "docmill-test"


@dataclass(frozen=True)
class User:
    """A signed-in user."""

    id: str
    token: str = field(repr=False)
    client: Client  #: supabase-py as this user


@dataclass(frozen=True)
class Inside:
    """Data that only the tests' own stack shows."""

    database: Database
    server: ApiServer

    @property
    def log(self) -> str:
        """The log of the API so far."""
        return self.server.child.log_path.read_text()


@dataclass(frozen=True)
class Target:
    """A project: its address, and its keys and users."""

    url: str
    secret_key: str = field(repr=False)
    publishable_key: str = field(default="", repr=False)
    emails: tuple[str, ...] = ()
    password: str = field(default="", repr=False)
    database_url: str = field(default="", repr=False)  #: for a role that may make tables
    inside: Inside | None = None

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] = os.environ) -> Self | None:
        """The project of `make contract`; None if none is named."""
        if not environ.get("CONTRACT_URL"):
            return None
        emails = (environ.get("CONTRACT_EMAIL", ""), environ.get("CONTRACT_OTHER_EMAIL", ""))
        return cls(
            environ["CONTRACT_URL"].rstrip("/"),
            environ.get("CONTRACT_KEY", ""),
            environ.get("CONTRACT_PUBLISHABLE_KEY", ""),
            tuple(email for email in emails if email),
            environ.get("CONTRACT_PASSWORD", ""),
            environ.get("CONTRACT_DB_URL", ""),
        )

    @classmethod
    def of(cls, database: Database, server: ApiServer, emails: tuple[str, ...]) -> Self:
        """The tests' own stack."""
        return cls(
            *(server.url, KEYS.secret_key, KEYS.publishable_key, emails, DEMO_PASSWORD),
            database.superuser_url,
            Inside(database, server),
        )

    def http(self, part: str, bearer: str | None = None, **headers: str) -> httpx.Client:
        """Plain HTTP to a part, for details that supabase-py hides; by default as the service."""
        key = self.secret_key if bearer is None else self.public_key()
        authorization = {"Authorization": f"Bearer {self.secret_key if bearer is None else bearer}"}
        return http_client(f"{self.url}/{part}/v1", key, **{**authorization, **headers})

    def public_key(self) -> str:
        """The publishable key; without one the test is skipped."""
        return self.publishable_key or skip("SUPABASE_PUBLISHABLE_KEY")

    @cached_property
    def service(self) -> Client:
        """supabase-py with the secret key."""
        return create_client(self.url, self.secret_key)

    def anonymous(self) -> Client:
        """supabase-py with the publishable key."""
        return create_client(self.url, self.public_key())

    def sign_in(self, number: int) -> User:
        """One of the users; without users the test is skipped."""
        if len(self.emails) <= number or not self.password:
            skip("SUPABASE_EMAIL, SUPABASE_OTHER_EMAIL and SUPABASE_PASSWORD")
        body = {"email": self.emails[number], "password": self.password}
        with self.http("auth", bearer=self.public_key()) as http:
            answer = http.post("/token?grant_type=password", json=body)
        assert answer.status_code == 200, answer.text
        token = answer.json()["access_token"]
        client = user_client(self.url, token, self.public_key())
        return User(answer.json()["user"]["id"], token, client)

    def connect(self) -> "psycopg.Connection[Any]":
        """The database as its admin; without a URL the test is skipped."""
        if not self.database_url:
            skip("SUPABASE_DB_URL")
        return psycopg.connect(self.database_url, autocommit=True, prepare_threshold=None)


def skip(wanted: str) -> Any:
    """Skip the test, because the project lacks this."""
    pytest.skip(f"needs {wanted} of the project")
