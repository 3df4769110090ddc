"""Databases of both embedded majors, and one that tests share in rolled-back transactions."""

from collections.abc import Iterator
from typing import Any, cast

import psycopg
import pytest

from docmill.embedded.postgres import PostgresMajor, PostgresServer, start_postgres
from tests.conftest import FAST, OTHER_SERVER
from tests.support.database import Database, make_database, make_template

#: Only one, if OTHER_SERVER replaces both.
MAJORS: tuple[PostgresMajor, ...] = (18,) if OTHER_SERVER else (18, 16)


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


@pytest.fixture(scope="module")
def admins_connection(shared_database: Database) -> Iterator[psycopg.Connection[Any]]:
    """Shared by the module, because connecting takes longer than most tests."""
    with shared_database.connect() as connection:
        yield connection


@pytest.fixture(scope="module")
def workers_connection(shared_database: Database) -> Iterator[psycopg.Connection[Any]]:
    """See `admins_connection`."""
    with shared_database.connect("docmill_worker") as connection:
        yield connection


#: Rows that every installation keeps, even an empty one.
KEPT = ("index_versions", "chunk_fills", "migrations", "settings", "error_codes")


@pytest.fixture(scope="module")
def wiping(admins_connection: psycopg.Connection[Any]) -> str:
    """Statements that delete everything except KEPT."""
    row = admins_connection.execute(
        """select string_agg(format('delete from %%s', oid::regclass), ';') from pg_class
            where relkind in ('r', 'p') and not relispartition and relname <> all(%s)
              and relnamespace::regnamespace::text = any(%s)""",
        [list(KEPT), ["ingest", "ingest_private", "storage"]],
    ).fetchone()
    assert row is not None
    return str(row[0])


@pytest.fixture
def wiped(
    shared_database: Database, admins_connection: psycopg.Connection[Any], wiping: str
) -> Database:
    """The shared database with only the bucket `docs`, which is watched and empty."""
    # Without triggers and foreign keys, everything can be deleted in any order.
    admins_connection.execute(
        f"""reset all; set session_replication_role = replica; {wiping}; reset all;
            insert into storage.buckets (id, name) values ('docs', 'docs'), ('other', 'other');
            insert into ingest_private.sources (bucket_id) values ('docs')""".encode()
    )
    return shared_database


@pytest.fixture
def admin(wiped: Database, admins_connection: psycopg.Connection[Any]) -> psycopg.Connection[Any]:
    """The platform's connection to the wiped database; it also acts as Storage."""
    return admins_connection


@pytest.fixture
def worker(wiped: Database, workers_connection: psycopg.Connection[Any]) -> psycopg.Connection[Any]:
    """A worker's connection to the wiped database."""
    workers_connection.execute("reset all")
    return workers_connection
