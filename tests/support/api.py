"""The API on a test's database."""

from pathlib import Path
from typing import Any

import httpx
from supabase import Client, ClientOptions, create_client

from docmill.embedded.api import ApiServer, ApiSettings, start_api
from docmill.embedded.auth import AuthSettings
from docmill.embedded.keys import ApiKeys
from docmill.embedded.process import free_port
from docmill.embedded.rest import RestSettings
from docmill.embedded.storage import StorageSettings
from tests.support.database import Database

KEYS = ApiKeys(
    jwt_secret="a secret of at least thirty-two bytes",
    publishable_key="sb_publishable_test",
    secret_key="sb_secret_canary",
)
DEMO_PASSWORD = "demo-canary"


def api_settings(database: Database, folder: Path, **storage: Any) -> ApiSettings:
    """Settings with a free port; keyword arguments are for Storage."""
    return ApiSettings(
        KEYS,
        StorageSettings(database.url("supabase_storage_admin"), folder / "objects", **storage),
        RestSettings(database.url("authenticator")),
        AuthSettings(database.url("supabase_auth_admin"), DEMO_PASSWORD),
        port=free_port(),
    )


def start_test_api(database: Database, folder: Path, **storage: Any) -> ApiServer:
    """Start it; its log is `folder`/api.log."""
    return start_api(api_settings(database, folder, **storage), log_path=folder / "api.log")


def user_client(url: str, token: str, key: str = KEYS.publishable_key) -> Client:
    """supabase-py as a user."""
    options = ClientOptions(headers={"Authorization": f"Bearer {token}"})
    return create_client(url, key, options)


def http_client(url: str, key: str = KEYS.publishable_key, **headers: str) -> httpx.Client:
    """Plain HTTP below this address, to see details that supabase-py hides."""
    return httpx.Client(
        base_url=url,
        headers={"apikey": key, **headers},
        # Without TLS: loading certificates would take most of a test's time.
        verify=url.startswith("https:"),
    )


def assert_nothing_went_wrong(folder: Path, *secrets: str) -> None:
    """After its tests, an API's log has no error of docmill, and no secret."""
    log = (folder / "api.log").read_text()
    assert "Traceback" not in log
    for secret in (KEYS.secret_key, KEYS.jwt_secret, *secrets):
        assert secret not in log
