"""All checks, in the order in which they are printed."""

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
    """Let throw-away tenants try to read and change what is not theirs; yield what comes of it.

    Everything happens in one transaction that is rolled back when the iterator ends or is closed:
    whoever looks for one finding may stop there. It waits 2 s at most for a lock, and takes none
    that readers or uploads would wait for. `connection` is the schema owner's, or a superuser's.
    Raises SchemaError when the schema is not there or belongs to somebody else.
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
    # What the throw-away rows break is nobody's business: they are never committed.
    objects = add_objects(session.connection, cast)
    planted = plant(session.connection, catalog, cast)
    yield from objects
    yield from planted.findings
    scene = Scene(session, catalog, cast, who_reads_objects(session, cast))
    yield from try_reads(scene, planted)
    yield from try_writes(scene)
    yield from try_calls(scene)
