"""Database Webhooks as pg_net sends them: content, number, form."""

import json
import threading
import time
from collections import Counter
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from docmill.embedded.storage import install_webhook
from tests.contract.storage.conftest import WEBHOOK_SECRET, Watched
from tests.contract.storage.receiver import Delivery
from tests.support.recorded import recorded_bodies

pytestmark = pytest.mark.embedded_only("receives the project's webhooks")


def types(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in events]


def queue(
    watched: Watched, path: str, *, timeout: int = 5000, body: bytes = b"{}", count: int = 1
) -> None:
    """Queue requests by SQL, committed as one transaction."""
    with watched.inside.database.connect() as connection, connection.transaction():
        for _ in range(count):
            connection.execute(
                """insert into net.http_request_queue
                       (method, url, headers, body, timeout_milliseconds)
                   values ('POST', %s, %s, %s, %s)""",
                [watched.receiver.url + path, Jsonb({"x-test": "1"}), body, timeout],
            )


def named(bucket: str, name: str, deliveries: list[Delivery]) -> bool:
    """True as soon as a webhook is about this object's row."""
    return any(
        delivery.concerns(bucket) and delivery.event["record"]["name"] == name
        for delivery in reversed(deliveries[-1000:])
    )


def at(path: str, deliveries: list[Delivery]) -> list[Delivery]:
    return [delivery for delivery in deliveries if delivery.path == path]


def test_each_operation_emits_what_the_real_storage_was_seen_to_emit(watched: Watched) -> None:
    alice, mine = watched.alice, watched.mine
    path = mine("a.txt")

    (new,) = watched.events_of(lambda: alice.upload(path, b"1"))
    assert (new["type"], new["old_record"]) == ("INSERT", None)
    record = new["record"]
    assert (record["name"], record["owner_id"], record["owner"]) == (
        path,
        watched.users[0].id,
        watched.users[0].id,
    )
    assert record["path_tokens"] == path.split("/")

    (overwritten,) = watched.events_of(lambda: alice.upload(path, b"2", {"upsert": "true"}))
    (same_bytes,) = watched.events_of(lambda: alice.upload(path, b"2", {"upsert": "true"}))
    chain = [new, overwritten, same_bytes]
    assert types(chain) == ["INSERT", "UPDATE", "UPDATE"]
    assert len({event["record"]["id"] for event in chain}) == 1
    assert len({event["record"]["version"] for event in chain}) == 3
    assert len({event["record"]["created_at"] for event in chain}) == 1
    etags = [event["record"]["metadata"]["eTag"] for event in chain]
    assert etags[1] == etags[2]
    for earlier, later in pairwise(chain):
        assert later["old_record"] == earlier["record"]

    (upserted,) = watched.events_of(lambda: alice.upload(mine("b"), b"1", {"upsert": "true"}))
    assert upserted["type"] == "INSERT"

    (moved,) = watched.events_of(lambda: alice.move(path, mine("sub/c.txt")))
    before, after = moved["old_record"], moved["record"]
    assert moved["type"] == "UPDATE"
    assert (before["id"], before["name"]) == (after["id"], path)
    changed = {key for key in after if after[key] != before[key]}
    assert changed == {"name", "path_tokens", "version", "metadata", "updated_at"}
    assert {k for k in after["metadata"] if after["metadata"][k] != before["metadata"][k]} <= {
        "lastModified"
    }

    (copied,) = watched.events_of(lambda: alice.copy(mine("b"), mine("d")))
    assert copied["type"] == "INSERT"
    assert copied["record"]["id"] != upserted["record"]["id"]
    assert copied["record"]["version"] != upserted["record"]["version"]

    (removed,) = watched.events_of(lambda: alice.remove([mine("b"), mine("absent")]))
    assert (removed["type"], removed["record"]) == ("DELETE", None)
    assert removed["old_record"]["id"] == upserted["record"]["id"]

    by_key = watched.events_of(lambda: watched.admin.upload("by-key", b"1"))
    assert (by_key[0]["record"]["owner_id"], by_key[0]["record"]["owner"]) == (None, None)


def test_a_move_to_another_bucket_is_one_update_that_names_both(watched: Watched) -> None:
    storage = watched.bucket.target.service.storage
    storage.create_bucket(f"{watched.name}-target")
    watched.admin.upload("a", b"a")

    def move() -> None:
        body = {
            "bucketId": watched.name,
            "sourceKey": "a",
            "destinationBucket": f"{watched.name}-target",
            "destinationKey": "a",
        }
        with watched.bucket.target.http("storage") as http:
            assert http.post("/object/move", json=body).status_code == 200

    (event,) = watched.events_of(move)
    assert event["type"] == "UPDATE"
    assert event["old_record"]["bucket_id"] == watched.name
    assert event["record"]["bucket_id"] == f"{watched.name}-target"


def test_what_changes_nothing_emits_nothing(watched: Watched) -> None:
    alice, mine = watched.alice, watched.mine
    path = mine("a.txt")
    alice.upload(path, b"1")

    def change_nothing() -> None:
        alice.download(path)
        alice.list(watched.users[0].id)
        alice.info(path)
        alice.create_signed_url(path, 60)
        watched.bob.remove([path])
        for refused in (
            lambda: alice.upload(path, b"taken"),
            lambda: watched.bob.upload(mine("not-his"), b"1"),
            lambda: alice.move(path, mine("ä")),
            lambda: alice.copy(mine("absent"), mine("b")),
        ):
            with pytest.raises(Exception, match="statusCode"):
                refused()

    assert watched.events_of(change_nothing) == []


def test_a_change_by_sql_is_told_as_well_and_a_rolled_back_one_is_not(watched: Watched) -> None:
    watched.alice.upload(watched.mine("a"), b"1")

    def change() -> None:
        with watched.inside.database.connect() as connection:
            connection.execute(
                "update storage.objects set user_metadata = '{\"k\": 1}' where bucket_id = %s",
                [watched.name],
            )
            with connection.transaction(force_rollback=True):
                connection.execute("set local storage.allow_delete_query = 'true'")
                connection.execute(
                    "delete from storage.objects where bucket_id = %s", [watched.name]
                )

    (event,) = watched.events_of(change)
    assert event["type"] == "UPDATE"
    assert event["record"]["version"] == event["old_record"]["version"]


def test_sql_may_not_delete_behind_storages_back(watched: Watched) -> None:
    with (
        watched.inside.database.connect() as connection,
        pytest.raises(Exception, match="Direct deletion from storage tables is not allowed"),
    ):
        connection.execute("delete from storage.objects where bucket_id = %s", [watched.name])


def test_one_removal_of_450_objects_is_450_webhooks(watched: Watched) -> None:
    names = [f"{number:03}" for number in range(450)]
    with watched.inside.database.connect() as connection, connection.transaction():
        connection.execute("set local session_replication_role = replica")  # no webhooks for these
        connection.execute(
            """insert into storage.objects (bucket_id, name, version)
               select %s, name, gen_random_uuid()::text from unnest(%s::text[]) as name""",
            [watched.name, names],
        )
    events = watched.events_of(lambda: watched.admin.remove(names))
    assert types(events) == ["DELETE"] * 450
    assert sorted(event["old_record"]["name"] for event in events) == names


def test_a_body_is_the_exact_text_that_jsonb_prints(watched: Watched) -> None:
    awkward = {"title": 'ä "quoted" \\ 日本 \n', "b": [1.50, 1e3, None], "aa": {}}
    watched.alice.upload(watched.mine("a"), b"1", {"metadata": awkward})
    (delivery,) = watched.deliveries()
    with watched.inside.database.connect() as connection:
        row = connection.execute(
            "select convert_to((%s::jsonb)::text, 'UTF8')", [delivery.body.decode()]
        ).fetchone()
    assert row == (delivery.body,)
    assert "日本".encode() in delivery.body, "UTF-8, not escaped"
    assert delivery.body.startswith(b'{"type": "INSERT", "table": "objects", "record": {"id": "')


def test_a_request_has_the_headers_of_pg_net_and_the_secret(watched: Watched) -> None:
    watched.alice.upload(watched.mine("a"), b"1")
    (delivery,) = watched.deliveries()
    headers = {name.lower(): value for name, value in delivery.headers.items()}
    assert headers.pop("host").startswith("127.0.0.1:")
    assert headers.pop("content-length") == str(len(delivery.body))
    assert headers == {
        "accept": "*/*",
        "content-type": "application/json",
        "x-webhook-secret": WEBHOOK_SECRET,
        "user-agent": "pg_net/0.20.4",
    }


def test_bodies_have_the_keys_of_recorded_ones_in_their_order(watched: Watched) -> None:
    expected = {body["type"]: shape(body) for body in recorded_bodies() if not is_s3(body)}
    assert set(expected) == {"INSERT", "UPDATE", "DELETE"}
    watched.alice.upload(watched.mine("a"), b"1", {"metadata": {"k": "v"}})
    watched.alice.upload(watched.mine("a"), b"2", {"upsert": "true"})
    watched.alice.remove([watched.mine("a")])
    ours = {delivery.event["type"]: shape(delivery.event) for delivery in watched.deliveries()}
    assert ours == expected


def is_s3(body: dict[str, Any]) -> bool:
    return "s3" in json.dumps(body)


def shape(body: dict[str, Any]) -> dict[str, Any]:
    """The keys in order, with those of the metadata, and the type of every value."""

    def of(value: Any) -> Any:
        if isinstance(value, dict):
            return [(key, of(value[key])) for key in value if key != "user_metadata"]
        return type(value).__name__

    return {
        "keys": list(body),
        **{key: of(body[key]) for key in ("record", "old_record", "schema", "table")},
    }


def test_a_commit_of_storage_wakes_the_sender_at_once(watched: Watched) -> None:
    """Ten in a row: if only polling found them, that would take about five seconds."""
    receiver = watched.receiver
    begun = time.monotonic()
    for number in range(10):
        watched.admin.upload(str(number), b"x")
        receiver.wait(partial(named, watched.name, str(number)))
    assert time.monotonic() - begun < 3


def test_a_request_that_fails_is_never_sent_again(watched: Watched) -> None:
    watched.receiver.answers["/failing"] = 500
    queue(watched, "/failing")
    watched.receiver.wait(lambda all_of_them: bool(at("/failing", all_of_them)))
    watched.settle()
    watched.settle()
    assert len(at("/failing", watched.receiver.deliveries)) == 1
    with watched.inside.database.connect() as connection:
        assert connection.execute("select count(*) from net.http_request_queue").fetchone() == (0,)


def test_requests_that_cannot_be_sent_stop_nobody(watched: Watched) -> None:
    with watched.inside.database.connect() as connection:
        for url, headers in (
            ("http://127.0.0.1:1/nobody-listens", {}),
            ("not a url", {}),
            ("http://[::bad", {}),
            (f"{watched.receiver.url}/bad-header", {"x": "line\nbreak"}),
            (f"{watched.receiver.url}/bad-header", [1]),
        ):
            connection.execute(
                """insert into net.http_request_queue
                       (method, url, headers, body, timeout_milliseconds)
                   values ('POST', %s, %s, '{}', 500)""",
                [url, Jsonb(headers)],
            )
    queue(watched, "/after-the-bad")
    watched.receiver.wait(lambda all_of_them: bool(at("/after-the-bad", all_of_them)))


def test_a_receiver_that_hangs_holds_up_the_next_batch_until_its_timeout(
    watched: Watched,
) -> None:
    receiver = watched.receiver
    receiver.hanging.add("/hanging")
    queue(watched, "/hanging", timeout=600)
    receiver.wait(lambda all_of_them: bool(at("/hanging", all_of_them)))
    begun = time.monotonic()
    queue(watched, "/behind-it")
    receiver.wait(lambda all_of_them: bool(at("/behind-it", all_of_them)))
    assert 0.3 < time.monotonic() - begun < 3
    receiver.release.set()


def test_a_batch_is_sent_all_at_once(watched: Watched) -> None:
    """Each of 60 receivers answers only when all 60 requests are there."""
    barrier = threading.Barrier(60)
    together: list[bool] = []

    def meet(delivery: Delivery) -> None:
        if delivery.path == "/together":
            barrier.wait(180)
            together.append(True)

    watched.receiver.on_delivery = meet
    try:
        queue(watched, "/together", count=60)
        watched.receiver.wait(lambda all_of_them: len(at("/together", all_of_them)) == 60)
    finally:
        watched.receiver.on_delivery = lambda _: None
    assert len(together) == 60


def test_bytes_of_a_queued_body_are_not_touched(watched: Watched) -> None:
    body = '{"b": 1,  "a" : "ä\\u00e4"}'.encode()
    queue(watched, "/exact", body=body)
    (delivery,) = at("/exact", watched.receiver.wait(lambda them: bool(at("/exact", them))))
    assert delivery.body == body


def test_a_webhook_is_installed_again_with_another_secret(watched: Watched) -> None:
    """As role postgres, like a hosted project; the trigger's arguments may have any character."""
    with watched.inside.database.connect("postgres") as connection:
        for secret in ("another", WEBHOOK_SECRET):
            install_webhook(connection, f"{watched.receiver.url}/hook", secret)
        ((definition,),) = connection.execute(
            "select pg_get_triggerdef(oid) from pg_trigger where tgname = 'docmill_webhook'"
        ).fetchall()
    assert "AFTER INSERT OR DELETE OR UPDATE ON storage.objects FOR EACH ROW" in definition
    counted = Counter(definition.split())
    assert counted["another"] == 0
