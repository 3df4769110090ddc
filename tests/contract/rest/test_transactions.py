"""One transaction for each request: read only where promised, bounded, undisturbed by others."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import psycopg
import pytest

from tests.contract.rest.conftest import ALICE, BOB, DataApi, token
from tests.support.api import KEYS
from tests.support.installation import until


def count_notes(api: DataApi) -> int:
    with api.database.connect() as connection:
        row = connection.execute("select count(*) from public.notes").fetchone()
    assert row is not None
    count: int = row[0]
    return count


@pytest.fixture
def _notes_restored(api: DataApi) -> Iterator[None]:
    yield
    with api.database.connect() as connection:
        connection.execute("delete from public.notes where id > 2")


@pytest.mark.usefixtures("_notes_restored")
def test_only_a_posted_volatile_function_may_write(api: DataApi) -> None:
    for method, path in (
        ("GET", "/rpc/write_note"),
        ("HEAD", "/rpc/write_note"),
        ("POST", "/rpc/write_though_stable"),
    ):
        refused = api.request(method, path)
        assert refused.status_code == 405, f"{method} {path}"
    assert refused.json()["code"] == "25006"
    assert refused.json()["message"] == "cannot execute INSERT in a read-only transaction"
    assert count_notes(api) == 2
    assert api.request("POST", "/rpc/write_note").json() == 3
    assert count_notes(api) == 3


@pytest.mark.usefixtures("_notes_restored")
def test_a_refused_answer_takes_the_write_back(api: DataApi) -> None:
    with api.database.connect() as connection:
        connection.execute(
            """create or replace function public.write_two() returns setof integer
               language sql security definer as
               $$ insert into public.notes values (3, 'x', ''), (4, 'x', '') returning id $$"""
        )
    accept = "application/vnd.pgrst.object+json"
    assert api.request("POST", "/rpc/write_two", Accept=accept).status_code == 406
    strict = "handling=strict, max-affected=1"
    assert api.request("POST", "/rpc/write_two", Prefer=strict).status_code == 400
    assert count_notes(api) == 2
    assert api.request("POST", "/rpc/write_two").json() == [3, 4]


def test_a_functions_own_timeout_counts_for_its_call(api: DataApi) -> None:
    started = time.monotonic()
    response = api.request("POST", "/rpc/sleep_shortly", json={"seconds": 20})
    assert response.json()["code"] == "57014"
    assert time.monotonic() - started < 2.5


def test_a_setting_of_the_role_counts_from_the_next_request_on(api: DataApi) -> None:
    with api.database.connect() as connection:
        connection.execute("alter role anon set work_mem = '5MB'")
        # Only a superuser may set it: PostgREST leaves such settings alone, too.
        connection.execute("alter role anon set log_min_duration_statement = '1h'")
    try:
        with api.database.connect() as connection:
            connection.execute(
                """create or replace function public.work_mem() returns text language sql stable
                   as $$ select current_setting('work_mem') $$"""
            )
        assert api.get("/rpc/work_mem").json() == "5MB"
    finally:
        with api.database.connect() as connection:
            connection.execute("alter role anon reset work_mem")
            connection.execute("alter role anon reset log_min_duration_statement")
    assert api.get("/rpc/work_mem").json() != "5MB"


def test_a_change_of_the_schema_counts_from_the_next_request_on(api: DataApi) -> None:
    with api.database.connect() as connection:
        assert api.get("/fresh").status_code == 404
        connection.execute("create table public.fresh as select 1 as a")
        connection.execute("grant select on public.fresh to anon")
        assert api.get("/fresh").json() == [{"a": 1}]
        connection.execute("alter table public.fresh rename column a to b")
        assert api.get("/fresh?b=eq.1").json() == [{"b": 1}]
        connection.execute("alter table public.fresh alter column b type text")
        assert api.get("/fresh?b=like.1*").json() == [{"b": "1"}]
        connection.execute("drop table public.fresh")
        assert api.get("/fresh").status_code == 404
        create = "create function public.fresh({}) returns integer language sql as 'select 1'"
        connection.execute(create.format("a integer").encode())
        assert api.get("/rpc/fresh?a=1").json() == 1
        connection.execute("drop function public.fresh")
        connection.execute(create.format("b integer").encode())
        assert api.get("/rpc/fresh?a=1").json()["code"] == "PGRST202"
        assert api.get("/rpc/fresh?b=1").json() == 1
        connection.execute("drop function public.fresh")


def test_what_fails_at_commit_is_told(api: DataApi) -> None:
    with api.database.connect() as connection:
        connection.execute(
            """create table public.parents (id integer primary key);
               create table public.children (parent integer references public.parents (id)
                   deferrable initially deferred);
               create function public.add_child() returns void language sql security definer
                   as 'insert into public.children values (1)'"""
        )
        response = api.request("POST", "/rpc/add_child")
        assert (response.status_code, response.json()["code"]) == (409, "23503")
        connection.execute(
            "drop function public.add_child; drop table public.children, public.parents"
        )


def test_a_hundred_requests_at_once_are_each_their_own(api: DataApi) -> None:
    tokens = {ALICE: token(ALICE), BOB: token(BOB)}

    def ask(number: int) -> bool:
        who = (ALICE, BOB)[number % 2]
        seen = api.get("/rpc/context", tokens[who], X_Number=str(number)).json()
        notes = api.get("/notes?select=owner_id", tokens[who]).json()
        told = (seen["sub"], seen["headers"]["x-number"], notes)
        return bool(told == (who, str(number), [{"owner_id": who}]))

    with ThreadPoolExecutor(100) as pool:
        assert all(pool.map(ask, range(100)))


def test_slow_requests_end_at_the_roles_timeout_and_the_others_go_on(api: DataApi) -> None:
    """All connections are busy for three seconds, and the eleventh request waits for one."""
    begun = threading.Barrier(11)

    def sleep(_number: int) -> tuple[int, str, str]:
        begun.wait(10)
        response = api.request("POST", "/rpc/sleep", json={"seconds": 60})
        return response.status_code, response.json()["code"], response.json()["message"]

    with ThreadPoolExecutor(10) as pool:
        sleeping = [pool.submit(sleep, number) for number in range(10)]
        begun.wait(10)
        with api.database.connect() as connection:
            busy = (
                "select count(*) = 10 from pg_stat_activity"
                " where wait_event = 'PgSleep' and datname = current_database()"
            )

            def all_busy() -> bool:
                return bool(connection.execute(busy).fetchall() == [(True,)])

            until(all_busy, "ten sleeping requests", timeout=20)
        assert api.get("/rpc/add?a=1", timeout="30").json() == 11
        message = "canceling statement due to statement timeout"
        assert {future.result() for future in sleeping} == {(500, "57014", message)}


def test_a_client_that_sends_its_body_slowly_holds_no_connection(api: DataApi) -> None:
    body_goes_on = threading.Event()

    def slow_body() -> Iterator[bytes]:
        yield b'{"a": '
        body_goes_on.wait(20)
        yield b"1}"

    def post() -> httpx.Response:
        with httpx.Client(verify=False) as client:
            return client.post(
                f"{api.server.url}/rest/v1/rpc/add",
                content=slow_body(),
                headers={"apikey": KEYS.publishable_key},
                timeout=30,
            )

    with ThreadPoolExecutor(12) as pool:
        slow = [pool.submit(post) for _ in range(12)]
        try:
            assert api.get("/rpc/add?a=2").json() == 12
        finally:
            body_goes_on.set()
        assert {future.result().text for future in slow} == {"11"}


def test_a_lost_connection_is_answered_and_replaced(api: DataApi) -> None:
    with api.database.connect() as connection:
        connection.execute(
            """select pg_terminate_backend(pid) from pg_stat_activity
                where application_name = 'postgrest' and datname = current_database()"""
        )

    def works() -> bool:
        response = api.get("/rpc/add?a=1")
        if response.status_code != 200:
            assert (response.status_code, response.json()["code"]) in {
                (503, "PGRST001"),
                (503, "57P01"),
            }
        return response.status_code == 200

    until(works, "a new connection", timeout=20)


def test_nothing_of_a_failed_request_is_left_in_its_connection(api: DataApi) -> None:
    for _ in range(30):
        api.get("/secrets", token())
        api.get("/things?nope=eq.1", token())
    for _ in range(30):
        seen = api.get("/rpc/context").json()
        assert (seen["user"], seen["sub"], seen["timeout"]) == ("anon", None, "3s")


def test_the_login_role_reads_nothing_by_itself(api: DataApi) -> None:
    with (
        psycopg.connect(api.database.url("authenticator")) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute("select * from public.notes")
