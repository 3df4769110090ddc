"""One project with its Storage for all tests here; every test has a bucket of its own."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any

import httpx
import jwt
import pytest
from storage3._sync.file_api import SyncBucketProxy
from supabase import Client, create_client

from docmill.embedded.api import ApiServer
from docmill.embedded.postgres import PostgresServer
from docmill.embedded.storage import install_webhook
from tests.contract.storage.receiver import Delivery, Receiver
from tests.support.api import KEYS, http_client, start_test_api, user_client
from tests.support.database import Database, make_database

ALICE = "11111111-1111-4111-8111-111111111111"
BOB = "22222222-2222-4222-8222-222222222222"
PUBLISHABLE_KEY = KEYS.publishable_key
SECRET_KEY = KEYS.secret_key
JWT_SECRET = KEYS.jwt_secret
MAX_FILE_BYTES = 2**30
WEBHOOK_SECRET = "shared 'secret' \\ with quotes"

POLICIES = """
    create policy own_read on storage.objects for select to authenticated
        using (owner_id = (select auth.jwt() ->> 'sub'));
    create policy own_insert on storage.objects for insert to authenticated
        with check ((storage.foldername(name))[1] = (select auth.jwt() ->> 'sub'));
    create policy own_update on storage.objects for update to authenticated
        using (owner_id = (select auth.jwt() ->> 'sub'))
        with check ((storage.foldername(name))[1] = (select auth.jwt() ->> 'sub'));
    create policy own_delete on storage.objects for delete to authenticated
        using (owner_id = (select auth.jwt() ->> 'sub'));
"""

_numbers = count()


def token(sub: str | None = ALICE, *, secret: str = JWT_SECRET, **claims: Any) -> str:
    """A user's token as Supabase Auth makes it."""
    payload = {"role": "authenticated", "aud": "authenticated", "exp": int(time.time()) + 3600}
    if sub is not None:
        payload["sub"] = sub
    return jwt.encode({**payload, **claims}, secret, "HS256")


def client_for(server: ApiServer, user_token: str | None) -> Client:
    """supabase-py as a user, or with the secret key when there is no token."""
    if user_token is None:
        return create_client(server.url, SECRET_KEY)
    return user_client(server.url, user_token)


@dataclass(frozen=True)
class Project:
    """A database, its Storage, and where its webhooks go."""

    database: Database
    storage: ApiServer
    receiver: Receiver
    clients: dict[str, Client]

    def http(self, bearer: str = SECRET_KEY, **headers: str) -> httpx.Client:
        """Plain HTTP, for what supabase-py hides."""
        key = SECRET_KEY if bearer == SECRET_KEY else PUBLISHABLE_KEY
        url = f"{self.storage.url}/storage/v1"
        return http_client(url, key, Authorization=f"Bearer {bearer}", **headers)

    def settle(self) -> None:
        """Wait until every webhook of a committed change is delivered.

        The poster finishes a batch before it takes the next: when a second marker arrives
        that was queued after the first arrived, everything older was in an earlier batch.
        """
        for _ in range(2):
            name = f"marker {next(_numbers)}"
            self.clients["admin"].storage.from_("markers").upload(name, b"")
            self.receiver.wait(partial(_has_marker, name))


def _has_marker(name: str, deliveries: list[Delivery]) -> bool:
    # Marks are looked for from the end: a session sees thousands of webhooks.
    return any(
        delivery.concerns("markers") and delivery.event["record"]["name"] == name
        for delivery in reversed(deliveries[-1000:])
    )


@dataclass(frozen=True)
class Bucket:
    """A private bucket that nobody else uses."""

    name: str
    project: Project

    def as_(self, who: str) -> SyncBucketProxy:
        """The bucket as `alice`, `bob` or `admin` sees it."""
        return self.project.clients[who].storage.from_(self.name)

    @property
    def alice(self) -> SyncBucketProxy:
        return self.as_("alice")

    @property
    def bob(self) -> SyncBucketProxy:
        return self.as_("bob")

    @property
    def admin(self) -> SyncBucketProxy:
        return self.as_("admin")

    def rows(self) -> list[tuple[Any, ...]]:
        """(name, owner_id, version, metadata, user_metadata, id) of all objects, by name."""
        with self.project.database.connect() as connection:
            return connection.execute(
                "select name, owner_id, version, metadata, user_metadata, id"
                " from storage.objects where bucket_id = %s order by name",
                [self.name],
            ).fetchall()

    def deliveries(self) -> list[Delivery]:
        """Webhooks about this bucket so far, once all are delivered."""
        self.project.settle()
        found = self.project.receiver.deliveries
        return [delivery for delivery in found if delivery.concerns(self.name)]

    def events_of(self, action: Callable[[], object]) -> list[dict[str, Any]]:
        """What the webhooks say about one action."""
        before = len(self.deliveries())
        action()
        return [delivery.event for delivery in self.deliveries()[before:]]


def mine(name: str) -> str:
    """A path in alice's folder."""
    return f"{ALICE}/{name}"


@pytest.fixture(scope="session")
def storage_project(
    postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Project]:
    """Supabase-like project, served by the stand-in in a process of its own."""
    folder = tmp_path_factory.mktemp("storage")
    receiver = Receiver()
    with make_database(postgres, "project") as database:
        with database.connect() as connection:
            connection.execute(POLICIES)
            connection.execute(
                "insert into storage.buckets (id, name) values ('markers', 'markers')"
            )
        with database.connect("postgres") as connection:
            install_webhook(connection, f"{receiver.url}/hook", WEBHOOK_SECRET)
        server = start_test_api(database, folder, max_file_bytes=MAX_FILE_BYTES)
        clients = {
            "alice": client_for(server, token(ALICE)),
            "bob": client_for(server, token(BOB)),
            "admin": client_for(server, None),
        }
        try:
            yield Project(database, server, receiver, clients)
        finally:
            server.stop()
            receiver.close()
    assert "Traceback" not in (folder / "api.log").read_text()


@pytest.fixture
def bucket(storage_project: Project) -> Bucket:
    """A bucket of the test's own."""
    name = f"bucket-{next(_numbers)}"
    storage_project.clients["admin"].storage.create_bucket(name)
    return Bucket(name, storage_project)
