"""The doorbell: signed events tell the receiver about a change, and never make an upload fail."""

import hashlib
import hmac
import os
import random
import re
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from psycopg import errors as pg
from pydantic import SecretStr
from standardwebhooks import Webhook, WebhookVerificationError

from docmill.cli import doctor
from docmill.worker.admin.doorbell import (
    install_doorbell,
    read_doorbell,
    receiver_url,
    remove_doorbell,
    rotate_secret,
)
from docmill.worker.errors import UsageError
from docmill.worker.settings.processes import Settings
from docmill.worker.store.hints import ObjectHint
from docmill.worker.webhook.app import MAX_BODY_BYTES
from docmill.worker.webhook.events import parse_event
from docmill.worker.webhook.signatures import Verifier
from tests.schema.actors import Connection, document_of, locked_document, rows, value
from tests.schema.test_access import CLAIMS, acting
from tests.schema.test_sync import documents, move
from tests.schema.test_triggers import at_most, drain, pending
from tests.support.database import Database, delete_objects, put_object, watch_bucket

URL = "https://docmill.example.com/webhooks/storage"


@pytest.fixture
def database(wiped: Database) -> Database:
    return wiped


@pytest.fixture
def owner(database: Database) -> Iterator[Connection]:
    """The project's admin; no doorbell is installed and nothing is queued."""
    with database.connect("postgres") as connection:
        remove_doorbell(connection)
        connection.execute("delete from net.http_request_queue")
        yield connection
        remove_doorbell(connection)


@pytest.fixture
def secret(owner: Connection) -> str:
    """The secret of an installed doorbell."""
    made = install_doorbell(owner, URL)
    assert made is not None
    return made


def queued(connection: Connection) -> list[dict[str, Any]]:
    """The requests that pg_net would send, oldest first."""
    return rows(connection, "select * from net.http_request_queue order by id")


def events(connection: Connection, *secrets: str) -> list[dict[str, Any]]:
    """The queued events; each must be signed with every one of these secrets."""
    found = []
    for request in queued(connection):
        body = bytes(request["body"])
        for secret in secrets:
            found_event = Webhook(secret).verify(body, request["headers"])
            assert Verifier(None, [secret]).accepts(request["headers"], body)
        assert parse_event(body)
        found.append(found_event)
    return found


def failure(connection: Connection) -> str | None:
    """The failure that the last upload noted."""
    noted = value(
        connection,
        "select value ->> 'message' from ingest_private.settings where name = 'webhook_failure'",
    )
    return None if noted is None else str(noted)


class TestHmac:
    def test_is_pythons_for_keys_of_every_length(self, any_database: Database):
        chosen = random.Random(1)
        cases = [
            (chosen.randbytes(length), chosen.randbytes(chosen.randrange(300)))
            for length in [1, *range(16, 101), 1000]
        ]
        cases.append((b"k" * 32, "Grüße, 漢字, 🎈".encode()))
        with any_database.connect() as connection:
            for key, message in cases:
                assert (
                    value(connection, "select ingest_private.hmac_sha256(%s, %s)", key, message)
                    == hmac.new(key, message, hashlib.sha256).digest()
                )

    def test_signs_uploads_on_every_major(self, any_database: Database):
        watch_bucket(any_database)
        with any_database.connect("postgres") as owner:
            secret = install_doorbell(owner, URL)
            put_object(owner, "Grüße.txt")
            assert secret is not None
            assert [event["record"]["name"] for event in events(owner, secret)] == ["Grüße.txt"]

    @pytest.mark.parametrize("length", [16, 24, 31, 32, 33, 64, 65, 100])
    def test_makes_signatures_that_standardwebhooks_accepts(self, shared: Connection, length: int):
        secret = "whsec_" + b64encode(os.urandom(length)).decode()
        body = '{"name": "Grüße"}'
        headers = {"webhook-id": "msg_1", "webhook-timestamp": f"{now(shared)}"}
        headers["webhook-signature"] = value(
            shared,
            "select ingest_private.webhook_signature(%s, %s)",
            *(secret, f"msg_1.{headers['webhook-timestamp']}.{body}"),
        )
        Webhook(secret).verify(body, headers)
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(body + " ", headers)


def now(connection: Connection) -> int:
    return int(value(connection, "select floor(extract(epoch from clock_timestamp()))::bigint"))


NAMES = {
    "plain": "folder/a.txt",
    "not ASCII": "Grüße/漢字 🎈.pdf",
    "quotes and controls": "a'b\"c\\d\te\nf\u0001.txt",
    "as long as SQL allows": "🎈" * 60_000,
}


class TestAnEvent:
    @pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
    def test_is_signed_small_and_has_what_the_receiver_reads(
        self, admin: Connection, secret: str, name: str
    ):
        if len(name) > 1024:  # too long for Storage's index, so no upload has such a name
            admin.execute(
                "select ingest_private.ring_doorbell('INSERT', ingest_private.event_row("
                "gen_random_uuid(), %s, %s, %s), null)",
                [name] * 3,
            )
        else:
            object_id = put_object(admin, name, user_metadata={"note": "x" * 1_000_000})
        [request] = queued(admin)
        [event] = events(admin, secret)
        assert (request["method"], request["url"]) == ("POST", URL)
        assert request["timeout_milliseconds"] == 5000
        assert set(request["headers"]) == {
            *("Content-Type", "webhook-id", "webhook-timestamp", "webhook-signature"),
        }
        assert len(request["body"]) < MAX_BODY_BYTES // 4
        hint = parse_event(bytes(request["body"]))
        assert hint.name == name[:1024]
        if len(name) <= 1024:
            assert hint == ObjectHint(object_id, "docs", name)
            assert event == {
                "type": "INSERT",
                "table": "objects",
                "schema": "storage",
                "record": {
                    "id": str(object_id),
                    "bucket_id": "docs",
                    "name": name,
                    "version": document_of(admin, object_id)["storage_version"],
                },
                "old_record": None,
            }

    def test_tells_what_was_done(self, admin: Connection, secret: str):
        object_id = put_object(admin, "a.txt")
        put_object(admin, "a.txt")
        move(admin, "a.txt", "b.txt")
        delete_objects(admin, ["b.txt"])
        found = events(admin, secret)
        assert [event["type"] for event in found] == ["INSERT", "UPDATE", "UPDATE", "DELETE"]
        assert {(event["record"] or event["old_record"])["id"] for event in found} == {
            str(object_id)
        }
        assert [bool(event["old_record"]) for event in found] == [False, True, True, True]
        moved, deleted = found[2:]
        assert (moved["old_record"]["name"], moved["record"]["name"]) == ("a.txt", "b.txt")
        assert (deleted["record"], deleted["old_record"]["name"]) == (None, "b.txt")
        assert len({request["headers"]["webhook-id"] for request in queued(admin)}) == 4

    def test_comes_of_watched_buckets_only(self, admin: Connection, secret: str):
        put_object(admin, "a.txt", bucket="other")
        put_object(admin, "folder/.emptyFolderPlaceholder")
        delete_objects(admin, ["a.txt"], bucket="other")
        delete_objects(admin, ["folder/.emptyFolderPlaceholder", "absent"])
        assert queued(admin) == []
        put_object(admin, "b.txt", bucket="other")
        move(admin, "b.txt", "c.txt", bucket="other", to="docs")
        move(admin, "c.txt", "d.txt", to="other")
        assert [event["record"]["name"] for event in events(admin, secret)] == ["c.txt", "d.txt"]

    def test_comes_of_changes_that_matter_only(self, admin: Connection, secret: str):
        put_object(admin, "a.txt")
        admin.execute("update storage.objects set last_accessed_at = now()")
        assert len(queued(admin)) == 1

    def test_is_not_made_where_no_doorbell_is_installed(self, admin: Connection, owner: Connection):
        put_object(admin, "a.txt")
        delete_objects(admin, ["a.txt"])
        assert (queued(admin), failure(admin)) == ([], None)


class TestOneTransaction:
    def test_rings_once_however_many_it_uploads(self, admin: Connection, secret: str):
        admin.execute(
            """insert into storage.objects (bucket_id, name, version)
               select 'docs', n || '.txt', 'v' from generate_series(1, 100) as n"""
        )
        with admin.transaction():
            put_object(admin, "a.txt")
            put_object(admin, "b.txt")
        assert len(documents(admin)) == 102
        assert len(events(admin, secret)) == 2

    def test_rings_once_for_450_deletes(self, admin: Connection, secret: str):
        admin.execute(
            """insert into storage.objects (bucket_id, name, version)
               select 'docs', n || '.txt', 'v' from generate_series(1, 450) as n"""
        )
        delete_objects(admin, [f"{number}.txt" for number in range(451)])
        inserted, deleted = events(admin, secret)
        assert (inserted["type"], deleted["type"]) == ("INSERT", "DELETE")

    def test_rings_about_a_delete_that_was_left(
        self, database: Database, admin: Connection, worker: Connection, secret: str
    ):
        ids = [put_object(admin, f"{number}.txt") for number in range(20)]
        admin.execute("delete from net.http_request_queue")
        with locked_document(database, ids[13]):
            delete_objects(admin, [f"{number}.txt" for number in range(20)])
        [event] = events(admin, secret)
        assert event["old_record"]["id"] == str(ids[13])
        hint = parse_event(bytes(queued(admin)[0]["body"]))
        worker.execute(
            "select ingest_private.sync_object(%s, %s, %s)",
            [hint.object_id, hint.bucket_id, hint.name],
        )
        assert documents(admin) == {}
        drain(worker)

    @pytest.mark.parametrize("role", ["authenticated", "anon", "service_role"])
    def test_that_is_rolled_back_sends_nothing(self, admin: Connection, secret: str, role: str):
        """Like Storage's check of the caller's permission."""
        with admin.transaction(force_rollback=True):
            admin.execute("create policy all_may on storage.objects using (true)")
            admin.execute(f"set local role {role}".encode())
            put_object(admin, "a.txt", owner="alice")
            admin.execute("reset role")
            assert len(events(admin, secret)) == 1
        assert queued(admin) == []
        put_object(admin, "a.txt", owner="alice")
        assert len(events(admin, secret)) == 1

    def test_rings_for_what_is_left_after_a_savepoint(self, admin: Connection, secret: str):
        with admin.transaction():
            with admin.transaction(force_rollback=True):
                put_object(admin, "a.txt")
            put_object(admin, "b.txt")
        assert [event["record"]["name"] for event in events(admin, secret)] == ["b.txt"]


class TestRotation:
    def test_signs_with_the_new_secret_and_the_one_before(
        self, admin: Connection, owner: Connection, secret: str
    ):
        second = rotate_secret(owner)
        assert second != secret
        put_object(admin, "a.txt")
        assert len(events(admin, secret, second)) == 1
        [request] = queued(admin)
        for known in ([secret], [second], [second, secret]):
            assert Verifier(None, known).accepts(request["headers"], bytes(request["body"]))

    def test_forgets_the_one_before_that(self, admin: Connection, owner: Connection, secret: str):
        second, third = rotate_secret(owner), rotate_secret(owner)
        put_object(admin, "a.txt")
        assert len(events(admin, second, third)) == 1
        [request] = queued(admin)
        assert not Verifier(None, [secret]).accepts(request["headers"], bytes(request["body"]))

    def test_makes_a_secret_where_somebody_deleted_it(
        self, admin: Connection, owner: Connection, secret: str
    ):
        owner.execute("delete from vault.secrets")
        second = rotate_secret(owner)
        put_object(admin, "a.txt")
        assert len(events(admin, second)) == 1

    @pytest.mark.parametrize(
        "broken", ["", "whsec_", "whsec_%", "whsec_abc", "c2VjcmV0", "whsec_\n"]
    )
    def test_mends_a_broken_secret(
        self, admin: Connection, owner: Connection, secret: str, broken: str
    ):
        owner.execute("select vault.update_secret(id, %s) from vault.secrets", [broken])
        assert "--rotate" in (read_doorbell(owner).problem or "")
        second = rotate_secret(owner)
        put_object(admin, "a.txt")
        assert len(events(admin, second)) == 1

    def test_without_a_doorbell_is_refused(self, owner: Connection):
        with pytest.raises(UsageError, match="no doorbell is installed"):
            rotate_secret(owner)


def in_vault(text: str) -> str:
    return f"""select vault.update_secret(id, '{text}') from vault.secrets
                where name = 'docmill_webhook_signing_secrets'"""


def at_url(url: str) -> str:
    return f"""update ingest_private.settings set value = '{{"url": "{url}"}}'
                where name = 'webhook'"""


#: Ways to break it, and the problem that is then reported.
BREAKS = {
    "no pg_net": ("drop schema net cascade", "pg_net is missing|net"),
    "pg_net has another function": (
        "drop function net.http_post(text, jsonb, jsonb, jsonb, integer)",
        r"function net\.http_post",
    ),
    "pg_net is full": (
        "alter table net.http_request_queue add check (id < 0) not valid",
        "violates check constraint",
    ),
    "no Vault": ("drop schema vault cascade", "supabase_vault is missing|vault"),
    "no right to read Vault": (
        "revoke all on vault.decrypted_secrets from postgres, service_role cascade",
        "permission denied for view decrypted_secrets",
    ),
    "no secret": ("delete from vault.secrets", "Vault holds no secret docmill_webhook"),
    "no base64": (in_vault("whsec_%%%"), "not whsec_ and base64"),
    "cut base64": (in_vault("whsec_abc"), "not whsec_ and base64"),
    "no prefix": (in_vault("c2VjcmV0"), "not whsec_ and base64"),
    "an empty secret": (in_vault("whsec_"), "not whsec_ and base64"),
    "one of two is broken": (in_vault("whsec_c2VjcmV0,,"), "not whsec_ and base64"),
    "an invalid url": (at_url("notaurl"), 'invalid URL "notaurl"'),
    "an url with a space": (at_url("https://a b/"), "invalid URL"),
    "no function": (
        "drop function ingest_private.ring_doorbell(text, jsonb, jsonb)",
        r"function ingest_private\.ring_doorbell\(.*\) does not exist",
    ),
}
LOCKS = [
    "lock table ingest_private.settings in access exclusive mode",
    "lock table vault.secrets in access exclusive mode",
    "lock table net.http_request_queue in access exclusive mode",
]


@pytest.mark.usefixtures("secret")
class TestWhatIsBroken:
    @pytest.mark.parametrize(("statement", "said"), BREAKS.values(), ids=BREAKS)
    def test_leaves_uploads_whole_and_is_noted(
        self, database: Database, admin: Connection, *, statement: str, said: str
    ):
        for name in ("over", "moved", "gone"):
            put_object(admin, f"{name}.txt")
        with admin.transaction(force_rollback=True):
            admin.execute(statement.encode())
            for change in (
                lambda: put_object(admin, "new.txt"),
                lambda: put_object(admin, "over.txt"),
                lambda: move(admin, "moved.txt", "here.txt"),
                lambda: delete_objects(admin, ["gone.txt"]),
            ):
                admin.execute("delete from ingest_private.settings where name = 'webhook_failure'")
                # As if it were a separate transaction.
                admin.execute("set local docmill.has_rung = ''")
                change()
                noted = failure(admin)
                assert noted is not None
                assert re.search(said, noted)
            admin.execute("set constraints all immediate")
            assert {name for _, name, *_ in documents(admin).values()} == {
                *("new.txt", "over.txt", "here.txt"),
            }
            assert pending(admin) == []
            admin.execute("set local docmill.has_rung = ''")
            problem = read_doorbell(admin).problem
            assert problem is not None
            assert re.search(said, problem)

    @pytest.mark.parametrize("lock", LOCKS)
    def test_and_what_is_locked_is_not_waited_for(
        self, database: Database, admin: Connection, lock: str
    ):
        put_object(admin, "old.txt")
        with database.connect() as other, other.transaction():
            other.execute(lock.encode())
            admin.execute("set statement_timeout = '2s'")
            with at_most(0.05 + 0.05 + 0.7):
                put_object(admin, "new.txt")
            with at_most(0.05 + 0.05 + 0.7):
                delete_objects(admin, ["old.txt"])
        assert len(documents(admin)) == 1
        assert pending(admin) == []
        if "settings" not in lock:
            assert failure(admin) == "canceling statement due to lock timeout"

    def test_is_noted_by_one_upload_at_a_time_and_waited_for_by_none(
        self, database: Database, admin: Connection, owner: Connection
    ):
        owner.execute("delete from vault.secrets")
        with database.connect() as other, other.transaction():
            put_object(other, "a.txt")
            assert failure(other) is not None
            with at_most(0.05 + 0.7):
                put_object(admin, "b.txt")
            assert failure(admin) is None
        assert (failure(admin) or "").startswith("Vault holds no secret")

    def test_is_noted_once_a_minute(self, admin: Connection, owner: Connection):
        owner.execute("delete from vault.secrets")
        read = "select value ->> 'at' from ingest_private.settings where name = 'webhook_failure'"
        put_object(admin, "a.txt")
        first = value(admin, read)
        put_object(admin, "b.txt")
        assert value(admin, read) == first
        admin.execute(
            """update ingest_private.settings
                  set value = value || jsonb_build_object('at', now() - interval '2 minutes')
                where name = 'webhook_failure'"""
        )
        put_object(admin, "c.txt")
        assert value(admin, read) > first

    def test_is_tried_once_in_a_transaction(self, admin: Connection, owner: Connection):
        owner.execute("delete from vault.secrets")
        with admin.transaction():
            put_object(admin, "a.txt")
            assert value(admin, "select current_setting('docmill.has_rung')") == "true"
            put_object(admin, "b.txt")
        assert len(documents(admin)) == 2


class TestTheDoctor:
    @staticmethod
    def finding(database: Database) -> doctor.Finding:
        return doctor._doorbell(Settings(admin_database_url=SecretStr(database.url("postgres"))))

    @staticmethod
    @contextmanager
    def answering(database: Database, status: int | None, error: str | None) -> Iterator[None]:
        """Like pg_net's worker: note an answer for each committed request."""
        done = threading.Event()

        def answer() -> None:
            with database.connect() as connection:
                while not done.wait(0.02):
                    connection.execute(
                        """with sent as (delete from net.http_request_queue returning id)
                           insert into net._http_response (id, status_code, error_msg)
                           select id, %s, %s from sent""",
                        [status, error],
                    )

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def test_sees_none(self, database: Database, owner: Connection):
        found = self.finding(database)
        assert (found.state, found.seen.split(":")[0]) == ("ok", "not installed")

    @pytest.mark.parametrize(
        ("status", "error", "state", "says"),
        [
            (202, None, "ok", None),
            (401, None, "failed", "secret"),
            (503, None, "failed", "status 503"),
            (None, "Couldn't connect to server", "failed", "Couldn't connect to server"),
            (None, None, "failed", "docmill webhook"),
        ],
    )
    def test_rings_and_says_what_came_of_it(
        self,
        database: Database,
        secret: str,
        *,
        status: int | None,
        error: str | None,
        state: str,
        says: str | None,
    ):
        with self.answering(database, status, error):
            found = self.finding(database)
        assert found.state == state
        assert URL in found.seen
        assert (says or "") in (found.remedy or "")

    def test_names_what_is_broken_now(self, database: Database, owner: Connection, secret: str):
        owner.execute("delete from vault.secrets")
        found = self.finding(database)
        assert found.state == "failed"
        assert found.remedy == (
            "Vault holds no secret docmill_webhook_signing_secrets: make one with docmill schema "
            "webhook --rotate"
        )

    def test_forgets_what_is_mended(
        self, database: Database, admin: Connection, owner: Connection, secret: str
    ):
        owner.execute(at_url("notaurl").encode())
        put_object(admin, "a.txt")
        found = self.finding(database)
        assert found.state == "failed"
        assert 'invalid URL "notaurl"' in (found.remedy or "")
        owner.execute(at_url(URL).encode())
        with self.answering(database, 202, None):
            assert self.finding(database).state == "ok"


class TestInstalling:
    def test_again_changes_the_address_and_keeps_the_secret(
        self, admin: Connection, owner: Connection, secret: str
    ):
        assert install_doorbell(owner, "http://127.0.0.1:1") is None
        put_object(admin, "a.txt")
        [request] = queued(admin)
        assert request["url"] == "http://127.0.0.1:1/webhooks/storage"
        assert len(events(admin, secret)) == 1

    def test_sends_nothing(self, admin: Connection, secret: str):
        assert queued(admin) == []

    @pytest.mark.parametrize("missing", ["net", "vault"])
    def test_without_an_extension_is_refused_by_name(
        self, owner: Connection, admin: Connection, missing: str
    ):
        extension = {"net": "pg_net", "vault": "supabase_vault"}[missing]
        with admin.transaction(force_rollback=True):
            admin.execute(f"drop schema {missing} cascade".encode())
            with pytest.raises(UsageError, match=f"{extension} is missing: enable it"):
                install_doorbell(admin, URL)
            assert read_doorbell(admin).url is None

    def test_what_the_database_cannot_send_to_changes_nothing(
        self, owner: Connection, secret: str, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr("docmill.worker.admin.doorbell.receiver_url", lambda url: url)
        with pytest.raises(UsageError, match='cannot send: invalid URL "notaurl"'):
            install_doorbell(owner, "notaurl")
        assert read_doorbell(owner).url == URL

    def test_is_undone_by_removing(self, admin: Connection, owner: Connection, secret: str):
        assert remove_doorbell(owner)
        assert not remove_doorbell(owner)
        put_object(admin, "a.txt")
        assert queued(admin) == []
        assert rows(admin, "select * from vault.secrets") == []
        assert value(admin, "select array_agg(name) from ingest_private.settings order by 1") == [
            "applied_schema"
        ]

    def test_leaves_the_schema_as_this_version_expects(self, owner: Connection, secret: str):
        from docmill.worker.admin.schema import check_schema

        assert check_schema(owner) == []

    @pytest.mark.parametrize(
        ("given", "url"),
        [
            ("https://a.example", "https://a.example/webhooks/storage"),
            ("https://a.example/", "https://a.example/webhooks/storage"),
            ("https://a.example:8443/x?y=z", "https://a.example:8443/x?y=z"),
            ("http://127.0.0.1:8787", "http://127.0.0.1:8787/webhooks/storage"),
        ],
    )
    def test_completes_the_address(self, given: str, url: str):
        assert receiver_url(given) == url

    @pytest.mark.parametrize(
        "given",
        [
            *("", "a.example", "ftp://a.example", "https://", "https:///path", "https://a b"),
            *("https://a\n.example", "https://[a", "https://u:p@a.example", "https://a/#x"),
        ],
    )
    def test_refuses_what_is_no_address(self, given: str):
        with pytest.raises(UsageError, match="--url"):
            receiver_url(given)


@pytest.mark.usefixtures("secret")
class TestSecrets:
    @pytest.mark.parametrize("actor", ["owner", "nobody", "anon", "worker"])
    @pytest.mark.parametrize(
        "statement",
        [
            "select * from vault.decrypted_secrets",
            "select * from vault.secrets",
            "select vault.create_secret('x')",
            "select vault.update_secret(gen_random_uuid(), 'x')",
            "select ingest_private.ring_doorbell('INSERT', '{}', null)",
            "select ingest_private.webhook_signature('whsec_a', 'x')",
            "select ingest_private.note_unrung('x')",
            "select * from ingest_private.settings",
        ],
    )
    def test_are_the_owners_alone(self, database: Database, *, actor: str, statement: str):
        assert actor in {*CLAIMS, "worker"}
        with acting(database, actor) as connection, pytest.raises(pg.InsufficientPrivilege):
            connection.execute(statement.encode())

    def test_are_not_in_what_a_request_or_a_trigger_shows(self, admin: Connection):
        put_object(admin, "a.txt")
        key = value(admin, "select decrypted_secret from vault.decrypted_secrets").split("_")[1]
        shown = f"{queued(admin)}" + value(
            admin, "select string_agg(pg_get_triggerdef(oid), '') from pg_trigger"
        )
        assert key not in shown


@contextmanager
def silent(connection: Connection) -> Iterator[None]:
    """While this is open, the doorbell does nothing."""
    connection.execute("set docmill.has_rung = 'true'")
    try:
        yield
    finally:
        connection.execute("reset docmill.has_rung")


def test_a_ring_costs_an_upload_less_than_a_millisecond(
    admin: Connection, owner: Connection, secret: str
):
    """Measured: 0.1 ms. The fastest of many tries, because the machine may be busy."""
    rotate_secret(owner)

    def trigger_ms() -> float:
        plan = value(
            admin,
            """explain (analyze, format json) insert into storage.objects (bucket_id, name, version)
               values ('docs', gen_random_uuid()::text, 'v')""",
        )
        return float(sum(trigger["Time"] for trigger in plan[0]["Triggers"]))

    ringing, quiet = [], []
    for _ in range(60):
        ringing.append(trigger_ms())
        with silent(admin):
            quiet.append(trigger_ms())
    assert len(queued(admin)) == 60
    assert min(ringing) - min(quiet) < 1
