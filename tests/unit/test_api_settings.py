"""The API's settings on their way to its process, and the keys of a data folder."""

import json
from pathlib import Path

import pytest

from docmill.embedded.api import ApiSettings, EmbeddingKeys
from docmill.embedded.api.settings import VARIABLE
from docmill.embedded.auth import AuthSettings
from docmill.embedded.keys import ApiKeys
from docmill.embedded.rest import RestSettings
from docmill.embedded.stack import load_keys
from docmill.embedded.storage import StorageSettings
from docmill.worker.errors import SettingsError

SETTINGS = ApiSettings(
    ApiKeys("jwt-canary", "sb_publishable_x", "sb_secret_canary"),
    StorageSettings("postgresql://canary", Path("/objects"), deliver_webhooks=False),
    RestSettings("postgresql://canary", schemas=("api",)),
    AuthSettings("postgresql://canary", "password-canary"),
    embedding=EmbeddingKeys({"voyage_api_key": "key-canary", "voyage_base_url": "https://canary"}),
    port=12345,
)


def test_settings_arrive_as_they_were_sent() -> None:
    assert ApiSettings.from_environ(SETTINGS.environ()) == SETTINGS
    assert SETTINGS.url == "http://127.0.0.1:12345"


def test_no_secret_shows_in_a_log() -> None:
    assert "canary" not in repr(SETTINGS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"port": "many"}, "port: "),
        ({"storage": {"data_dir": "/x"}}, "storage.database_url: "),
        ({"keys": None}, "keys: "),
    ],
)
def test_what_is_wrong_is_named_but_not_shown(change: dict[str, object], message: str) -> None:
    sent = json.loads(SETTINGS.environ()[VARIABLE])
    with pytest.raises(SettingsError, match=f"{VARIABLE}: {message}") as refused:
        ApiSettings.from_environ({VARIABLE: json.dumps({**sent, **change})})
    assert "canary" not in str(refused.value)
    assert "many" not in str(refused.value)
    with pytest.raises(SettingsError, match=f"set {VARIABLE}"):
        ApiSettings.from_environ({})


def test_a_data_folder_keeps_its_keys_and_gets_those_that_it_lacks(tmp_path: Path) -> None:
    made = load_keys(tmp_path)
    assert load_keys(tmp_path) == made
    path = tmp_path / "keys.json"
    assert path.stat().st_mode & 0o777 == 0o600
    older = json.loads(path.read_text())
    del older["demo_password"]
    path.write_text(json.dumps(older))
    completed = load_keys(tmp_path)
    assert completed.jwt_secret == made.jwt_secret
    assert completed.demo_password
    assert load_keys(tmp_path) == completed
