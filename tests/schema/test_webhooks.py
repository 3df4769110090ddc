"""Hints as they really arrive: recorded webhooks, in and out of order, repeated, late."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from psycopg.types.json import Jsonb

from tests.schema.actors import Connection, rows, value
from tests.support.database import Database, watch_bucket
from tests.support.recorded import recorded_bodies

Record = dict[str, Any]


@dataclass(frozen=True)
class Event:
    """One webhook: the change in Storage, and the hint about it."""

    kind: str
    record: Record

    @property
    def hint(self) -> tuple[str, str, str]:
        return (self.record["id"], self.record["bucket_id"], self.record["name"])


def recorded() -> list[Event]:
    """All webhooks in the order in which they were sent."""
    return [Event(body["type"], body["record"] or body["old_record"]) for body in recorded_bodies()]


EVENTS = recorded()


def store(connection: Connection, event: Event) -> None:
    """Make the event's change in storage.objects without triggers."""
    record = event.record
    with connection.transaction():
        connection.execute("set local session_replication_role = replica")
        connection.execute(
            "delete from storage.objects where id = %s or (bucket_id, name) = (%s, %s)",
            [record["id"], record["bucket_id"], record["name"]],
        )
        if event.kind != "DELETE":
            connection.execute(
                """insert into storage.objects
                          (id, bucket_id, name, version, owner_id, metadata, user_metadata,
                           created_at, updated_at, last_accessed_at)
                   values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)""",
                [
                    *(record[name] for name in ("id", "bucket_id", "name", "version", "owner_id")),
                    *(Jsonb(record[name]) for name in ("metadata", "user_metadata")),
                    *(record[name] for name in ("created_at", "updated_at", "last_accessed_at")),
                ],
            )


def feed(connection: Connection, events: Sequence[Event]) -> None:
    """Send the hints of these events in this order."""
    for event in events:
        connection.execute("select ingest_private.sync_object(%s, %s, %s)", event.hint)


def stored(connection: Connection, *buckets: str) -> dict[UUID, Any]:
    return {
        row["id"]: (row["bucket_id"], row["name"], row["version"], row["owner_id"])
        for row in rows(
            connection,
            """select * from storage.objects
                where bucket_id = any(%s) and name not like '%%.emptyFolderPlaceholder'""",
            list(buckets),
        )
    }


def documented(connection: Connection) -> dict[UUID, Any]:
    return {
        row["object_id"]: (
            *(row["bucket_id"], row["object_name"], row["storage_version"]),
            row["owner_id"],
        )
        for row in rows(
            connection,
            """select document.* from ingest.documents as document
                 join ingest.jobs as job on job.id = document.latest_job_id
                where job.state = 'queued' and job.storage_version = document.storage_version""",
        )
    }


@pytest.fixture(params=[("docs",), ("docs", "other")], ids=["one bucket", "both buckets"])
def watched(request: pytest.FixtureRequest, wiped: Database) -> tuple[str, ...]:
    """The buckets that are ingested."""
    buckets: tuple[str, ...] = request.param
    if "other" in buckets:
        watch_bucket(wiped, "other")
    return buckets


def orders() -> list[Any]:
    found = [
        pytest.param(EVENTS, id="in order"),
        pytest.param(EVENTS[::-1], id="reversed"),
        pytest.param(EVENTS * 3, id="repeated"),
    ]
    for seed in range(20):
        shuffled = EVENTS * (1 + seed % 3)
        random.Random(seed).shuffle(shuffled)
        found.append(pytest.param(shuffled, id=f"shuffled-{seed}"))
    return found


def test_there_are_events_of_every_kind():
    assert {event.kind for event in EVENTS} == {"INSERT", "UPDATE", "DELETE"}
    assert len(EVENTS) >= 30


@pytest.mark.parametrize("order", orders())
def test_hints_in_any_order_end_where_storage_ended(
    admin: Connection, worker: Connection, watched: tuple[str, ...], order: list[Event]
):
    for event in EVENTS:
        store(admin, event)
    feed(worker, order)
    assert documented(admin) == stored(admin, *watched)
    assert len(documented(admin)) >= 8


@pytest.mark.parametrize("seed", range(20))
def test_hints_that_arrive_while_storage_goes_on_end_where_storage_ended(
    admin: Connection, worker: Connection, watched: tuple[str, ...], seed: int
):
    """Each hint comes some time after its event, some twice, mixed with hints of later events."""
    order = random.Random(seed)
    late: list[tuple[float, Event]] = []
    for moment, event in enumerate(EVENTS):
        store(admin, event)
        late.extend((moment + order.expovariate(0.3), event) for _ in range(order.choice([1, 2])))
        due = [entry for entry in late if entry[0] <= moment]
        late = [entry for entry in late if entry[0] > moment]
        order.shuffle(due)
        feed(worker, [event for _, event in due])
        feed(worker, order.sample(EVENTS, 1))
    order.shuffle(late)
    feed(worker, [event for _, event in late])
    assert documented(admin) == stored(admin, *watched)


def test_hints_after_the_triggers_have_done_it_all_change_nothing(
    admin: Connection, worker: Connection, watched: tuple[str, ...]
):
    for event in EVENTS:
        record = event.record
        with admin.transaction():
            admin.execute("set local storage.allow_delete_query = 'true'")
            if event.kind == "DELETE":
                admin.execute("delete from storage.objects where id = %s", [record["id"]])
            else:
                admin.execute(
                    """insert into storage.objects (id, bucket_id, name, version, owner_id)
                       values (%s, %s, %s, %s, %s)
                           on conflict (id) do update
                              set bucket_id = excluded.bucket_id, name = excluded.name,
                                  version = excluded.version, owner_id = excluded.owner_id""",
                    [record[name] for name in ("id", "bucket_id", "name", "version", "owner_id")],
                )
    jobs = value(admin, "select count(*) from ingest.jobs")
    assert documented(admin) == stored(admin, *watched)
    feed(worker, EVENTS[::-1])
    assert documented(admin) == stored(admin, *watched)
    assert value(admin, "select count(*) from ingest.jobs") == jobs
