"""The API on a test's database."""

from pathlib import Path
from typing import Any

from tests.support.database import Database
from worker.local.api import ApiServer, ApiSettings, start_api
from worker.local.auth import AuthSettings
from worker.local.keys import ApiKeys
from worker.local.process import free_port
from worker.local.rest import RestSettings
from worker.local.storage import StorageSettings

KEYS = ApiKeys(
    jwt_secret="a secret of at least thirty-two bytes",
    publishable_key="sb_publishable_test",
    secret_key="sb_secret_canary",
)
DEMO_PASSWORD = "demo-canary"


def api_settings(database: Database, folder: Path, **storage: Any) -> ApiSettings:
    """Settings with a port of their own; keywords are Storage's."""
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
