"""The project's Auth; every test signs in by itself."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.contract.target import Target, skip

VERSION = {"X-Supabase-Api-Version": "2024-01-01"}


@dataclass(frozen=True)
class AuthApi:
    """Calls Auth like supabase-js and supabase-py."""

    target: Target
    http: httpx.Client

    @property
    def email(self) -> str:
        """The address of a user."""
        return self.target.emails[0]

    def signed_in(self, email: str = "") -> dict[str, Any]:
        """The answer to a sign-in over plain HTTP."""
        body = {"email": email or self.email, "password": self.target.password}
        response = self.http.post("/token?grant_type=password", json=body)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    def refreshed(self, token: str) -> httpx.Response:
        """The answer to a refresh."""
        return self.http.post("/token?grant_type=refresh_token", json={"refresh_token": token})

    def user(self, access_token: str) -> httpx.Response:
        """The answer to GET /user."""
        return self.http.get("/user", headers={"Authorization": f"Bearer {access_token}"})


@pytest.fixture(scope="session")
def auth(target: Target) -> Iterator[AuthApi]:
    """Auth, and a user who can sign in."""
    if not target.emails or not target.password:
        skip("SUPABASE_EMAIL and SUPABASE_PASSWORD")
    with target.http("auth", bearer=target.public_key(), **VERSION) as http:
        yield AuthApi(target, http)
