"""Index versions other than the active one: make, fill, activate, drop."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal, LiteralString, cast
from uuid import UUID

from psycopg import errors as pg
from psycopg import sql

from docmill.worker.admin import graph as graphs
from docmill.worker.admin.rows import Row, fetch_rows, fetch_value
from docmill.worker.errors import RefusedError
from docmill.worker.store.database import Connection

#: Tables with a partition for each version. No foreign key connects them, so any order works.
_PARTITIONED: Final = (
    ("ingest.chunks", "chunks"),
    ("ingest.chunk_positions", "chunk_positions"),
    ("ingest_private.sketches", "sketches"),
)
_PAGE: Final = 1000

VERSIONS: Final[LiteralString] = """
    select version.id, version.state, version.provider, version.model, version.dimensions,
           version.chunking, version.is_paused, version.created_at, version.retired_at,
           version.drop_at, version.is_hurried,
           (select count(*) from ingest_private.published_versions as published
             where published.index_version = version.id) as documents,
           (select coalesce(sum(published.token_count), 0)
              from ingest_private.published_versions as published
             where published.index_version = version.id) as published_tokens,
           case when version.state in ('building', 'retired')
                then (select count(*)
                        from ingest_private.missing_from(version.id, null)) end as missing,
           case when version.state in ('building', 'retired')
                then (select count(*) from ingest.jobs as job
                       where job.index_version = version.id
                         and job.state in ('queued', 'running')) end as jobs,
           version.is_bulk,
           case when version.state in ('building', 'retired')
                then (select count(*) from ingest.jobs as job
                       where job.index_version = version.id
                         and job.hold_reason = 'in_batch') end as jobs_in_batch,
           case when version.state in ('building', 'retired')
                then (select count(*) / 10.0 from ingest.jobs as job
                       where job.index_version = version.id and job.kind = 'reindex'
                         and job.state = 'succeeded'
                         and job.finished_at > clock_timestamp() - interval '10 minutes')
                end::float8 as documents_per_minute,
           (select coalesce(sum(job.cost_usd), 0) from ingest.jobs as job
             where job.index_version = version.id and job.kind = 'reindex') as cost_usd,
           (select coalesce(sum(job.tokens_used), 0) from ingest.jobs as job
             where job.index_version = version.id and job.kind = 'reindex') as tokens
      from ingest.index_versions as version
     order by version.id
"""
FAILURES: Final[LiteralString] = """
    select noted.error_code, count(*) as documents
      from ingest_private.version_failures as noted
           join ingest.documents as document on document.id = noted.document_id
            and document.storage_version = noted.storage_version
     where noted.index_version = %(version)s
       and ingest_private.lacks(noted.index_version, document)
     group by 1 order by 2 desc, 1
"""
ACTIVE_SIZE: Final[LiteralString] = """
    select version.id, version.provider, version.model, version.dimensions, version.chunking,
           version.sends_dimensions, version.document_prefix, version.query_prefix,
           count(published.document_id) as documents,
           coalesce(sum(published.chunk_count), 0) as chunks,
           coalesce(sum(published.token_count), 0) as tokens
      from ingest.index_versions as version
           left join ingest_private.published_versions as published
             on published.index_version = version.id
     where version.state = 'active' group by version.id
"""
CREATE: Final[LiteralString] = """
    select ingest_private.create_index_version(
        %(model)s, %(dimensions)s, %(chunking)s, %(provider)s, %(sends_dimensions)s,
        %(document_prefix)s, %(query_prefix)s)
"""
FILL_SO: Final[LiteralString] = (
    "update ingest.index_versions set is_bulk = %(is_bulk)s where id = %(version)s"
)
ALIKE: Final[LiteralString] = """
    select min(id) from ingest.index_versions
     where state <> 'dropped' and provider = %(provider)s and model = %(model)s
       and dimensions = %(dimensions)s and chunking = %(chunking)s
       and document_prefix = %(document_prefix)s and query_prefix = %(query_prefix)s
       and (%(sends_dimensions)s::boolean is null or sends_dimensions = %(sends_dimensions)s)
"""
PAUSE: Final[LiteralString] = """
    update ingest.index_versions set is_paused = %(is_paused)s
     where id = %(version)s and state in ('building', 'retired') returning id
"""
FORMER: Final[LiteralString] = """
    select id from ingest.index_versions where state = 'retired'
     order by retired_at desc, id desc limit 1
"""
MISSING: Final[LiteralString] = """
    select bucket_id, object_name from ingest_private.missing_from(%(version)s, %(limit)s)
"""
ACTIVATE: Final[LiteralString] = (
    "select ingest_private.activate_index_version("
    "%(version)s, %(anyway)s, %(active)s, %(checked_at)s, %(drop_after)s)"
)
HURRY: Final[LiteralString] = "select ingest_private.hurry_index_version(%(version)s)"
BEGIN_HOLD: Final[LiteralString] = (
    "select ingest_private.begin_activating(make_interval(secs => %(seconds)s))"
)
END_HOLD: Final[LiteralString] = "select ingest_private.end_activating()"
#: Whether it can be expected that little is missing, and that workers make it at once.
WORTH_HOLDING: Final[LiteralString] = """
    select count(*) <= %(most)s
           and count(failed.document_id) = 0
           and not (select is_paused from ingest.index_versions where id = %(version)s)
           and exists (select from ingest_private.workers
                        where not isolated and not draining and expires_at > clock_timestamp())
      from ingest_private.missing_from(%(version)s, %(most)s + 1) as missing
           left join ingest_private.version_failures as failed
             on failed.document_id = missing.document_id and failed.index_version = %(version)s
"""
#: Publishes are held for this long at most, while no more documents than this are missing.
HOLD_SECONDS: Final = 30.0
HOLD_FOR_DOCUMENTS: Final = 200
_LOOK_SECONDS: Final = 0.2
CHECK_FROM: Final[LiteralString] = """
    select active.id as active, clock_timestamp() as checked_at
      from ingest.index_versions as active
           join ingest.index_versions as other
             on other.id = %(version)s and other.state in ('building', 'retired')
     where active.state = 'active'
"""
LOAD_SECONDS: Final[LiteralString] = """
    select extract(epoch from max(published.published_at) - version.created_at)::float8
      from ingest.index_versions as version
           join ingest_private.published_versions as published
             on published.index_version = version.id
           join ingest_private.published_versions as current
             on current.document_id = published.document_id
            and current.index_version = (
                select id from ingest.index_versions where state = 'active')
            and current.published_at < version.created_at
     where version.id = %(version)s group by version.id
"""
RECOUNT: Final[LiteralString] = "select ingest_private.recount_documents(%(after)s, %(limit)s)"
RETIRE: Final[LiteralString] = "select ingest_private.retire_for_good(%(version)s, %(states)s)"
FORGET: Final[LiteralString] = "select ingest_private.forget_version_rows(%(version)s, %(limit)s)"
PENDING: Final[LiteralString] = """
    select relname from pg_inherits join pg_class on oid = inhrelid
     where inhparent = to_regclass(%(parent)s) and inhdetachpending
"""
ATTACHED: Final[LiteralString] = """
    select true from pg_inherits
     where inhrelid = to_regclass(%(partition)s) and inhparent = to_regclass(%(parent)s)
"""


def versions(connection: Connection) -> list[Row]:
    """Every index version, and how far versions other than the active one are filled."""
    return fetch_rows(connection, VERSIONS, {})


def failures(connection: Connection, version: int) -> list[Row]:
    """Documents that a version lacks because their jobs ended without success, by error code.

    For a cancelled job the code is replaced by that word.
    """
    return fetch_rows(connection, FAILURES, {"version": version})


def active(connection: Connection) -> Row:
    """The active version and its size. Raises RefusedError if there is none."""
    rows = fetch_rows(connection, ACTIVE_SIZE, {})
    if not rows:
        raise RefusedError("there is no active index version: docmill schema apply makes one")
    return rows[0]


def alike(connection: Connection, wanted: Row) -> int | None:
    """A version that equals the wanted one, and was not dropped."""
    return cast("int | None", fetch_value(connection, ALIKE, wanted))


def create(connection: Connection, wanted: Row, *, is_bulk: bool = False) -> int:
    """A new version, which the schedule fills from now on; its id."""
    with connection.transaction():  # it is not filled before it is said how
        version = cast("int", fetch_value(connection, CREATE, wanted))
        connection.execute(FILL_SO, {"version": version, "is_bulk": is_bulk})
    return version


def pause(connection: Connection, version: int, *, is_paused: bool) -> None:
    """Stop making jobs for a version, or start again. Raises RefusedError."""
    parameters = {"version": version, "is_paused": is_paused}
    if fetch_value(connection, PAUSE, parameters) is None:
        raise RefusedError(f"index version {version} is not being filled: docmill reindex status")


def former(connection: Connection) -> int:
    """The previously active version. Raises RefusedError if there is none."""
    version = fetch_value(connection, FORMER, {})
    if version is None:
        raise RefusedError("no index version was active before this one: docmill reindex status")
    return cast("int", version)


def missing(connection: Connection, version: int, limit: int) -> list[Row]:
    """Documents that the active version has and this one lacks."""
    return fetch_rows(connection, MISSING, {"version": version, "limit": limit})


def activate(
    connection: Connection, version: int, *, anyway: bool, drop_after: str | None = None
) -> bool:
    """Answer searches from this version. False: documents are missing; they are hurried.

    The former version is kept filled for `drop_after`, an interval of Postgres; None: until it is
    dropped by hand. Raises RefusedError if it is active, dropped or unknown, or if a publish takes
    too long.
    """
    try:
        # Check this first, because it takes long: during the change nobody can publish.
        checked = fetch_rows(connection, CHECK_FROM, {"version": version})
        is_complete = anyway or not (checked and missing(connection, version, 1))
        parameters = {
            "version": version,
            "anyway": anyway,
            "active": None,
            "checked_at": None,
            "drop_after": drop_after,
        }
        is_active: Any = is_complete and fetch_value(
            connection, ACTIVATE, parameters | dict(*checked)
        )
        if not is_active:
            connection.execute(HURRY, {"version": version})
    except pg.ObjectNotInPrerequisiteState as error:
        raise RefusedError(f"{error.diag.message_primary}: docmill reindex status") from None
    except pg.LockNotAvailable:
        raise RefusedError("a publish took longer than 30 s: try again") from None
    if is_active:
        _recount(connection)
    return bool(is_active)


def activate_soon(
    connection: Connection,
    version: int,
    *,
    anyway: bool,
    drop_after: str | None = None,
    hold_seconds: float = HOLD_SECONDS,
) -> bool:
    """Like `activate`. If few documents are missing, publishes are held until these are done.

    Without that, an installation with steady uploads would always lack the last ones. Waits
    `hold_seconds` at most. If workers cannot make what is missing, it does not wait.
    """

    def is_active() -> bool:
        return activate(connection, version, anyway=anyway, drop_after=drop_after)

    if is_active():
        return True
    wanted = {"version": version, "most": HOLD_FOR_DOCUMENTS}
    if not fetch_value(connection, WORTH_HOLDING, wanted):
        return False
    deadline = time.monotonic() + hold_seconds
    connection.execute(BEGIN_HOLD, {"seconds": hold_seconds})
    try:
        while time.monotonic() < deadline:
            if not missing(connection, version, 1) and is_active():
                return True
            time.sleep(_LOOK_SECONDS)
    finally:
        connection.execute(END_HOLD)
    return False


def _recount(connection: Connection) -> None:
    after: UUID | None = None
    while True:
        after = fetch_value(connection, RECOUNT, {"after": after, "limit": _PAGE})
        if after is None:
            return


@dataclass(frozen=True)
class Built:
    """The indexes of a version, and how long its documents and its indexes took."""

    version: int
    has_graph: bool
    largest: int  #: chunks of the owner who has the most
    #: From `start` to the last document that was there then; None if none was.
    load_seconds: float | None
    build_seconds: float


def build(
    connection: Connection, version: int, choice: graphs.Choice | None, *, anyway: bool = False
) -> Built:
    """Build the HNSW index of a version beside the active one, if it is useful there.

    `choice` is kept for the version; None takes the one that it has, or that of the active one.
    Safe to repeat after a crash: what that left is removed first. Needs a connection in autocommit
    mode. Raises RefusedError, also while documents are missing, unless `anyway`.
    """
    graph, active = graphs.read_graph(connection, version), graphs.read_graph(connection)
    if graph is None or active is None or graph.version == active.version:
        raise RefusedError(f"index version {version} is not being filled: docmill reindex status")
    if not anyway and missing(connection, version, 1):
        raise RefusedError(
            f"index version {version} lacks documents, and later the build takes less: wait for "
            "docmill reindex status to say 0 missing, or use --anyway"
        )
    own = active.choice if graph.choice == "auto" else graph.choice
    graphs.choose(connection, graph, choice or own)
    started = time.monotonic()
    graph = graphs.settle(connection, version)
    return Built(
        version=version,
        has_graph=graph.has_graph,
        largest=graph.largest,
        load_seconds=fetch_value(connection, LOAD_SECONDS, {"version": version}),
        build_seconds=time.monotonic() - started,
    )


def cancel(connection: Connection, version: int) -> None:
    """Give up a version that never was active: its jobs end, and it is removed as by `drop`.

    Raises RefusedError for any other version, and if publishes or jobs block it for too long.
    """
    _remove(connection, version, ["building"])


def drop(connection: Connection, version: int) -> None:
    """Remove a version and all its contents; its row stays, as dropped.

    Safe to repeat after a crash. Needs a connection in autocommit mode. Raises RefusedError for the
    active version, and if publishes or jobs block it for too long.
    """
    _remove(connection, version, ["building", "retired"])


def _remove(connection: Connection, version: int, states: list[str]) -> None:
    # Detaching waits for old searches, which the bound of the role may not allow.
    connection.execute("set statement_timeout = 0")
    _retire(connection, version, states)
    for statement in _detaching(connection, version):
        connection.execute(statement)
    # Detaching has waited for all transactions that saw the version before it was dropped; some
    # made jobs for it.
    _retire(connection, version, states)
    while fetch_value(connection, FORGET, {"version": version, "limit": _PAGE}):
        pass


def _retire(connection: Connection, version: int, states: list[str]) -> None:
    try:
        connection.execute(RETIRE, {"version": version, "states": states})
    except pg.ObjectNotInPrerequisiteState as error:
        raise RefusedError(f"{error.diag.message_primary}: docmill reindex status") from None
    except pg.LockNotAvailable:
        raise RefusedError("a document was in use for more than 10 s: try again") from None


def _detaching(connection: Connection, version: int) -> Iterator[sql.Composed]:
    # Concurrently, so that searches of other versions continue. First finish a detach that a crash
    # left pending, for any version: a table has at most one.
    for parent, stem in _PARTITIONED:
        left = fetch_value(connection, PENDING, {"parent": parent})
        if left is not None:
            yield _detach(parent, left, "finalize")
        name = f"{stem}_{version}"
        partition = {"parent": parent, "partition": f"ingest_private.{name}"}
        if fetch_value(connection, ATTACHED, partition):
            yield _detach(parent, name, "concurrently")
        yield sql.SQL("drop table if exists {}").format(sql.Identifier("ingest_private", name))


def _detach(parent: str, partition: str, how: Literal["finalize", "concurrently"]) -> sql.Composed:
    return sql.SQL("alter table {} detach partition {} {}").format(
        sql.Identifier(*parent.split(".")),
        sql.Identifier("ingest_private", partition),
        sql.SQL(how),
    )
