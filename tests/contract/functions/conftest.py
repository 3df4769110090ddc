"""Each function twice: the embedded mode's, and the one that a project deploys."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from docmill.embedded.process import ChildProcess, free_port, log_tail, start_child
from docmill.worker.admin import reindex
from docmill.worker.settings.parts import ProviderSettings, variables_of
from tests.contract.target import Inside, Target, User
from tests.support.api import KEYS
from tests.support.fake_openai import FakeOpenAI
from tests.support.installation import until
from tests.support.javascript import deno_environ, deno_path

ROOT = Path(__file__).parents[3]
FUNCTIONS = ROOT / "examples" / "functions"
FUNCTION = FUNCTIONS / "embed" / "index.ts"
#: How to reach the providers, under all names.
EMBEDDING = sorted(
    variable
    for name in ProviderSettings.model_fields
    for variable in variables_of(ProviderSettings, name)
)
#: The settings of `ask` beside those of `embed`.
ASKING = (
    *("DOCMILL_CHAT_BASE_URL", "DOCMILL_CHAT_API_KEY", "DOCMILL_CHAT_MODEL"),
    *("DOCMILL_CHAT_TIMEOUT_SECONDS",),
    *("DOCMILL_RERANK_URL", "DOCMILL_RERANK_API_KEY", "DOCMILL_RERANK_MODEL"),
)
ALICE = "11111111-1111-4111-8111-111111111111"
PROVIDER_KEY = "sk-canary-0123456789"


def token(seconds: int = 3600, **claims: Any) -> str:
    """A token like those that Auth issues."""
    return KEYS.sign({"sub": ALICE, "role": "authenticated", **claims}, seconds=seconds)


@dataclass
class Function:
    """The address of a function, and the user who calls it by default."""

    url: str
    headers: dict[str, str]
    log_path: Path | None = None  #: only for a function started here

    def post(self, body: Any = None, **options: Any) -> httpx.Response:
        """A request like supabase-js's; a header None is left out."""
        headers = {**self.headers, **options.pop("headers", {})}
        sent = {name: value for name, value in headers.items() if value is not None}
        content = {} if "content" in options else {"json": body}
        return httpx.post(self.url, headers=sent, timeout=180, **content, **options)

    @property
    def log(self) -> str:
        assert self.log_path is not None
        return self.log_path.read_text()


@contextmanager
def answered_by_another(inside: Inside, **columns: Any) -> Iterator[int]:
    """While this is open, an empty index version is active; the former one cannot be searched."""
    columns = {"model": "another", "provider": "openai", **columns}
    state = "update ingest.index_versions set state = %s where id = %s"
    with inside.database.connect() as admin:
        wanted = {"dimensions": 256, "chunking": "{}", "sends_dimensions": False}
        plan = {**wanted, "document_prefix": "", "query_prefix": "", **columns}
        version = reindex.create(admin, plan)
        admin.execute(state, ["dropped", 1])
        admin.execute(state, ["active", version])
        try:
            yield version
        finally:
            admin.execute(state, ["retired", version])
            admin.execute(state, ["active", 1])
            reindex.drop(admin, version)
            admin.execute("delete from ingest.index_versions where id = %s", [version])


@pytest.fixture(scope="package")
def openai() -> Iterator[FakeOpenAI]:
    with closing(FakeOpenAI()) as fake:
        yield fake


def start_function(
    folder: Path, name: str = "embed", **variables: str
) -> tuple[ChildProcess, Function]:
    """Run a function with only the rights that it needs; return when it listens."""
    port = free_port()
    names = ("SUPABASE_URL", "DOCMILL_PROVIDERS", *EMBEDDING, *(ASKING if name == "ask" else ()))
    child = start_child(
        name,
        [
            *(deno_path(), "run", "--quiet", "--no-config", "--no-lock", "--no-remote", "--no-npm"),
            *(f"--allow-env={','.join(names)}", "--allow-net=127.0.0.1"),
            str(FUNCTIONS / name / "index.ts"),
        ],
        log_path=folder / f"{name}.log",
        environ=deno_environ(folder, DENO_SERVE_ADDRESS=f"tcp:127.0.0.1:{port}", **variables),
    )
    headers = {"apikey": KEYS.publishable_key, "authorization": f"Bearer {token()}"}
    function = Function(f"http://127.0.0.1:{port}/{name}", headers, child.log_path)

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
    target: Target, openai: FakeOpenAI, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Function]:
    """examples/functions/embed, run like in Supabase's runtime."""
    child, function = start_function(
        tmp_path_factory.mktemp("deployed"),
        SUPABASE_URL=target.url,
        OPENAI_BASE_URL=openai.url,
        OPENAI_API_KEY=PROVIDER_KEY,
    )
    try:
        yield function
    finally:
        child.stop()


@pytest.fixture(params=["of the project", "deployed"])
def function(request: pytest.FixtureRequest, target: Target, alice: User) -> Function:
    """The project's own function; with the tests' stack also the one to deploy."""
    if request.param == "of the project":
        headers = {"apikey": target.public_key(), "authorization": f"Bearer {alice.token}"}
        return Function(f"{target.url}/functions/v1/embed", headers)
    if target.inside is None:
        pytest.skip("embedded only: runs the function beside our own stack")
    found: Function = request.getfixturevalue("deployed")
    return found
