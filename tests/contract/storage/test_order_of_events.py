"""Storage's order: check the policies by a real change, store the bytes, commit, then notify."""

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from storage3.exceptions import StorageApiError

from tests.contract.storage.conftest import Watched
from tests.contract.storage.receiver import Delivery

pytestmark = pytest.mark.embedded_only("looks into the database and at webhooks")


def request_ids(watched: Watched) -> int:
    """How often something was queued for pg_net, rolled back or not: sequences count both."""
    with watched.inside.database.connect() as connection:
        row = connection.execute(
            "select last_value from pg_sequences where sequencename = 'http_request_queue_id_seq'"
        ).fetchone()
    assert row is not None
    return int(row[0] or 0)


def stored_versions(watched: Watched) -> set[str]:
    folder: Path = watched.inside.server.settings.storage.data_dir
    return {path.name for path in folder.glob("*/**/*") if path.is_file()}


def test_triggers_fire_once_more_than_anything_is_committed(watched: Watched) -> None:
    """The permission test runs the triggers too; only its sequence numbers remain."""

    def firings(act: Callable[[], object]) -> int:
        watched.settle()
        before = request_ids(watched)
        act()
        return request_ids(watched) - before

    mine = watched.alice
    a, b, c = map(watched.mine, "abc")
    assert firings(lambda: mine.upload(a, b"1")) == 2
    assert firings(lambda: mine.upload(a, b"2", {"upsert": "true"})) == 2
    assert firings(lambda: mine.copy(a, b)) == 2
    assert firings(lambda: mine.move(b, c)) == 2
    assert firings(lambda: mine.remove([a, c])) == 2


def test_the_permission_test_writes_version_1_as_the_caller(watched: Watched) -> None:
    """A policy that allows nothing else shows it."""
    bob = watched.users[1].id
    with watched.inside.database.connect() as connection:
        connection.execute(
            f"""create policy rehearsed on storage.objects for insert to authenticated
                    with check (bucket_id = '{watched.name}' and version = '1'
                                and metadata ? 'contentLength'
                                and metadata - 'contentLength' = '{{"mimetype": "a/b"}}'
                                and user_metadata = '{{"k": 1}}'
                                and owner = '{bob}' and owner_id = '{bob}')"""
        )
        options = {"content-type": "a/b", "metadata": {"k": 1}}
        watched.bob.upload("x.txt", b"x", options)  # type: ignore[arg-type]
        with pytest.raises(StorageApiError, match="row-level security"):
            watched.bob.upload("y.txt", b"x", {"content-type": "a/c", "metadata": {"k": 1}})
        connection.execute("drop policy rehearsed on storage.objects")
    ((_, owner, version, *_),) = watched.rows()
    assert (owner, len(version)) == (bob, 36)


def test_the_committed_write_is_service_role_without_a_uid(watched: Watched) -> None:
    with watched.inside.database.connect() as connection:
        connection.execute(
            """create table public.writes (op text, role text, uid text, version text,
                                           operation text);
               create function public.note_write() returns trigger language plpgsql
               security definer as $$ begin
                   insert into public.writes values (
                       tg_op, current_setting('role'), coalesce(auth.uid()::text, 'none'),
                       coalesce(new.version, old.version), storage.operation());
                   return coalesce(new, old);
               end $$"""
        )
        connection.execute(
            f"""create trigger note_write after insert or update on storage.objects for each row
                    when (new.bucket_id = '{watched.name}') execute function public.note_write();
                create trigger note_delete after delete on storage.objects for each row
                    when (old.bucket_id = '{watched.name}') execute function public.note_write()"""
        )
        watched.alice.upload(watched.mine("a"), b"1")
        watched.alice.upload(watched.mine("a"), b"2", {"upsert": "true"})
        watched.alice.move(watched.mine("a"), watched.mine("b"))
        watched.alice.copy(watched.mine("b"), watched.mine("c"))
        watched.alice.remove([watched.mine("b")])
        writes = connection.execute(
            "select op, role, uid, operation, version = '1' from public.writes"
        ).fetchall()
    assert writes == [
        ("INSERT", "service_role", "none", "storage.object.upload", False),
        ("UPDATE", "service_role", "none", "storage.object.upload", False),
        ("UPDATE", "service_role", "none", "storage.object.move", False),
        ("INSERT", "service_role", "none", "storage.object.copy", False),
        ("DELETE", "authenticated", watched.users[0].id, "storage.object.delete_many", False),
    ]


def test_a_failing_trigger_fails_the_upload_and_leaves_nothing_behind(watched: Watched) -> None:
    watched.alice.upload(watched.mine("old"), b"old")
    before = stored_versions(watched)
    with watched.inside.database.connect() as connection:
        connection.execute(
            """create function public.refuse_completion() returns trigger language plpgsql as $$
               begin
                   if new.version <> '1' then raise exception 'no'; end if;
                   return new;
               end $$"""
        )
        connection.execute(
            f"""create trigger refuse_completion after insert or update on storage.objects
                    for each row when (new.bucket_id = '{watched.name}')
                    execute function public.refuse_completion()"""
        )
    for act in (
        lambda: watched.alice.upload(watched.mine("new"), b"new"),
        lambda: watched.alice.upload(watched.mine("old"), b"new", {"upsert": "true"}),
        lambda: watched.alice.copy(watched.mine("old"), watched.mine("copied")),
        lambda: watched.alice.move(watched.mine("old"), watched.mine("moved")),
    ):
        with pytest.raises(StorageApiError) as refused:
            act()
        assert refused.value.to_dict() == {
            "name": "StorageApiError",
            "code": "DatabaseError",
            "message": "database error, code: P0001",
            "status": "500",
        }
    assert [row[0] for row in watched.rows()] == [watched.mine("old")]
    assert watched.alice.download(watched.mine("old")) == b"old"
    assert stored_versions(watched) == before


def test_no_row_is_visible_while_bytes_arrive(watched: Watched) -> None:
    seen = []

    def slow_body() -> Iterator[bytes]:
        yield b"first "
        seen.append(watched.rows())
        yield b"second"

    with watched.bucket.target.http("storage") as http:
        response = http.post(f"/object/{watched.name}/slow.txt", content=slow_body())
    assert response.status_code == 200
    assert seen == [[]]
    assert watched.admin.download("slow.txt") == b"first second"


def test_whoever_hears_of_an_object_can_read_it(watched: Watched) -> None:
    """Every receiver of a webhook reads the object at once, while overwrites continue."""
    http = watched.bucket.target.http("storage")
    answers: list[httpx.Response] = []

    def read(delivery: Delivery) -> None:
        if delivery.concerns(watched.name):
            answers.append(http.get(f"/object/{watched.name}/{delivery.event['record']['name']}"))

    def upload(number: int) -> None:
        content = f"content {number}".encode() * (number + 1)
        watched.admin.upload(f"{number % 20}.txt", content, {"upsert": "true"})

    watched.receiver.on_delivery = read
    try:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(upload, range(60)))
        delivered = watched.deliveries()
    finally:
        watched.receiver.on_delivery = lambda _: None
    assert len(delivered) == len(answers) == 60
    assert {answer.status_code for answer in answers} == {200}
    for answer in answers:
        assert answer.headers["etag"] == f'"{hashlib.md5(answer.content).hexdigest()}"'
    http.close()


def test_versions_of_concurrent_overwrites_form_one_chain(watched: Watched) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(
            pool.map(
                lambda number: watched.admin.upload("a", str(number).encode(), {"upsert": "true"}),
                range(24),
            )
        )
    events = [delivery.event for delivery in watched.deliveries()]
    follows = {
        event["old_record"]["version"]: event["record"]["version"]
        for event in events
        if event["type"] == "UPDATE"
    }
    (version,) = (event["record"]["version"] for event in events if event["type"] == "INSERT")
    length = 1
    while version in follows:
        version = follows[version]
        length += 1
    assert (length, version) == (24, watched.rows()[0][2])
    assert len(stored_versions(watched) & set(follows)) == 0, "replaced bytes are gone"
