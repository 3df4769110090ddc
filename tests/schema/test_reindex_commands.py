"""`docmill reindex` without waiting: its refusals, and that it buys nothing without a yes."""

import json
from collections.abc import Callable, Iterator

import pytest
from typer.testing import CliRunner

from docmill.cli.main import app
from docmill.embedded.postgres import PostgresServer
from docmill.worker.errors import DocmillError
from tests.schema.actors import MODEL, Connection, rows, upload
from tests.support.database import Database, make_database, watch_bucket

Run = Callable[..., str]


@pytest.fixture
def library(postgres: PostgresServer) -> Iterator[Database]:
    with make_database(postgres) as database, database.connect() as admin:
        watch_bucket(database)
        upload(database, "a.txt", ["one", "two"])
        admin.execute("update ingest_private.published_versions set token_count = 1000000")
        yield database


@pytest.fixture
def admin(library: Database) -> Iterator[Connection]:
    with library.connect() as connection:
        yield connection


@pytest.fixture
def run(library: Database, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`docmill reindex` with these arguments: its output or its refusal."""
    monkeypatch.setenv("DOCMILL_ADMIN_DATABASE_URL", library.url("postgres"))
    monkeypatch.setenv("DOCMILL_EMBEDDING_USD_PER_MILLION_TOKENS", "0.5")

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(app, ["reindex", *arguments])
        if done.exception is None or isinstance(done.exception, DocmillError | SystemExit):
            return f"{done.output}{done.exception or ''}"
        raise done.exception

    return run


def versions(admin: Connection) -> list[int]:
    return [row["id"] for row in rows(admin, "select id from ingest.index_versions order by id")]


OTHER = ("start", "--provider", "openai", "--model", "m2", "--dimensions", "8")


def test_nothing_is_bought_unasked(run: Run, admin: Connection):
    for said in (
        run(*OTHER, "--json"),
        run(*OTHER),
        run("documents", "--owner", "alice", "--json"),
    ):
        assert "--yes" in said
        assert "1000000 tokens, $0.50" in said or "1 document" in said
    assert versions(admin) == [1]
    assert rows(admin, "select id from ingest.jobs where kind = 'reindex'") == []
    assert json.loads(run(*OTHER, "--json", "--dry-run"))["id"] is None
    assert json.loads(run(*OTHER, "--json", "--yes"))["id"] == 2


def test_what_is_there_is_not_made_twice(run: Run, admin: Connection):
    assert "is being filled" in run(*OTHER, "--yes")
    assert "index version 2 is the same" in run(*OTHER, "--yes")
    assert "is dropped" in run("drop", "2")
    assert "is being filled" in run(*OTHER, "--yes")
    assert versions(admin) == [1, 2, 3]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "name what to change"),
        (("--model", "m2"), "--dimensions"),
        (("--model", ""), "empty"),
        (("--dimensions", "4001"), "4000"),
        (("--provider", "Vo yage"), "DOCMILL_PROVIDERS"),
        (("--provider", "a'b;--"), "DOCMILL_PROVIDERS"),
        (("--model", "m2", "--dimensions", "256"), "one model: name another --provider"),
        (("--dimensions", "128"), "one model: name another --provider"),
        (("--provider", "openai"), "only the provider local"),
    ],
)
def test_what_no_worker_could_embed_is_refused(
    run: Run, admin: Connection, arguments: tuple[str, ...], said: str
):
    assert said in run("start", *arguments, "--yes")
    assert versions(admin) == [1]


def test_the_local_model_costs_nothing(run: Run):
    local = ("start", "--chunk-tokens", "100")
    assert json.loads(run(*local, "--dry-run", "--json"))["cost_usd"] == 0
    assert json.loads(run(*OTHER, "--dry-run", "--json"))["cost_usd"] == 0.5


@pytest.mark.parametrize("version", ["9", "99999999999"])
@pytest.mark.parametrize("command", ["activate", "pause", "resume", "compare", "drop"])
def test_a_version_that_is_not_there_is_refused_in_words(run: Run, command: str, version: str):
    said = run(command, version)
    assert "there" in said or "being filled" in said or "2147483647" in said


def test_a_version_that_was_dropped_is_used_for_nothing(run: Run):
    run(*OTHER, "--yes")
    run("drop", "2")
    for command in ("activate", "pause", "resume", "compare"):
        assert "docmill reindex status" in run(command, "2")
    assert "is dropped" in run("drop", "2")  # the rest of a crashed drop is removed
    assert f"{MODEL}" in run("status")


def test_a_paused_version_is_made_active_and_filled_again(run: Run):
    run(*OTHER, "--yes")
    assert "is paused" in run("pause", "2")
    assert "lacks documents" in run("activate", "2")
    assert "is active" in run("activate", "2", "--anyway")
    assert "is active" in run("drop", "2")
    assert "is active" in run("rollback")
