"""`docmill reindex` without waiting: its refusals, and that it buys nothing without a yes."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
import redis
from typer.testing import CliRunner

from docmill.cli.main import app
from docmill.embedded.postgres import PostgresServer
from docmill.embedded.redis import RedisServer, start_redis
from docmill.worker.clients.shared_limits import UPLOADS, SharedLimits
from docmill.worker.errors import DocmillError
from docmill.worker.ports import Outcome, Permit
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
def own_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = start_redis(tmp_path_factory.mktemp("redis"))
    yield server
    server.stop()


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


LARGE = ("--model", "text-embedding-3-large")
FIXED = ("--model", "text-embedding-ada-002")
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
        (("--provider", "openai", *LARGE, "--dimensions", "4000"), "at most 3072 dimensions"),
        (("--provider", "openai", *FIXED, "--dimensions", "256"), "has 1536 dimensions"),
        (
            ("--provider", "openai", *LARGE, "--dimensions", "256", "--no-send-dimensions"),
            "unless asked",
        ),
        (("--overlap", "300"), "--overlap 200 or less"),
        (("--chunk-tokens", "100", "--overlap", "51"), "--overlap 50 or less"),
        (("--overlap", "-1"), "greater than or equal to 0"),
        (("--overlap", "0"), "name what to change"),
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
@pytest.mark.parametrize(
    "command", ["activate", "pause", "resume", "compare", "drop", "cancel", "build"]
)
def test_a_version_that_is_not_there_is_refused_in_words(run: Run, command: str, version: str):
    said = run(command, version)
    assert "there" in said or "being filled" in said or "2147483647" in said


def test_a_version_that_was_dropped_is_used_for_nothing(run: Run):
    run(*OTHER, "--yes")
    run("drop", "2")
    for command in ("activate", "pause", "resume", "compare", "build"):
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


def test_what_overlaps_is_another_version_and_keeps_its_way_to_count(run: Run, admin: Connection):
    started = json.loads(run("start", "--overlap", "40", "--yes", "--json"))
    assert started["chunking"] == {"max_tokens": 400, "overlap": 40}
    assert "index version 2 is the same" in run("start", "--overlap", "40", "--yes")
    with_size = json.loads(run("start", "--chunk-tokens", "200", "--dry-run", "--json"))
    assert with_size["chunking"] == {"max_tokens": 200}
    # Chunks that overlap are not made of chunks that do not.
    admin.execute("select ingest_private.fill_index_versions(9)")
    (job,) = rows(admin, "select id from ingest.jobs where index_version = 2")
    source = "select * from ingest_private.reindex_source(%s)"
    assert rows(admin, source, job["id"]) == []
    admin.execute("update ingest.index_versions set chunking = chunking - 'overlap' where id = 2")
    assert len(rows(admin, source, job["id"])) == 1


def test_what_is_spent_is_shown_beside_what_was_expected(run: Run, admin: Connection):
    run(*OTHER, "--yes")
    admin.execute("select ingest_private.fill_index_versions(9)")
    admin.execute("update ingest.jobs set cost_usd = 0.2 where index_version = 2")
    assert "version 2: $0.20 spent, $0.50 expected in all" in run("status")
    active, building = map(json.loads, run("status", "--json").splitlines())
    assert (active["estimated_usd"], building["estimated_usd"]) == (None, 0.5)


def test_what_is_given_up_is_cancelled_and_only_that(run: Run, admin: Connection):
    run(*OTHER, "--yes")
    assert "is cancelled" in run("cancel", "2")
    assert "is cancelled" in run("cancel", "2")
    assert "is active" in run("cancel", "1")
    assert rows(admin, "select to_regclass('ingest_private.chunks_2') as name") == [{"name": None}]


def test_the_time_of_the_former_version_is_said_when_it_retires(run: Run, admin: Connection):
    run(*OTHER, "--yes")
    assert "30d" in run("activate", "2", "--anyway", "--drop-after", "soon")
    assert "is active" in run("activate", "2", "--anyway", "--drop-after", "7d")
    kept = "select drop_at - retired_at as kept from ingest.index_versions where id = 1"
    assert rows(admin, kept)[0]["kept"].days in (6, 7)


def test_the_build_of_a_version_says_what_took_how_long(run: Run):
    run(*OTHER, "--yes")
    assert "lacks documents" in run("build", "2")
    built = json.loads(run("build", "2", "--anyway", "--hnsw", "on", "--json"))
    assert (built["version"], built["has_graph"], built["load_seconds"]) == (2, True, None)
    assert "HNSW index built in" in run("build", "2", "--anyway")


def test_the_time_that_the_limits_allow_is_said_before_the_question(
    run: Run, monkeypatch: pytest.MonkeyPatch, own_redis: RedisServer
):
    assert "unknown limit" in run(*OTHER)
    monkeypatch.setenv("REDIS_URL", own_redis.url)
    assert "unknown limit" in run(*OTHER)
    with closing(redis.Redis.from_url(own_redis.url)) as client:
        limits = SharedLimits(
            client, "openai m2", worker="one", priority=UPLOADS, longest_request_seconds=60
        )
        permit = limits.ask(10)
        assert isinstance(permit, Permit)
        headers = {"x-ratelimit-limit-tokens": "50000", "x-ratelimit-limit-requests": "1000"}
        limits.settle(permit, Outcome(billed=10, headers=headers, seconds=0.1))
    # A million tokens, 50,000 a minute; so many texts fit into four requests.
    assert "20 min at least" in run(*OTHER)
    assert "50000 tokens a minute" in run(*OTHER)
    assert json.loads(run(*OTHER, "--dry-run", "--json"))["minutes_at_least"] == 20
    assert "this machine" not in run(*OTHER)
    assert "workers' machines" in run("start", "--chunk-tokens", "100")
    assert "takes up to a day" in run(*OTHER, "--lane", "bulk")
    own_redis.stop()
    assert "unknown limit" in run(*OTHER)
