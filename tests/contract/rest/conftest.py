"""One project with docmill's schema and its Data API for all tests here. Tests only read it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import jwt
import pytest
from supabase import create_client

from docmill.embedded.api import ApiServer
from docmill.embedded.postgres import PostgresServer
from tests.schema.actors import upload
from tests.support.api import (
    KEYS,
    assert_nothing_went_wrong,
    http_client,
    start_test_api,
    user_client,
)
from tests.support.database import Database, make_database, watch_bucket

ALICE = "11111111-1111-4111-8111-111111111111"
BOB = "22222222-2222-4222-8222-222222222222"

#: What a project may have beside docmill: a table of many types, one under RLS, functions.
PROJECT = """
    create table public.things (
        id integer primary key, name text, size numeric, made date, data jsonb, plain json,
        tags text[], span int4range, words tsvector, flag boolean, "odd ""name%s" text,
        code varchar(3));
    insert into public.things
    select n, 'thing ' || n, n / 2.0, date '2026-01-01' + n,
           jsonb_build_object('n', n, 'deep', jsonb_build_object('list', jsonb_build_array(n, 'x')),
                              'a.b', 'dotted', 'nothing', null),
           json_build_object('n', n), array['t' || n % 3, 'all'], int4range(n, n + 3),
           to_tsvector('english', 'running number ' || n), nullif(n % 3, 0) = 1, 'odd' || n, n
      from generate_series(1, 12) as n;
    insert into public.things (id, name) values (13, null), (14, 'a,b.c(d)"e\\f*%');
    grant select on public.things to anon, authenticated, service_role;

    create view public.small_things as select id, name from public.things where id < 4;
    grant select on public.small_things to anon;

    create table public.many as select n as id from generate_series(1, 2500) as n;
    analyze public.many;
    grant select on public.many to anon, authenticated;

    create table public.notes (id integer primary key, owner_id text, content text);
    alter table public.notes enable row level security;
    create policy notes_own on public.notes for select to authenticated
        using (owner_id = (select auth.jwt() ->> 'sub'));
    insert into public.notes values
        (1, '11111111-1111-4111-8111-111111111111', 'alice''s'),
        (2, '22222222-2222-4222-8222-222222222222', 'bob''s');
    grant select on public.notes to authenticated, service_role;
    create table public.secrets (id integer);

    create function public.add(a integer, b integer default 10) returns integer
        language sql immutable as 'select a + b';
    create function public.numbers(up_to integer) returns setof integer
        language sql stable as 'select n from generate_series(1, up_to) as n';
    create function public.pairs(up_to integer) returns table (number integer, text text)
        language sql stable as 'select n, ''n'' || n from generate_series(1, up_to) as n';
    create function public.thing(which integer) returns public.things
        language sql stable as 'select * from public.things where id = which';
    create function public.things_from(first integer) returns setof public.things
        language sql stable as 'select * from public.things where id >= first order by id';
    create function public.nothing() returns void language sql as 'select null::void';
    create function public.joined(variadic words text[]) returns text
        language sql stable as 'select array_to_string(words, ''+'')';
    create function public.echo(value jsonb, kind text default null) returns jsonb
        language sql stable as 'select value';
    create function public.whole(json) returns json language sql stable as 'select $1';
    create function public.both(a integer) returns text language sql as 'select ''integer''';
    create function public.both(a text) returns text language sql as 'select ''text''';
    create function public.raise(state text, words text default 'said so') returns void
        language plpgsql as $$
    begin
        raise exception '%', words using errcode = state, detail = 'a detail', hint = 'a hint';
    end $$;
    create function public.write_note() returns integer language sql security definer as
        $$ insert into public.notes values ((select max(id) + 1 from public.notes), 'nobody', '')
           returning id $$;
    create function public.write_though_stable() returns integer
        language plpgsql stable as $$ begin return public.write_note(); end $$;
    create function public.guarded() returns integer language sql as 'select 1';
    revoke execute on function public.guarded from public;
    grant execute on function public.guarded to authenticated;
    create function public.sleep(seconds float) returns void
        language sql as 'select pg_sleep(seconds)';
    create function public.sleep_shortly(seconds float) returns void
        language sql set statement_timeout = '200ms' as 'select pg_sleep(seconds)';
    create function public.context() returns jsonb language sql stable as $$
        select jsonb_build_object(
            'user', current_user, 'login', session_user, 'sub', auth.uid(),
            'claims', current_setting('request.jwt.claims')::jsonb,
            'method', current_setting('request.method'),
            'path', current_setting('request.path'),
            'headers', current_setting('request.headers')::jsonb,
            'cookies', current_setting('request.cookies')::jsonb,
            'search_path', current_setting('search_path'),
            'timeout', current_setting('statement_timeout'),
            'timezone', current_setting('timezone'),
            'read_only', current_setting('transaction_read_only')) $$;
"""


def token(sub: str = ALICE, **claims: Any) -> str:
    """A user's token as Supabase Auth makes it."""
    payload = {"role": "authenticated", "aud": "authenticated", "sub": sub}
    return KEYS.sign({**payload, **claims}, seconds=3600)


def signed(secret: str = KEYS.jwt_secret, algorithm: str = "HS256", **claims: Any) -> str:
    """A token of exactly these claims."""
    return jwt.encode(claims, secret, algorithm)


@dataclass(frozen=True)
class DataApi:
    """The running API, its database, and supabase-py as each kind of caller."""

    database: Database
    server: ApiServer
    #: supabase-py; its types of answers are too wide to be looked into.
    alice: Any
    bob: Any
    anon: Any
    service: Any
    http: httpx.Client

    def get(self, path: str, bearer: str | None = None, **headers: str) -> httpx.Response:
        """Plain HTTP, for what supabase-py hides."""
        return self.request("GET", path, bearer, **headers)

    def request(
        self, method: str, path: str, bearer: str | None = None, **headers: Any
    ) -> httpx.Response:
        """The same with any method; `json` and `content` are bodies."""
        bodies = {name: headers.pop(name) for name in ("json", "content") if name in headers}
        if bearer is not None:
            headers["Authorization"] = f"Bearer {bearer}"
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.http.request(method, path, headers=named, **bodies)


@pytest.fixture(scope="session")
def api(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DataApi]:
    """The project and its API."""
    folder = tmp_path_factory.mktemp("rest")
    with make_database(postgres) as database:
        watch_bucket(database)
        with database.connect() as admin:
            admin.execute(PROJECT.encode())
        for owner in (ALICE, BOB):
            upload(database, f"{owner}/report.pdf", [f"text of {owner}"], owner=owner)
        server = start_test_api(database, folder, deliver_webhooks=False)
        http = http_client(f"{server.url}/rest/v1")
        try:
            yield DataApi(
                database,
                server,
                user_client(server.url, token(ALICE)),
                user_client(server.url, token(BOB)),
                create_client(server.url, KEYS.publishable_key),
                create_client(server.url, KEYS.secret_key),
                http,
            )
        finally:
            http.close()
            server.stop()
    assert_nothing_went_wrong(folder)
