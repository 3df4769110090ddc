"""One installation for the tests that leave it alone, and fresh ones for those that break it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from docmill.embedded.postgres import PostgresServer
from docmill.embedded.redis import RedisServer, start_redis
from docmill.embedded.stack import StackInfo
from docmill.embedded.supervisor import EmbeddedStack
from tests.support.database import make_database
from tests.support.installation import Installation, install


@pytest.fixture(scope="package")
def running(
    postgres: PostgresServer, redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    """Webhook, worker and beat, shared by the tests that leave them alone."""
    folder = tmp_path_factory.mktemp("running")
    with (
        make_database(postgres, "project") as database,
        install(database, redis_server, folder) as made,
    ):
        made.forget_hints()
        made.start_all()
        yield made


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StackInfo]:
    """What `docmill up` starts, shared by the tests of its clients."""
    home = tmp_path_factory.mktemp("embedded") / "stack"
    with EmbeddedStack(home, flower=False).running() as info:
        yield info


@pytest.fixture
def installation(postgres: PostgresServer, tmp_path: Path) -> Iterator[Installation]:
    """An installation of its own, nothing started yet, with a Redis of its own."""
    redis = start_redis(tmp_path / "redis")
    try:
        with (
            make_database(postgres, "project") as database,
            install(database, redis, tmp_path) as made,
        ):
            yield made
    finally:
        redis.stop()
