"""Runs all checks in the order in which they are printed."""

from collections.abc import Generator, Iterator

from docmill.worker.admin.verify_rls.calls import try_calls
from docmill.worker.admin.verify_rls.catalog import Catalog, read_catalog
from docmill.worker.admin.verify_rls.findings import Finding
from docmill.worker.admin.verify_rls.privileges import check_privileges
from docmill.worker.admin.verify_rls.reads import try_reads, try_writes
from docmill.worker.admin.verify_rls.rows import plant
from docmill.worker.admin.verify_rls.scene import Scene
from docmill.worker.admin.verify_rls.session import Session, rolled_back
from docmill.worker.admin.verify_rls.storage import add_objects, who_reads_objects
from docmill.worker.admin.verify_rls.tenants import make_cast
from docmill.worker.errors import SchemaError
from docmill.worker.store.database import Connection


def verify_rls(connection: Connection) -> Generator[Finding, None, None]:
    """Let throw-away tenants try to read and change other users' data; yield the results.

    Everything happens in one transaction, which is rolled back when the iterator ends or is closed;
    a caller who looks for one finding may stop there. It waits at most 2 s for a lock, and takes no
    lock that blocks readers or uploads. `connection` is the schema owner's or a superuser's. Raises
    SchemaError if the schema is missing or has another owner.
    """
    with rolled_back(connection) as session:
        _require_owner(connection)
        catalog = read_catalog(connection)
        yield from check_privileges(connection, catalog)
        yield from _tried(session, catalog)


def _require_owner(connection: Connection) -> None:
    row = connection.execute(
        """select pg_get_userbyid(nspowner)::text,
                  pg_has_role(nspowner, 'usage')
             from pg_namespace where nspname = 'ingest_private'"""
    ).fetchone()
    if row is None:
        raise SchemaError("the schema is not installed: run docmill schema apply")
    owner, is_ours = row
    if not is_ours:
        raise SchemaError(
            f"the schema belongs to its owner {owner}: set DOCMILL_ADMIN_DATABASE_URL to that role"
        )


def _tried(session: Session, catalog: Catalog) -> Iterator[Finding]:
    cast = make_cast()
    # Broken foreign keys of the throw-away rows do not matter: they are never committed.
    objects = add_objects(session.connection, cast)
    planted = plant(session.connection, catalog, cast)
    yield from objects
    yield from planted.findings
    scene = Scene(session, catalog, cast, who_reads_objects(session, cast))
    yield from try_reads(scene, planted)
    yield from try_writes(scene)
    yield from try_calls(scene)
