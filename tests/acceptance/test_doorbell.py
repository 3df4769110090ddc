"""The three ways to notice an upload, set up as docs/webhook.md says."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from docmill.cli.main import app
from docmill.embedded.postgres import PostgresServer
from docmill.embedded.redis import RedisServer
from docmill.worker.errors import UsageError
from tests.support.database import make_database
from tests.support.installation import ALICE, Installation, install

PAGE = (Path(__file__).parents[2] / "docs" / "webhook.md").read_text()
PUBLIC_URL = "https://docmill.example.com"
LONG = "This sentence is about nothing in particular but it fills the section. " * 6


def section(title: str) -> str:
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def code(title: str) -> list[str]:
    """The fenced blocks of a section."""
    return re.findall(r"^```\w+\n(.*?)^```", section(title), re.MULTILINE | re.DOTALL)


def commands(title: str) -> list[str]:
    return re.findall(r"^(docmill .*)$", "".join(code(title)), re.MULTILINE)


@pytest.fixture(scope="module")
def bare(
    postgres: PostgresServer, redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    """An installation without running processes and without a webhook."""
    folder = tmp_path_factory.mktemp("bare")
    with (
        make_database(postgres, "project") as database,
        install(database, redis_server, folder) as made,
    ):
        made.forget_hints()
        with database.connect() as connection:
            connection.execute("drop trigger docmill_webhook on storage.objects")
        yield made


class Shell:
    """Runs the page's commands in this process, for the receiver that runs here."""

    def __init__(
        self,
        bare: Installation,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        self._url, self._capsys = bare.webhook_url, capsys
        for name, setting in bare.environ().items():
            monkeypatch.setenv(name, setting)

    def run(self, command: str, code: int = 0) -> str:
        words = command.replace(PUBLIC_URL, self._url).split()[1:]
        assert app(words, standalone_mode=False) == code
        return self._capsys.readouterr().out


@pytest.fixture
def shell(
    bare: Installation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Shell:
    return Shell(bare, monkeypatch, capsys)


def secret_in(said: str) -> str:
    found = re.search(r"^    DOCMILL_WEBHOOK_SIGNING_SECRETS=(whsec_\S+)$", said, re.MULTILINE)
    assert found is not None, said
    return found[1]


def answered(bare: Installation, status: int) -> int:
    """How many events the receiver has answered with this status."""
    metrics = httpx.get(f"{bare.webhook_url}/metrics").text
    found = re.search(rf'docmill_webhook_requests_total{{status="{status}"}} (\d+)', metrics)
    return int(found[1]) if found else 0


def ingest(bare: Installation, name: str) -> None:
    """Upload, and wait until it is searchable."""
    assert bare.wait_for_job(bare.upload(ALICE, name, f"About {name}. {LONG}"))["state"] == (
        "succeeded"
    )


def test_the_page_shows_no_other_commands() -> None:
    titles = re.findall(r"^## (.*)$", PAGE, re.MULTILINE)
    assert {title: commands(title) for title in titles} == {
        "The schedule": ["docmill worker", "docmill beat"],
        "A Database Webhook": ["docmill webhook"],
        "The doorbell": [
            f"docmill schema webhook --url {PUBLIC_URL}",
            *("docmill webhook", "docmill schema webhook", "docmill doctor"),
            *("docmill schema webhook --rotate", "docmill schema webhook --remove"),
        ],
    }


def test_an_upload_is_noticed_by_each_of_the_ways(bare: Installation, shell: Shell) -> None:
    """One test for all, because processes start slowly: the schedule, a webhook, the doorbell."""
    bare.start_worker()
    beat = bare.start("beat")
    ingest(bare, "by-the-schedule.txt")
    beat.stop()

    said = shell.run(f"docmill schema webhook --url {PUBLIC_URL}")
    assert f"rings at {bare.webhook_url}/webhooks/storage" in said
    first = secret_in(said)
    bare.settings["DOCMILL_WEBHOOK_SIGNING_SECRETS"] = first
    receiver = bare.start_webhook()
    ingest(bare, "by-the-doorbell.txt")
    assert (answered(bare, 202), answered(bare, 401)) == (1, 0)
    assert "whsec_" not in shell.run("docmill schema webhook")
    # The doctor rings too, and gets an answer.
    answer = f"ok       doorbell               {bare.webhook_url}/webhooks/storage answers"
    assert answer in shell.run("docmill doctor", code=1)

    second = secret_in(shell.run("docmill schema webhook --rotate"))
    ingest(bare, "before-the-restart.txt")
    assert (answered(bare, 202), answered(bare, 401)) == (3, 0)
    receiver.stop()
    bare.settings["DOCMILL_WEBHOOK_SIGNING_SECRETS"] = second
    bare.settings["DOCMILL_WEBHOOK_SECRET"] = "SECRET"
    receiver = bare.start_webhook()
    ingest(bare, "after-the-restart.txt")
    assert (answered(bare, 202), answered(bare, 401)) == (1, 0)

    assert "No doorbell is installed" in shell.run("docmill schema webhook --remove")
    [trigger, *_] = code("A Database Webhook")
    with bare.database.connect("postgres") as connection:
        connection.execute(trigger.replace(PUBLIC_URL, bare.webhook_url).encode())
    ingest(bare, "by-a-webhook.txt")
    assert (answered(bare, 202), answered(bare, 401)) == (2, 0)

    # The webhook finds a change that no trigger saw; there is no schedule, because beat is gone.
    with bare.database.connect() as connection:
        connection.execute("alter table storage.objects disable trigger docmill_object_inserted")
    ingest(bare, "seen-by-no-trigger.txt")
    assert (answered(bare, 202), answered(bare, 401)) == (3, 0)
    assert receiver.stop() == 0
    assert not any(secret in bare.logs() for secret in (first, second))


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("docmill schema webhook --url nowhere", "is not an address"),
        ("docmill schema webhook --remove --rotate", "takes no other option"),
        ("docmill schema webhook --rotate", "no doorbell is installed"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(shell: Shell, *, command: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        shell.run(command)
