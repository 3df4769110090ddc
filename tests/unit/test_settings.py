"""Errors for bad settings name the setting and the remedy."""

import pytest
from pydantic import ValidationError

from docmill.worker.errors import SettingsError
from docmill.worker.processes.connections import first_index, served_providers
from docmill.worker.settings.environment import load_settings
from docmill.worker.settings.parts import EmbedderSettings
from docmill.worker.settings.processes import PROCESSES, BeatSettings, Settings, WorkerSettings
from tests.support.fake_providers import DIMENSIONS, FakeProvider


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in os.environ:
        if name.startswith(("DOCMILL_", "SUPABASE_", "OPENAI_")) or name in (
            "DATABASE_URL",
            "REDIS_URL",
        ):
            monkeypatch.delenv(name)


def test_standard_names_are_honoured_and_our_own_come_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://standard")
    assert load_settings(Settings).require("database_url") == "postgresql://standard"
    monkeypatch.setenv("DOCMILL_DATABASE_URL", "postgresql://own")
    assert load_settings(Settings).require("database_url") == "postgresql://own"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DOCMILL_SLOTS", "0"),
        ("DOCMILL_SLOTS", "many"),
        ("DOCMILL_LEASE_SECONDS", "-1"),
        ("DOCMILL_EMBEDDER", "magic"),
        ("DOCMILL_WEBHOOK_SIGNING_SECRETS", "plain"),
        ("DOCMILL_RETRY_MAX_SECONDS", "0.5"),
        ("DOCMILL_SPOOL_BYTES", "1"),
        ("DOCMILL_STARVED_SECONDS", "30"),
        ("DOCMILL_RESEND_SECONDS", "120"),
        ("DOCMILL_PRUNE", "hourly"),
        ("DOCMILL_RECONCILE_ALL", "0 3 * *"),
        ("DOCMILL_RETRY_FAILED", "0 24 * * *"),
        ("DOCMILL_RETRY_FAILED_CODES", "internal_error,bad_luck"),
        ("DOCMILL_REINDEX_OUTDATED", "0 3 31 2 *"),
        ("DOCMILL_SCHEDULE_TIME_ZONE", "Europe/Bonn"),
        ("DOCMILL_SCHEDULE_TIME_ZONE", "../UTC"),
    ],
)
def test_a_bad_value_is_answered_by_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=name):
        load_settings(Settings)


def test_an_unknown_setting_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCMILL_SLOT", "4")
    with pytest.raises(SettingsError, match="unknown setting DOCMILL_SLOT: use DOCMILL_SLOTS"):
        load_settings(Settings)


def test_a_bad_value_is_shown_unless_it_is_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCMILL_SLOTS", "many")
    monkeypatch.setenv("DOCMILL_WEBHOOK_SIGNING_SECRETS", "canary")
    with pytest.raises(SettingsError) as raised:
        load_settings(Settings)
    assert "DOCMILL_SLOTS is 'many'" in str(raised.value)
    assert "canary" not in str(raised.value)


def test_a_missing_setting_names_its_variables() -> None:
    with pytest.raises(SettingsError, match="DOCMILL_DATABASE_URL or DATABASE_URL"):
        load_settings(Settings).require("database_url")


def test_the_width_of_an_unknown_model_must_be_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCMILL_EMBEDDING_MODEL", "somebody/else")
    with pytest.raises(SettingsError, match="DOCMILL_EMBEDDING_DIMENSIONS"):
        _ = load_settings(Settings).dimensions


def test_a_process_is_not_ended_by_what_it_does_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCMILL_SLOTS", "many")
    monkeypatch.setenv("REDIS_URL", "redis://here")
    assert load_settings(BeatSettings).require("redis_url") == "redis://here"
    with pytest.raises(SettingsError, match="DOCMILL_SLOTS"):
        load_settings(WorkerSettings)


def test_no_process_has_the_admin_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCMILL_ADMIN_DATABASE_URL", "postgresql://canary")
    assert "canary" in str(load_settings(Settings).require("admin_database_url"))
    for kind in PROCESSES.values():
        assert "admin_database_url" not in kind.model_fields
        assert "canary" not in str(load_settings(kind).model_dump())


def test_secrets_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPABASE_SECRET_KEY", "sb_secret_canary")
    monkeypatch.setenv("DOCMILL_WEBHOOK_SIGNING_SECRETS", "whsec_Y2FuYXJ5,whsec_Y2FuYXJ5Mg==")
    settings = load_settings(Settings)
    assert len(settings.webhook_signing_secrets) == 2
    assert "canary" not in repr(settings)
    assert "whsec_Y2" not in repr(settings)


def test_what_is_paid_for_again_is_off_until_somebody_turns_it_on() -> None:
    settings = load_settings(WorkerSettings)
    assert settings.reindex_outdated is None
    assert settings.retry_failed is None


def test_cron_expressions_and_codes_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCMILL_RETRY_FAILED", " 30  3 * *\tsun ")
    monkeypatch.setenv("DOCMILL_RETRY_FAILED_CODES", "internal_error, parse_stalled")
    monkeypatch.setenv("DOCMILL_SCHEDULE_TIME_ZONE", "Europe/Berlin")
    settings = load_settings(WorkerSettings)
    assert settings.retry_failed == "30 3 * * sun"
    assert settings.retry_failed_codes == ("internal_error", "parse_stalled")


def embedders(**variables: str) -> EmbedderSettings:
    return EmbedderSettings.model_validate(variables)


def test_a_provider_is_reached_where_its_settings_are_complete(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = load_settings(WorkerSettings)
    assert served_providers(settings) == ["e5", "local"]
    monkeypatch.setenv("VOYAGE_API_KEY", "key")
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "key")
    monkeypatch.setenv("DOCMILL_COMPATIBLE_BASE_URL", "http://localhost:8080/v1")
    settings = load_settings(WorkerSettings)
    assert served_providers(settings) == ["compatible", "e5", "local", "voyage"]
    with pytest.raises(SettingsError, match="DOCMILL_AZURE_BASE_URL or AZURE_OPENAI_ENDPOINT"):
        settings.require_provider("azure")
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://name.openai.azure.com")
    azure = load_settings(WorkerSettings).require_provider("azure")
    assert azure.access == {
        "api_key": "key",
        "base_url": "https://name.openai.azure.com",
        "api_version": "2024-10-21",
    }
    assert "key" not in repr(azure)


def test_the_names_of_the_first_release_reach_openai(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "key")
    monkeypatch.setenv("OPENAI_BASE_URL", "https://proxy/v1")
    access = load_settings(WorkerSettings).require_provider("openai").access
    assert access == {"api_key": "key", "base_url": "https://proxy/v1"}
    monkeypatch.delenv("OPENAI_BASE_URL")
    access = load_settings(WorkerSettings).require_provider("openai").access
    assert access["base_url"] == "https://api.openai.com/v1"


def test_an_unknown_provider_is_answered_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="add it to DOCMILL_PROVIDERS"):
        load_settings(Settings).require_provider("mine")
    monkeypatch.setenv("DOCMILL_EMBEDDER", "voyag")
    with pytest.raises(SettingsError, match=r"'voyag': write one of openai, azure.*a name of"):
        load_settings(Settings)


def test_providers_of_one_s_own_have_a_form() -> None:
    settings = embedders(
        providers='{"mine": {"base_url": "http://x/v1"}, "voyage": {"base_url": "https://v/v1", '
        '"api_key": "k"}, "eu": {"form": "azure", "base_url": "https://eu", "api_key": "k"}}',
        embedder="mine",
    )
    assert {name: one.provider.name for name, one in settings.named_providers.items()} == {
        "mine": "compatible",
        "voyage": "compatible",  # as it was before docmill had Voyage's own form
        "eu": "azure",
    }
    assert settings.require_provider("eu").access["api_version"] == "2024-10-21"
    assert served_providers(settings) == ["e5", "eu", "local", "mine", "voyage"]
    with pytest.raises(SettingsError, match="DOCMILL_EMBEDDING_MODEL: mine"):
        _ = settings.model


@pytest.mark.parametrize(
    ("providers", "message"),
    [
        ("[]", "write JSON such as"),
        ("{", "write JSON such as"),
        ('{"a": 7}', "write JSON such as"),
        ('{"local": {}}', "docmill's own"),
        ('{"e5": {"base_url": "http://x"}}', "docmill's own"),
        ('{"A": {}}', "lower-case letter"),
        ('{"a": {}}', "a needs base_url"),
        ('{"a": {"base_url": "ftp://x"}}', "begins with http"),
        ('{"a": {"base_url": 7}}', "a needs base_url"),
        (
            '{"a": {"base_url": "https://x", "key": "canary"}}',
            "a: key is not one of base_url, api_key",
        ),
        ('{"a": {"base_url": "https://x", "form": "local"}}', "a: form must be one of azure"),
        ('{"a": {"base_url": "https://x", "form": "cohere"}}', "a needs api_key"),
    ],
)
def test_a_bad_provider_is_answered_without_its_key(
    monkeypatch: pytest.MonkeyPatch, providers: str, message: str
) -> None:
    monkeypatch.setenv("DOCMILL_PROVIDERS", providers)
    with pytest.raises(SettingsError, match=f"DOCMILL_PROVIDERS: .*{message}") as raised:
        load_settings(Settings)
    assert "canary" not in str(raised.value)


def test_the_first_index_is_made_for_the_provider_s_own_model() -> None:
    made = first_index(embedders(embedder="cohere"), chunk_tokens=400)
    assert (made.provider, made.model, made.dimensions, made.sends_dimensions, made.chunking) == (
        "cohere", "embed-v4.0", 1536, True, {"max_tokens": 400},
    )  # fmt: skip
    ada = embedders(embedding_model="text-embedding-ada-002")
    assert not first_index(ada, chunk_tokens=400).sends_dimensions
    told = embedders(embedder="azure", embedding_model="mine", embedding_dimensions="512",
                     embedding_send_dimensions="true")  # fmt: skip
    assert first_index(told, chunk_tokens=400).sends_dimensions
    with pytest.raises(SettingsError, match="DOCMILL_EMBEDDING_DIMENSIONS"):
        first_index(embedders(embedder="azure", embedding_model="mine"), chunk_tokens=400)
    small = embedders(embedder="cohere", embedding_model="embed-english-v3.0")
    with pytest.raises(SettingsError, match=r"DOCMILL_CHUNK_TOKENS is 600: .* takes 512 tokens"):
        first_index(small, chunk_tokens=600)


def test_a_server_is_asked_how_wide_its_embeddings_are() -> None:
    server = FakeProvider("compatible")
    try:
        settings = embedders(
            embedder="compatible", embedding_model="m", compatible_base_url=f"{server.root}/v1"
        )
        assert first_index(settings, chunk_tokens=400).dimensions == DIMENSIONS
        server.respond = lambda _texts: (404, {}, {})
        with pytest.raises(SettingsError, match=r"DIMENSIONS: .* asked .*: provider_model_missing"):
            first_index(settings, chunk_tokens=400)
    finally:
        server.close()


def test_prices_are_those_of_the_settings_then_those_of_the_list() -> None:
    listed = embedders()
    assert listed.usd_per_million_tokens("openai", "text-embedding-3-large") == 0.13
    assert listed.usd_per_million_tokens("compatible", "mine") == 0
    assert listed.usd_per_million_tokens("gone", "m") == 0
    said = embedders(embedding_usd_per_million_tokens="5", embedding_prices='{"m": 7}')
    assert said.usd_per_million_tokens("openai", "m") == 7
    assert said.usd_per_million_tokens("gone", "other") == 5
    assert said.usd_per_million_tokens("local", "wordllama-l2-supercat-256") == 0
    for bad in ("[]", '{"m": "x"}', '{"m": -1}', "x"):
        with pytest.raises(ValidationError, match=r"JSON|price"):
            embedders(embedding_prices=bad)
