"""One project with its Auth for all tests here; every test signs in for itself."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import psycopg
import pytest
from supabase import Client, create_client

from docmill.embedded.api import ApiServer
from docmill.embedded.auth import install_users
from docmill.embedded.postgres import PostgresServer
from docmill.embedded.stack import ALICE, BOB, DEMO_USERS
from tests.support.api import (
    DEMO_PASSWORD,
    KEYS,
    assert_nothing_went_wrong,
    http_client,
    start_test_api,
)
from tests.support.database import Database, make_database

ALICE_EMAIL = DEMO_USERS[ALICE]
BOB_EMAIL = DEMO_USERS[BOB]
VERSION = {"X-Supabase-Api-Version": "2024-01-01"}


@dataclass(frozen=True)
class AuthApi:
    """The running API and its database."""

    database: Database
    server: ApiServer
    http: httpx.Client

    def client(self) -> Client:
        """supabase-py without a session."""
        return create_client(self.server.url, KEYS.publishable_key)

    def signed_in(self, email: str = ALICE_EMAIL) -> dict[str, Any]:
        """The answer to a sign-in over plain HTTP."""
        body = {"email": email, "password": DEMO_PASSWORD}
        response = self.http.post("/token?grant_type=password", json=body)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    def refreshed(self, token: str) -> httpx.Response:
        """The answer to a refresh."""
        return self.http.post("/token?grant_type=refresh_token", json={"refresh_token": token})

    def user(self, access_token: str) -> httpx.Response:
        """The answer to: who am I?"""
        return self.http.get("/user", headers={"Authorization": f"Bearer {access_token}"})

    def admin(self) -> psycopg.Connection[Any]:
        """The database as the superuser."""
        return self.database.connect()


@pytest.fixture(scope="session")
def auth(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AuthApi]:
    """The project, three users and their Auth."""
    folder = tmp_path_factory.mktemp("auth")
    with make_database(postgres, "project") as database:
        with database.connect() as admin:
            install_users(admin, DEMO_USERS)
            install_users(admin, DEMO_USERS)  # again changes nothing
        server = start_test_api(database, folder, deliver_webhooks=False)
        http = http_client(f"{server.url}/auth/v1")
        try:
            yield AuthApi(database, server, http)
        finally:
            http.close()
            server.stop()
    assert_nothing_went_wrong(folder, DEMO_PASSWORD, ALICE_EMAIL)
