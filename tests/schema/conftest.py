"""Databases of both embedded majors, and one that tests share inside rolled-back transactions."""

from collections.abc import Iterator
from typing import Any, cast

import psycopg
import pytest

from tests.conftest import FAST
from tests.support.database import Database, make_database, make_template
from worker.local.postgres import PostgresMajor, PostgresServer, start_postgres

MAJORS: tuple[PostgresMajor, ...] = (18, 16)


@pytest.fixture(scope="session")
def postgres16(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """PostgreSQL 16 with the templates `project` and `docmill`."""
    server = start_postgres(tmp_path_factory.mktemp("postgres16"), major=16, options=FAST)
    try:
        make_template(server)
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session", params=MAJORS, ids=lambda major: f"pg{major}")
def any_postgres(request: pytest.FixtureRequest) -> PostgresServer:
    """Each of the majors in turn."""
    name = "postgres" if request.param == 18 else "postgres16"
    return cast("PostgresServer", request.getfixturevalue(name))


@pytest.fixture
def any_database(any_postgres: PostgresServer) -> Iterator[Database]:
    """A project with docmill's schema, on each of the majors."""
    with make_database(any_postgres) as made:
        yield made


@pytest.fixture
def any_project(any_postgres: PostgresServer) -> Iterator[Database]:
    """A project without docmill's schema, on each of the majors."""
    with make_database(any_postgres, "project") as made:
        yield made


@pytest.fixture(scope="module")
def shared_database(postgres: PostgresServer) -> Iterator[Database]:
    """A project with docmill's schema that the tests of a module share; see `shared`."""
    with make_database(postgres) as made:
        yield made


@pytest.fixture
def shared(shared_database: Database) -> Iterator[psycopg.Connection[Any]]:
    """A superuser's transaction in the shared database, rolled back after the test."""
    with shared_database.connect() as connection, connection.transaction(force_rollback=True):
        yield connection


#: What an installation keeps however empty it is.
KEPT = ("index_versions", "migrations", "settings", "error_codes")


@pytest.fixture
def wiped(shared_database: Database) -> Database:
    """The shared database without buckets, objects, documents and jobs. Cheaper than a new one."""
    with shared_database.connect() as connection:
        tables = connection.execute(
            """select string_agg(format('delete from %%s', oid::regclass), ';')
                 from pg_class
                where relkind in ('r', 'p') and not relispartition and relname <> all(%s)
                  and relnamespace::regnamespace::text = any(%s)""",
            [list(KEPT), ["ingest", "ingest_private", "storage"]],
        ).fetchone()
        assert tables is not None
        # No triggers, no foreign keys: everything goes, in any order.
        connection.execute("set session_replication_role = replica")
        connection.execute(tables[0])
    return shared_database
