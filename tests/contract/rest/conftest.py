"""Other tables and functions of a project, made by SQL; one table has RLS."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import jwt
import pytest

from tests.contract.target import Target, User
from tests.schema.actors import drain_withdrawn, upload
from tests.support.api import KEYS
from tests.support.database import watch_bucket

MAKE = """
    create table public.docmill_test_things (
        id integer primary key, name text, size numeric, made date, data jsonb, tags text[],
        flag boolean, "odd ""name%s" text);
    insert into public.docmill_test_things
    select n, 'thing ' || n, n / 2.0, date '2026-01-01' + n,
           jsonb_build_object('n', n, 'deep', jsonb_build_object('list', jsonb_build_array(n, 'x')),
                              'a.b', 'dotted', 'nothing', null),
           array['t' || n % 3, 'all'], nullif(n % 3, 0) = 1, 'odd' || n
      from generate_series(1, 12) as n;
    insert into public.docmill_test_things (id, name) values
        (13, null), (14, 'a,b.c(d)"e\\f*%');
    grant select on public.docmill_test_things to anon, authenticated, service_role;
    create table public.docmill_test_many as select n as id from generate_series(1, 2500) as n;
    grant select on public.docmill_test_many to anon, authenticated, service_role;

    create table public.docmill_test_notes (id integer primary key, owner_id text, content text);
    alter table public.docmill_test_notes enable row level security;
    create policy notes_own on public.docmill_test_notes for select to authenticated
        using (owner_id = (select auth.jwt() ->> 'sub'));
    grant select on public.docmill_test_notes to authenticated, service_role;
    create table public.docmill_test_secrets (id integer);
    revoke all on public.docmill_test_secrets from anon, authenticated, service_role;

    create function public.docmill_test_add(a integer, b integer default 10) returns integer
        language sql immutable as 'select a + b';
    create function public.docmill_test_numbers(up_to integer) returns setof integer
        language sql stable as 'select n from generate_series(1, up_to) as n';
    create function public.docmill_test_pairs(up_to integer)
        returns table (number integer, text text)
        language sql stable as 'select n, ''n'' || n from generate_series(1, up_to) as n';
    create function public.docmill_test_thing(which integer) returns public.docmill_test_things
        language sql stable as 'select * from public.docmill_test_things where id = which';
    create function public.docmill_test_nothing() returns void
        language sql as 'select null::void';
    create function public.docmill_test_echo(value jsonb) returns jsonb
        language sql stable as 'select value';
    create function public.docmill_test_raise(state text) returns void language plpgsql as $$
    begin
        raise exception 'said so' using errcode = state, detail = 'a detail', hint = 'a hint';
    end $$;
    create function public.docmill_test_write() returns setof integer
        language sql security definer as
        $$ insert into public.docmill_test_notes
           select max(id) + n, 'nobody', ''
             from public.docmill_test_notes, generate_series(1, 2) as n group by n returning id $$;
    create function public.docmill_test_write_though_stable() returns setof integer
        language plpgsql stable as
        $$ begin return query select * from public.docmill_test_write(); end $$;
    create function public.docmill_test_guarded() returns integer language sql as 'select 1';
    revoke execute on function public.docmill_test_guarded from public, anon;
    grant execute on function public.docmill_test_guarded to authenticated;
    create function public.docmill_test_sleep(seconds float) returns void
        language sql as 'select pg_sleep(seconds)';
    create function public.docmill_test_context() returns jsonb language sql stable as $$
        select jsonb_build_object(
            'user', current_user, 'login', session_user, 'sub', auth.uid(),
            'claims', current_setting('request.jwt.claims')::jsonb,
            'method', current_setting('request.method'),
            'path', current_setting('request.path'),
            'headers', current_setting('request.headers')::jsonb,
            'search_path', current_setting('search_path'),
            'timeout', current_setting('statement_timeout'),
            'read_only', current_setting('transaction_read_only')) $$;
    notify pgrst, 'reload schema';
"""
DROP = """
    do $$ declare
        one text;
    begin
        for one in select format('drop function %s', oid::regprocedure) from pg_proc
                    where pronamespace = 'public'::regnamespace
                      and proname like 'docmill\\_test\\_%'
        loop execute one; end loop;
        for one in select format('drop table %s', oid::regclass) from pg_class
                    where relnamespace = 'public'::regnamespace and relkind = 'r'
                      and relname like 'docmill\\_test\\_%'
        loop execute one; end loop;
    end $$;
    notify pgrst, 'reload schema';
"""
SEEN_SECONDS = 30


def signed(secret: str = KEYS.jwt_secret, algorithm: str = "HS256", **claims: Any) -> str:
    """A token with exactly these claims, signed by the tests' stack."""
    return jwt.encode(claims, secret, algorithm)


@dataclass(frozen=True)
class DataApi:
    """The Data API over plain HTTP; as anon, unless a bearer is given."""

    target: Target
    alice: User
    bob: User
    plain: httpx.Client

    @property
    def anon(self) -> Any:
        """supabase-py; its answer types are too wide to be useful."""
        return self.target.anonymous()

    @property
    def service(self) -> Any:
        """The same with the secret key."""
        return self.target.service

    def get(self, path: str, bearer: str | None = None, **headers: str) -> httpx.Response:
        """Plain HTTP, to see details that supabase-py hides.

        Paths are relative to the tests' names.
        """
        return self.request("GET", path, bearer, **headers)

    def post(self, path: str, bearer: str | None = None, **headers: Any) -> httpx.Response:
        """As `get`, with a body: `json` or `content`."""
        return self.request("POST", path, bearer, **headers)

    def request(
        self, method: str, path: str, bearer: str | None = None, **headers: Any
    ) -> httpx.Response:
        """As `get`, with any method."""
        bodies = {name: headers.pop(name) for name in ("json", "content") if name in headers}
        if bearer is not None:
            headers["Authorization"] = f"Bearer {bearer}"
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        start = "/rpc/docmill_test_" if path.startswith("/rpc/") else "/docmill_test_"
        full = start + path.removeprefix("/rpc").removeprefix("/")
        return self.plain.request(method, full, headers=named, **bodies)


@pytest.fixture(scope="session")
def api(target: Target, alice: User, bob: User) -> Iterator[DataApi]:
    """The tables and functions, and the Data API that serves them."""
    with target.connect() as admin:
        admin.execute(DROP.encode())  # remove what a killed run left
        admin.execute(MAKE.encode())
        admin.execute(
            "insert into public.docmill_test_notes values (1, %s, 'alice''s'), (2, %s, 'bob''s')",
            [alice.id, bob.id],
        )
    plain = target.http("rest", bearer=target.public_key())
    made = DataApi(target, alice, bob, plain)
    deadline = time.monotonic() + SEEN_SECONDS
    while made.post("/rpc/add", json={"a": 1}).status_code == 404:
        # PostgREST reloads the schema on request, but does not report when it has.
        assert time.monotonic() < deadline
        time.sleep(0.2)
    try:
        yield made
    finally:
        plain.close()
        with target.connect() as admin:
            admin.execute(DROP.encode())


@pytest.fixture(scope="session")
def own_documents(target: Target, alice: User, bob: User) -> None:
    """Exactly one document for each user, in the tests' own stack."""
    assert target.inside is not None
    database = target.inside.database
    watch_bucket(database)
    with database.connect() as admin:
        # Other tests of this process may have removed documents of the same users.
        drain_withdrawn(admin)
        admin.execute(
            """delete from ingest.jobs as job where not exists (
                   select from ingest.documents as document where document.id = job.document_id)"""
        )
    for owner in (alice.id, bob.id):
        upload(database, f"{owner}/report.pdf", [f"text of {owner}"], owner=owner)
