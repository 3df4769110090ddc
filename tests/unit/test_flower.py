"""Who may open Flower, and what it shows of a document."""

from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest

from docmill.worker.errors import SettingsError
from docmill.worker.processes.flower import login_of, readable
from docmill.worker.queue import shown_document
from docmill.worker.settings.processes import FlowerSettings
from docmill.worker.store.jobs import ReadyJob


def settings(host: str, user: str | None = None, password: str | None = None) -> FlowerSettings:
    return FlowerSettings.model_validate(
        {"flower_host": host, "flower_user": user, "flower_password": password}
    )


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_on_loopback_a_login_may_be_asked_for(host: str) -> None:
    assert login_of(settings(host)) is None
    assert login_of(settings(host, "me", "secret:with colon")) == "me:secret:with colon"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.168.1.2", "example.org", "localhost."])
def test_elsewhere_it_must_be(host: str) -> None:
    with pytest.raises(SettingsError, match="DOCMILL_FLOWER_USER and DOCMILL_FLOWER_PASSWORD"):
        login_of(settings(host))
    assert login_of(settings(host, "me", "secret")) == "me:secret"


@pytest.mark.parametrize(
    ("user", "password", "says"),
    [
        ("me", None, "set both"),
        (None, "canary", "set both"),
        ("m:e", "canary", "no colon"),
        ("mé", "canary", "ASCII"),
        ("me", "canáry", "ASCII"),
    ],
)
def test_half_a_login_is_an_error(user: str | None, password: str | None, says: str) -> None:
    with pytest.raises(SettingsError, match=says) as raised:
        login_of(settings("127.0.0.1", user, password))
    assert "can" not in str(raised.value)


def shown(name: str) -> str:
    return shown_document(ReadyJob(uuid4(), bucket_id="docs", object_name=name, queue="ingest"))


def test_a_document_is_shown_with_its_own_name_first() -> None:
    assert shown("a/b/c.pdf") == "{'document': 'c.pdf', 'folder': 'docs/a/b'}"
    assert shown("c.pdf") == "{'document': 'c.pdf', 'folder': 'docs'}"


def task(name: str, kwargs: str) -> Any:
    return SimpleNamespace(name=name, kwargs=kwargs, args="0f3c2b1a-0000-4000-8000-000000000000")


def test_the_list_shows_a_document_and_its_job_as_text() -> None:
    found = readable(task("docmill.run_job", shown("a/b/it's c.pdf")))
    assert (found.kwargs, found.args) == ("it's c.pdf in docs/a/b", "0f3c2b1a")


@pytest.mark.parametrize("kwargs", ["{'document': 'cut", "{}", "", "[1]", "{'document': 'x'}"])
def test_what_names_no_document_is_shown_as_what_it_is(kwargs: str) -> None:
    assert readable(task("docmill.run_job", kwargs)).kwargs == "docmill.run_job"
    assert readable(task("docmill.reconcile", kwargs)).kwargs == "docmill.reconcile"


def test_a_hostile_name_is_cut_and_escaped() -> None:
    assert len(shown("x" * 1024)) < 300
    assert len(shown("x/" * 511 + "y")) < 300
    assert shown("\u202etxt.\x1b[31m\n") == (
        r"{'document': '\u202etxt.\x1b[31m\n', 'folder': 'docs'}"
    )
