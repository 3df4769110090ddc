"""The function `embed` twice: the embedded mode's, and the one that a project deploys."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from docmill.embedded.api import ApiServer
from docmill.embedded.postgres import PostgresServer
from docmill.embedded.process import ChildProcess, free_port, log_tail, start_child
from tests.support.api import KEYS, start_test_api
from tests.support.database import Database, make_database
from tests.support.fake_openai import FakeOpenAI
from tests.support.installation import until
from tests.support.javascript import deno_environ, deno_path

ROOT = Path(__file__).parents[3]
FUNCTION = ROOT / "examples" / "functions" / "embed" / "index.ts"
ALICE = "11111111-1111-4111-8111-111111111111"
PROVIDER_KEY = "sk-canary-0123456789"


def token(seconds: int = 3600, **claims: Any) -> str:
    """A token as Auth issues it to Alice."""
    return KEYS.sign({"sub": ALICE, "role": "authenticated", **claims}, seconds=seconds)


@dataclass
class Function:
    """Where it answers, and who is asking unless a test says otherwise."""

    url: str
    log_path: Path
    headers: dict[str, str] = field(
        default_factory=lambda: {
            "apikey": KEYS.publishable_key,
            "authorization": f"Bearer {token()}",
        }
    )

    def post(self, body: Any = None, **options: Any) -> httpx.Response:
        """A request like supabase-js's; a header None is left out."""
        headers = {**self.headers, **options.pop("headers", {})}
        sent = {name: value for name, value in headers.items() if value is not None}
        content = {} if "content" in options else {"json": body}
        return httpx.post(self.url, headers=sent, timeout=30, **content, **options)

    @property
    def log(self) -> str:
        return self.log_path.read_text()


@pytest.fixture(scope="package")
def project(postgres: PostgresServer) -> Iterator[Database]:
    with make_database(postgres) as made:
        yield made


@pytest.fixture(scope="package")
def api(project: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    server = start_test_api(project, tmp_path_factory.mktemp("api"))
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="package")
def openai() -> Iterator[FakeOpenAI]:
    fake = FakeOpenAI()
    try:
        yield fake
    finally:
        fake.close()


def start_function(folder: Path, **variables: str) -> tuple[ChildProcess, Function]:
    """Run index.ts with the rights that it needs and no others, and wait until it listens."""
    port = free_port()
    names = "SUPABASE_URL,OPENAI_BASE_URL,OPENAI_API_KEY"
    child = start_child(
        "embed",
        [
            *(deno_path(), "run", "--quiet", "--no-config", "--no-lock", "--no-remote", "--no-npm"),
            *(f"--allow-env={names}", "--allow-net=127.0.0.1", str(FUNCTION)),
        ],
        log_path=folder / "embed.log",
        environ=deno_environ(folder, DENO_SERVE_ADDRESS=f"tcp:127.0.0.1:{port}", **variables),
    )
    function = Function(f"http://127.0.0.1:{port}/embed", child.log_path)

    def listens() -> bool:
        assert not child.ended(), log_tail(child.log_path)
        try:
            return httpx.options(function.url).status_code == 200
        except httpx.TransportError:
            return False

    until(listens, "the function")
    return child, function


@pytest.fixture(scope="package")
def deployed(
    api: ApiServer, openai: FakeOpenAI, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Function]:
    """examples/functions/embed, as Supabase's runtime runs it."""
    child, function = start_function(
        tmp_path_factory.mktemp("deployed"),
        SUPABASE_URL=api.url,
        OPENAI_BASE_URL=openai.url,
        OPENAI_API_KEY=PROVIDER_KEY,
    )
    try:
        yield function
    finally:
        child.stop()


@pytest.fixture(params=["embedded", "deployed"])
def function(request: pytest.FixtureRequest, api: ApiServer) -> Function:
    """Both, one after the other."""
    if request.param == "embedded":
        return Function(f"{api.url}/functions/v1/embed", api.child.log_path)
    found: Function = request.getfixturevalue("deployed")
    return found
