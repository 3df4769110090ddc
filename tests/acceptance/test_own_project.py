"""A folder `supabase` next to the stack: its migrations run, its functions are served."""

from collections.abc import Iterator

import httpx
import psycopg
import pytest

from docmill.embedded.stack import StackInfo, read_info
from tests.support.installation import until
from tests.support.javascript import deno_path
from tests.support.shell import Shell

MIGRATION = """
    create table public.notes (id bigint generated always as identity, text text);
    insert into public.notes (text) values ('from a migration');
    insert into storage.buckets (id, name) values ('mine', 'mine');
    create policy "mine: read" on storage.objects for select to authenticated
        using (bucket_id = 'mine');
"""
FUNCTION = """
import { greeting } from "../_shared/greeting.ts";

Deno.serve(async (request: Request) => {
  const { pathname, search } = new URL(request.url);
  const body = request.method === "POST" ? await request.json() : null;
  const url = Deno.env.get("SUPABASE_URL");
  const secret = Deno.env.get("OWN_SECRET");
  return Response.json({ greeting, pathname, search, body, url, secret }, { status: 201 });
});
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A stack next to such a folder."""
    deno_path()
    folder = tmp_path_factory.mktemp("own")
    for name, text in {
        "migrations/20260101000000_notes.sql": MIGRATION,
        "migrations/README.md": "not a migration",
        "functions/_shared/greeting.ts": 'export const greeting = "hello";',
        "functions/hello/index.ts": FUNCTION,
        "functions/open/index.ts": 'Deno.serve(() => new Response("anybody"));',
        "functions/.env": "# secrets\nOWN_SECRET='canary'\n",
        "config.toml": "[functions.open]\nverify_jwt = false\n",
    }.items():
        path = folder / "supabase" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    made = Shell(folder)
    made.run("up", "--detach")
    yield made
    made.run("down")


@pytest.fixture
def stack(own: Shell) -> StackInfo:
    info = read_info(own.folder / ".docmill")
    assert info is not None
    return info


def rows(stack: StackInfo, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(stack.database_url("postgres")) as connection:
        return connection.execute(query.encode()).fetchall()


def test_migrations_run_once_as_the_projects_admin(own: Shell, stack: StackInfo) -> None:
    assert rows(stack, "select text from public.notes") == [("from a migration",)]
    owner = "select tableowner from pg_tables where tablename = 'notes'"
    assert rows(stack, owner) == [("postgres",)]
    assert rows(stack, "select count(*) from pg_policies where policyname = 'mine: read'") == [(1,)]
    history = "select version, name from supabase_migrations.schema_migrations"
    assert rows(stack, history) == [("20260101000000", "notes")]
    # The right to make the policy was revoked again.
    member = "select pg_has_role('postgres', 'supabase_storage_admin', 'member')"
    assert rows(stack, member) == [(False,)]
    assert own.run("schema", "check").startswith("The schema is what this version expects")


def test_a_function_is_reached_as_on_a_project(own: Shell, stack: StackInfo) -> None:
    url = f"{stack.api_url}/functions/v1"
    key = {"apikey": stack.keys.publishable_key}

    def hello() -> httpx.Response | None:
        answer = httpx.post(f"{url}/hello/there?a=b", json={"x": 1}, headers=key, timeout=180)
        return None if answer.status_code == 503 else answer

    answer = until(hello, "the function")
    assert answer.status_code == 201
    assert answer.json() == {
        "greeting": "hello",
        "pathname": "/hello/there",
        "search": "?a=b",
        "body": {"x": 1},
        "url": stack.api_url,
        "secret": "canary",
    }
    bad = {**key, "authorization": "Bearer not.a.token"}
    assert httpx.get(f"{url}/hello", headers=bad).status_code == 401
    assert until(lambda: httpx.get(f"{url}/open", headers=bad).text == "anybody", "open")
    assert httpx.get(f"{url}/nowhere", headers=key).status_code == 404
    # docmill's own functions are served too.
    assert httpx.post(f"{url}/embed", json={"input": "x"}, headers=key).status_code == 401


def test_a_migration_that_fails_is_named_and_run_again_when_it_is_mended(own: Shell) -> None:
    path = own.folder / "supabase" / "migrations" / "20260102000000_more.sql"
    path.write_text("create table public.more (id int); select broken();")
    own.run("down")
    said = own.run("up", "--detach", code=3)
    assert "20260102000000_more.sql does not run: function broken() does not exist" in said
    path.write_text("create table public.more (id int);")
    own.run("up", "--detach")
    info = read_info(own.folder / ".docmill")
    assert info is not None
    assert rows(info, "select count(*) from public.more") == [(0,)]
    assert rows(info, "select count(*) from supabase_migrations.schema_migrations") == [(2,)]
