"""Each request is one transaction: read-only if promised, with limits, isolated from others."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import psycopg
import pytest

from tests.contract.rest.conftest import DataApi
from tests.contract.target import Inside
from tests.support.api import KEYS
from tests.support.installation import until

pytestmark = pytest.mark.embedded_only("changes the database while it is asked")


def count_notes(inside: Inside) -> int:
    with inside.database.connect() as connection:
        row = connection.execute("select count(*) from public.docmill_test_notes").fetchone()
    assert row is not None
    count: int = row[0]
    return count


@pytest.fixture
def _notes_restored(api: DataApi, inside: Inside) -> Iterator[None]:
    yield
    with inside.database.connect() as connection:
        connection.execute("delete from public.docmill_test_notes where id > 2")


@pytest.mark.usefixtures("_notes_restored")
def test_only_a_volatile_function_may_write(api: DataApi, inside: Inside) -> None:
    refused = api.post("/rpc/write_though_stable")
    assert (refused.status_code, refused.json()["code"]) == (405, "25006")
    assert refused.json()["message"] == "cannot execute INSERT in a read-only transaction"
    assert count_notes(inside) == 2
    assert api.post("/rpc/write").json() == [3, 4]
    assert count_notes(inside) == 4


@pytest.mark.usefixtures("_notes_restored")
def test_a_refused_answer_takes_the_write_back(api: DataApi, inside: Inside) -> None:
    accept = "application/vnd.pgrst.object+json"
    assert api.post("/rpc/write", Accept=accept).status_code == 406
    assert count_notes(inside) == 2


def test_a_setting_of_the_role_counts_from_the_next_request_on(
    api: DataApi, inside: Inside
) -> None:
    with inside.database.connect() as connection:
        connection.execute("alter role anon set work_mem = '5MB'")
        # Only a superuser may set it, so PostgREST ignores such settings too.
        connection.execute("alter role anon set log_min_duration_statement = '1h'")
    try:
        with inside.database.connect() as connection:
            connection.execute(
                """create or replace function public.docmill_test_work_mem() returns text
                   language sql stable as $$ select current_setting('work_mem') $$"""
            )
        assert api.post("/rpc/work_mem").json() == "5MB"
    finally:
        with inside.database.connect() as connection:
            connection.execute("alter role anon reset work_mem")
            connection.execute("alter role anon reset log_min_duration_statement")
    assert api.post("/rpc/work_mem").json() != "5MB"


def test_a_change_of_the_schema_counts_from_the_next_request_on(
    api: DataApi, inside: Inside
) -> None:
    with inside.database.connect() as connection:
        assert api.get("/fresh").status_code == 404
        connection.execute("create table public.docmill_test_fresh as select 1 as a")
        connection.execute("grant select on public.docmill_test_fresh to anon")
        assert api.get("/fresh").json() == [{"a": 1}]
        connection.execute("alter table public.docmill_test_fresh rename column a to b")
        assert api.get("/fresh?b=eq.1").json() == [{"b": 1}]
        connection.execute("alter table public.docmill_test_fresh alter column b type text")
        assert api.get("/fresh?b=like.1*").json() == [{"b": "1"}]
        connection.execute("drop table public.docmill_test_fresh")
        assert api.get("/fresh").status_code == 404
        made = "public.docmill_test_fresh({}) returns integer language sql as 'select 1'"
        create = f"create function {made}"
        connection.execute(create.format("a integer").encode())
        assert api.post("/rpc/fresh", json={"a": 1}).json() == 1
        connection.execute("drop function public.docmill_test_fresh")
        connection.execute(create.format("b integer").encode())
        assert api.post("/rpc/fresh", json={"a": 1}).json()["code"] == "PGRST202"
        assert api.post("/rpc/fresh", json={"b": 1}).json() == 1
        connection.execute("drop function public.docmill_test_fresh")


def test_what_fails_at_commit_is_told(api: DataApi, inside: Inside) -> None:
    with inside.database.connect() as connection:
        connection.execute(
            """create table public.docmill_test_parents (id integer primary key);
               create table public.docmill_test_children (
                   parent integer references public.docmill_test_parents (id)
                       deferrable initially deferred);
               create function public.docmill_test_add_child() returns void
                   language sql security definer
                   as 'insert into public.docmill_test_children values (1)'"""
        )
        response = api.post("/rpc/add_child")
        assert (response.status_code, response.json()["code"]) == (409, "23503")
        connection.execute(
            "drop function public.docmill_test_add_child;"
            " drop table public.docmill_test_children, public.docmill_test_parents"
        )


def test_a_hundred_requests_at_once_are_each_their_own(api: DataApi, inside: Inside) -> None:
    def ask(number: int) -> bool:
        who = (api.alice, api.bob)[number % 2]
        seen = api.post("/rpc/context", who.token, X_Number=str(number)).json()
        notes = api.get("/notes?select=owner_id", who.token).json()
        told = (seen["sub"], seen["headers"]["x-number"], notes)
        return bool(told == (who.id, str(number), [{"owner_id": who.id}]))

    with ThreadPoolExecutor(100) as pool:
        assert all(pool.map(ask, range(100)))


def test_slow_requests_end_at_the_roles_timeout_and_the_others_go_on(
    api: DataApi, inside: Inside
) -> None:
    """All connections are busy for three seconds, and the eleventh request waits for one."""
    begun = threading.Barrier(11)

    def sleep(_number: int) -> tuple[int, str, str]:
        begun.wait(180)
        response = api.post("/rpc/sleep", json={"seconds": 60})
        return response.status_code, response.json()["code"], response.json()["message"]

    with ThreadPoolExecutor(10) as pool:
        sleeping = [pool.submit(sleep, number) for number in range(10)]
        begun.wait(180)
        with inside.database.connect() as connection:
            busy = (
                "select count(*) = 10 from pg_stat_activity"
                " where wait_event = 'PgSleep' and datname = current_database()"
            )

            def all_busy() -> bool:
                return bool(connection.execute(busy).fetchall() == [(True,)])

            until(all_busy, "ten sleeping requests", timeout=180)
        assert api.post("/rpc/add", json={"a": 1}).json() == 11
        message = "canceling statement due to statement timeout"
        assert {future.result() for future in sleeping} == {(500, "57014", message)}


def test_a_client_that_sends_its_body_slowly_holds_no_connection(
    api: DataApi, inside: Inside
) -> None:
    body_goes_on = threading.Event()

    def slow_body() -> Iterator[bytes]:
        yield b'{"a": '
        body_goes_on.wait(180)
        yield b"1}"

    def post() -> httpx.Response:
        with httpx.Client(verify=False) as client:
            return client.post(
                f"{api.target.url}/rest/v1/rpc/docmill_test_add",
                content=slow_body(),
                headers={"apikey": KEYS.publishable_key},
                timeout=180,
            )

    with ThreadPoolExecutor(12) as pool:
        slow = [pool.submit(post) for _ in range(12)]
        try:
            assert api.post("/rpc/add", json={"a": 2}).json() == 12
        finally:
            body_goes_on.set()
        assert {future.result().text for future in slow} == {"11"}


def test_a_lost_connection_is_answered_and_replaced(api: DataApi, inside: Inside) -> None:
    with inside.database.connect() as connection:
        connection.execute(
            """select pg_terminate_backend(pid) from pg_stat_activity
                where application_name = 'postgrest' and datname = current_database()"""
        )

    def works() -> bool:
        response = api.post("/rpc/add", json={"a": 1})
        if response.status_code != 200:
            assert (response.status_code, response.json()["code"]) in {
                (503, "PGRST001"),
                (503, "57P01"),
            }
        return response.status_code == 200

    until(works, "a new connection", timeout=180)


def test_nothing_of_a_failed_request_is_left_in_its_connection(
    api: DataApi, inside: Inside
) -> None:
    for _ in range(30):
        api.get("/secrets", api.alice.token)
        api.get("/things?nope=eq.1", api.alice.token)
    for _ in range(30):
        seen = api.post("/rpc/context").json()
        assert (seen["user"], seen["sub"], seen["timeout"]) == ("anon", None, "3s")


@pytest.mark.usefixtures("api")
def test_the_login_role_reads_nothing_by_itself(inside: Inside) -> None:
    with (
        psycopg.connect(inside.database.url("authenticator")) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute("select * from public.docmill_test_notes")
