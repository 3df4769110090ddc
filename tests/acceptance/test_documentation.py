"""Runs the documentation, command by command, like a reader."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from supabase import Client

from docmill.embedded.api import ApiServer
from docmill.embedded.postgres import start_postgres
from docmill.embedded.process import free_port
from docmill.embedded.redis import RedisServer, start_redis
from docmill.embedded.supabase import LOGIN_ROLES, bootstrap_supabase, set_password
from tests.conftest import FAST as FAST_POSTGRES
from tests.support import pages
from tests.support.api import KEYS, start_test_api, user_client
from tests.support.database import PASSWORD, Database
from tests.support.fake_openai import FakeOpenAI, vector_of
from tests.support.installation import FAST
from tests.support.pages import ROOT, Reader, blocks, filled_in, machine, named_first
from tests.support.supabase_cli import split

HOSTED = ROOT / "docs" / "hosted.md"
WORKER_PASSWORD = "madeUpByTheReader7"
OPENAI_MODEL, OPENAI_DIMENSIONS = "text-embedding-3-small", 1536

#: Beginnings of commands that are not run here, with the reason.
NOT_RUN = {
    "make demo": "tests/acceptance/test_demo.py runs what it runs",
    "make test": "this is it",
    "make check": "continuous integration runs it before the tests",
    "make .venv/.dev": "the environment of the tests stands for it",
    ".venv/bin/python -m pytest": "the reader's copy has no tests; these are running",
    "make simulate": "takes minutes of real loads; tests/unit/test_simulate.py tries its parts",
    "make eval": "takes a minute a set; tests/unit/test_eval.py tries its parts",
    "python3 -m venv": "the environment of the tests stands for it",
    "pip install": "the same; test_containers.py installs docmill as the Dockerfile does",
    "docmill reindex compare": "needs a second version; tests/schema/test_compare.py has one",
    "docker run": "needs an engine; the tests start a Redis without one",
    "docker compose": "needs an engine; test_containers.py runs what docker-compose.yml says",
    "git pull": "needs a repository to pull from",
    "supabase start": "needs an engine of containers",
    "supabase migration up": "needs containers; tests/schema/test_export.py has the CLI do it",
    "supabase db push": "needs a linked project; tests/schema/test_export.py has the CLI do it",
    "supabase secrets": "needs a linked project; tests/contract/functions sets what it sets",
    "supabase functions": "needs a linked project; tests/contract/functions runs the function",
}


@dataclass(frozen=True)
class Project:
    """A project without docmill, and the values that a reader finds in its dashboard."""

    database: Database
    storage: ApiServer
    redis: RedisServer
    openai: FakeOpenAI

    @property
    def values(self) -> dict[str, str]:
        """The values that the reader fills in."""
        worker = self.database.url("docmill_worker").replace(
            f":{PASSWORD}@", f":{WORKER_PASSWORD}@"
        )
        return {
            "DATABASE_URL": worker,
            "REDIS_URL": self.redis.url,
            "SUPABASE_URL": self.storage.url,
            "SUPABASE_SECRET_KEY": KEYS.secret_key,
            "OPENAI_API_KEY": "sk-canary-0123456789",
            "DOCMILL_WEBHOOK_SECRET": "webhook-canary",
        }

    def run_sql(self, text: str) -> None:
        """Run SQL like the dashboard's editor, as `postgres`.

        A hosted project lets `postgres` make policies on Storage's tables; here only the platform
        may.
        """
        for statement in split(text.replace("'PASSWORD'", f"'{WORKER_PASSWORD}'")):
            role = None if re.match(r"\s*create policy .* on storage\.", statement) else "postgres"
            with self.database.connect(role) as connection:
                connection.execute(statement.encode())

    def client(self, sub: str) -> Client:
        """supabase-py in the app of a user."""
        token = KEYS.sign({"sub": sub, "role": "authenticated"}, seconds=3600)
        return user_client(self.storage.url, token)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """On its own server, because a page sets the password of a role, which the whole server has."""
    folder = tmp_path_factory.mktemp("project")
    server = start_postgres(folder / "postgres", options=FAST_POSTGRES)
    redis = start_redis(folder / "redis")
    openai = FakeOpenAI()
    try:
        bootstrap_supabase(server)
        for role in LOGIN_ROLES:
            set_password(server, role, PASSWORD)
        database = Database(server, "postgres")
        storage = start_test_api(database, folder)
        try:
            yield Project(database, storage, redis, openai)
        finally:
            storage.stop()
    finally:
        openai.close()
        redis.stop()
        server.stop()


@pytest.fixture(scope="module")
def reader(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """Has followed the page for hosted projects, so that everything runs."""
    folder = tmp_path_factory.mktemp("reader")

    def fill_in() -> None:
        names = [name for name in named_first(HOSTED) if name != "OWNER"]
        written = filled_in((folder / ".env").read_text(), {n: project.values[n] for n in names})
        (folder / ".env").write_text(written)
        left = [
            line for line in written.splitlines() if re.match(r"[A-Z_]+=.*(REF|PASSWORD)", line)
        ]
        assert not left, "the page does not say what to set there"

    port = str(free_port())
    address = f"http://127.0.0.1:{port}"

    def know_secret() -> None:
        found = re.findall(r"DOCMILL_WEBHOOK_SIGNING_SECRETS=(whsec_\S+)", made.said)
        made.environ["DOCMILL_WEBHOOK_SIGNING_SECRETS"] = found[-1]

    made = Reader(
        folder,
        machine(folder)
        | FAST
        | {"OPENAI_BASE_URL": project.openai.url, "DOCMILL_WEBHOOK_PORT": port},
        NOT_RUN,
        project.run_sql,
        typed=project.database.url("postgres"),
        by_hand={
            "cp .env.example .env": fill_in,
            f"docmill schema webhook --url {address}": know_secret,
        },
        addresses={"https://docmill.example.com": address},
    )
    # For a project that keeps its migrations with the Supabase CLI.
    (folder / "supabase").mkdir()
    try:
        made.follow(HOSTED)
        yield made
    finally:
        made.stop()


def test_the_page_for_a_hosted_project_leads_to_an_app_that_searches(
    reader: Reader, project: Project
) -> None:
    owner = reader.environ["OWNER"]
    ingest = project.client(owner).schema("ingest")
    (document,) = ingest.from_("documents").select("object_name, status").execute().data
    assert document == {"object_name": f"{owner}/README.md", "status": "ready"}
    embedding = vector_of("a question", OPENAI_DIMENSIONS).tolist()
    question = {"query_embedding": embedding, "model": OPENAI_MODEL}
    assert ingest.rpc("match_chunks", question).execute().data
    others = project.client("somebody-else").schema("ingest")
    assert others.rpc("match_chunks", question).execute().data == []
    # The search by hand finds the same as the app.
    assert "  README.md" in reader.said


def test_what_the_first_readme_says_to_run_here_runs(tmp_path: Path) -> None:
    def no_sql(text: str) -> None:
        raise AssertionError(text)

    reader = Reader(tmp_path, machine(tmp_path), NOT_RUN, no_sql)
    try:
        reader.follow(ROOT / "README.md")
    except AssertionError:
        reader.run(".venv/bin/docmill down")
        raise
    assert "  README.md" in reader.said
    assert reader.said.rstrip().endswith("stopped")


@pytest.mark.parametrize(
    "page",
    [page for page in pages.pages() if page not in (ROOT / "README.md", HOSTED) and blocks(page)],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_what_a_page_says_to_run_runs_on_the_project(page: Path, reader: Reader) -> None:
    reader.follow(page)


def test_every_process_that_the_pages_start_stops_in_order(reader: Reader) -> None:
    reader.wait_for_staying()
    stopped = reader.stop()
    assert {"docmill worker", "docmill worker --isolated", "docmill beat"} <= set(stopped)
    assert set(stopped.values()) == {0}, stopped


def test_no_reason_for_not_running_is_left_over() -> None:
    commands = [
        command
        for page in pages.pages()
        for block in blocks(page)
        if block.language == "sh"
        for command in block.commands()
    ]
    for beginning in NOT_RUN:
        assert any(command.startswith(beginning) for command in commands), beginning
