"""One installation for tests that do not break it, and fresh ones for tests that do."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from docmill.embedded.postgres import PostgresServer
from docmill.embedded.redis import RedisServer, start_redis
from docmill.embedded.stack import StackInfo, read_info
from tests.support.database import make_database
from tests.support.installation import Installation, install
from tests.support.shell import Shell


@pytest.fixture(scope="package")
def running(
    postgres: PostgresServer, redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    """Webhook, worker and beat, shared by tests that do not break them."""
    folder = tmp_path_factory.mktemp("running")
    with (
        make_database(postgres, "project") as database,
        install(database, redis_server, folder) as made,
    ):
        made.forget_hints()
        made.start_all()
        yield made


#: A folder name with special characters.
HOME = "a \"b' c/é #$(x)\\"


@pytest.fixture(scope="package")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """The embedded stack of a folder, for the tests of the command line and of clients."""
    folder = tmp_path_factory.mktemp("shell") / HOME
    folder.mkdir(parents=True)
    made = Shell(folder)
    (row,) = made.rows("up", "--detach")
    assert row == made.status_of_stack()
    yield made
    made.run("down")
    assert list((folder / ".docmill" / "tmp").iterdir()) == []
    assert made.run("down").strip() == "nothing is running here"


@pytest.fixture(scope="package")
def stack(shell: Shell) -> StackInfo:
    """Its addresses and keys."""
    info = read_info(shell.folder / ".docmill")
    assert info is not None
    return info


@contextmanager
def fresh_installation(postgres: PostgresServer, folder: Path) -> Iterator[Installation]:
    """An installation with its own Redis and no running process."""
    redis = start_redis(folder / "redis")
    try:
        with (
            make_database(postgres, "project") as database,
            install(database, redis, folder) as made,
        ):
            yield made
    finally:
        redis.stop()


@pytest.fixture
def installation(postgres: PostgresServer, tmp_path: Path) -> Iterator[Installation]:
    """An installation of the test's own."""
    with fresh_installation(postgres, tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def shared_installation(
    postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    """An installation that the tests of a module share, with all its processes."""
    with fresh_installation(postgres, tmp_path_factory.mktemp("shared")) as made:
        yield made
