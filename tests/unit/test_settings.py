"""Settings answer bad values by name and remedy."""

import pytest

from docmill.worker.errors import SettingsError
from docmill.worker.settings.environment import load_settings
from docmill.worker.settings.processes import PROCESSES, BeatSettings, Settings, WorkerSettings


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
