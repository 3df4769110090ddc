"""Every test has its own bucket, which is emptied and deleted at the end."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from storage3._sync.file_api import SyncBucketProxy

from docmill.embedded.storage import install_webhook
from tests.contract.storage.receiver import Delivery, Receiver
from tests.contract.target import NAME, Inside, Target, User, skip

WEBHOOK_SECRET = "shared 'secret' \\ with quotes"

#: Users may do anything with their own objects in their own folder.
POLICIES = """
    create policy docmill_test_read on storage.objects for select to authenticated
        using (bucket_id like 'docmill-test-%' and owner_id = (select auth.jwt() ->> 'sub'));
    create policy docmill_test_insert on storage.objects for insert to authenticated
        with check (bucket_id like 'docmill-test-%'
                    and (storage.foldername(name))[1] = (select auth.jwt() ->> 'sub'));
    create policy docmill_test_update on storage.objects for update to authenticated
        using (bucket_id like 'docmill-test-%' and owner_id = (select auth.jwt() ->> 'sub'))
        with check ((storage.foldername(name))[1] = (select auth.jwt() ->> 'sub'));
    create policy docmill_test_delete on storage.objects for delete to authenticated
        using (bucket_id like 'docmill-test-%' and owner_id = (select auth.jwt() ->> 'sub'));
"""
DROP_POLICIES = "".join(
    f"drop policy docmill_test_{name} on storage.objects;"
    for name in ("read", "insert", "update", "delete")
)


@dataclass(frozen=True)
class Bucket:
    """A private bucket that nobody else uses."""

    name: str
    target: Target

    @property
    def admin(self) -> SyncBucketProxy:
        """The bucket with the secret key."""
        return self.target.service.storage.from_(self.name)

    def of(self, user: User) -> SyncBucketProxy:
        """The bucket as a user."""
        return user.client.storage.from_(self.name)

    def names(self, folder: str = "") -> list[str]:
        """Objects in a folder and below it."""
        found: list[str] = []
        for entry in self.admin.list(folder, {"limit": 1000}):
            path = f"{folder}/{entry['name']}" if folder else entry["name"]
            found += [path] if entry["id"] else self.names(path)
        return found


@pytest.fixture
def bucket(target: Target) -> Iterator[Bucket]:
    """A bucket of the test's own."""
    storage = target.service.storage
    made = Bucket(f"{NAME}-{uuid4()}", target)
    storage.create_bucket(made.name)
    yield made
    names = made.names()
    if names:
        made.admin.remove(names)
    storage.delete_bucket(made.name)


@pytest.fixture(scope="session")
def _policies(target: Target) -> Iterator[None]:
    with target.connect() as admin:
        try:
            admin.execute(POLICIES)
        except psycopg.errors.InsufficientPrivilege:
            skip("the right to make policies on storage.objects")
    yield
    with target.connect() as admin:
        admin.execute(DROP_POLICIES)


@pytest.fixture
def shared(_policies: None, alice: User, bob: User, bucket: Bucket) -> Bucket:
    """The bucket, in which users may write into their folders."""
    return bucket


# -- inside the tests' own stack


@dataclass(frozen=True)
class Watched:
    """A bucket in the tests' own stack, with its rows and its webhooks."""

    bucket: Bucket
    inside: Inside
    receiver: Receiver
    users: tuple[User, User]

    @property
    def name(self) -> str:
        """The bucket's name."""
        return self.bucket.name

    @property
    def admin(self) -> SyncBucketProxy:
        """The bucket with the secret key."""
        return self.bucket.admin

    @property
    def alice(self) -> SyncBucketProxy:
        """The bucket as Alice."""
        return self.bucket.of(self.users[0])

    @property
    def bob(self) -> SyncBucketProxy:
        """The bucket as Bob."""
        return self.bucket.of(self.users[1])

    def mine(self, name: str) -> str:
        """A path in Alice's folder."""
        return f"{self.users[0].id}/{name}"

    def rows(self) -> list[tuple[Any, ...]]:
        """(name, owner_id, version, metadata, user_metadata, id) of all objects, by name."""
        with self.inside.database.connect() as connection:
            return connection.execute(
                "select name, owner_id, version, metadata, user_metadata, id"
                " from storage.objects where bucket_id = %s order by name",
                [self.bucket.name],
            ).fetchall()

    def settle(self) -> None:
        """Wait until every webhook of a committed change is delivered.

        The poster finishes a batch before it takes the next. The second marker is queued after the
        first has arrived, so when it arrives, everything older was in an earlier batch.
        """
        for _ in range(2):
            name = f"marker {next(_numbers)}"
            self.bucket.target.service.storage.from_(f"{NAME}-markers").upload(name, b"")
            self.receiver.wait(partial(_has_marker, name))

    def deliveries(self) -> list[Delivery]:
        """All webhooks about this bucket, after all were delivered."""
        self.settle()
        found = self.receiver.deliveries
        return [delivery for delivery in found if delivery.concerns(self.bucket.name)]

    def events_of(self, action: Callable[[], object]) -> list[dict[str, Any]]:
        """The webhooks about one action."""
        before = len(self.deliveries())
        action()
        return [delivery.event for delivery in self.deliveries()[before:]]


_numbers = count()


def _has_marker(name: str, deliveries: list[Delivery]) -> bool:
    # Search markers from the end: a session gets thousands of webhooks.
    return any(
        delivery.concerns(f"{NAME}-markers") and delivery.event["record"]["name"] == name
        for delivery in reversed(deliveries[-1000:])
    )


@pytest.fixture(scope="session")
def receiver(inside: Inside, target: Target) -> Iterator[Receiver]:
    """The receiver of the project's webhooks."""
    made = Receiver()
    target.service.storage.create_bucket(f"{NAME}-markers")
    with inside.database.connect("postgres") as connection:
        install_webhook(connection, f"{made.url}/hook", WEBHOOK_SECRET)
    yield made
    made.close()


@pytest.fixture
def watched(inside: Inside, receiver: Receiver, shared: Bucket, alice: User, bob: User) -> Watched:
    """A bucket of the test's own, seen from inside."""
    return Watched(shared, inside, receiver, (alice, bob))
