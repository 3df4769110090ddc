"""Hints as messages in Redis."""

import base64
import json
from collections.abc import Iterator
from datetime import timedelta

import pytest
import redis

from docmill.embedded.redis import RedisServer
from docmill.worker.app import create_app
from docmill.worker.processes import worker
from docmill.worker.processes.connections import build_database
from docmill.worker.queue import Dispatcher
from docmill.worker.settings.parts import DatabaseSettings
from tests.support.database import Database, put_object, watch_bucket


@pytest.fixture
def broker(redis_server: RedisServer) -> Iterator["redis.Redis"]:
    """A database of the server that nobody else uses."""
    client = redis.Redis.from_url(redis_server.url.removesuffix("/0") + "/7")
    client.flushdb()
    yield client
    client.flushdb()
    client.close()


def test_a_hint_holds_the_jobs_id_alone(
    database: Database, redis_server: RedisServer, broker: "redis.Redis"
) -> None:
    redis_url = redis_server.url.removesuffix("/0") + "/7"
    settings = DatabaseSettings.model_validate({"database_url": database.url("docmill_worker")})
    watch_bucket(database)
    with database.connect() as admin:
        put_object(admin, "folder/hinted.txt")
        job_id = admin.execute("select id from ingest.jobs").fetchone()
        admin.execute(
            "select ingest_private.renew_leases("
            "'nobody', 4, false, false, 'test', '1 minute', '{}', '{}', '{local,openai}')"
        )
    assert job_id is not None
    pool = build_database(settings)
    pool.open()
    dispatcher = Dispatcher(create_app(redis_url), pool, resend_after=timedelta(minutes=1))
    assert dispatcher.dispatch() == 1
    pool.close()

    raw = broker.lindex("docmill:ingest", 0)
    assert isinstance(raw, bytes)
    message = json.loads(raw)
    body = base64.b64decode(message["body"])
    arguments, keywords, embedded = json.loads(body)
    assert (arguments, keywords) == ([str(job_id[0])], {})
    assert set(embedded.values()) == {None}
    # The fields for operators are separate, and docmill does not read them.
    assert message["headers"]["kwargsrepr"] == "{'document': 'hinted.txt', 'folder': 'docs/folder'}"


def test_a_channel_keeps_its_client_as_long_as_its_connections(
    redis_server: RedisServer,
) -> None:
    app = create_app(redis_server.url)
    with app.connection_for_read() as connection:
        channel = connection.channel()
        assert isinstance(channel, worker._HintChannel)
        with channel.conn_or_acquire() as first, channel.conn_or_acquire() as second:
            assert first is second
        channel._disconnect_pools()  # type: ignore[attr-defined]  # as when it is lost
        with channel.conn_or_acquire() as third:
            assert third is not first
            assert third.ping()
