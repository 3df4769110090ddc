"""The HNSW index of an index version: whether it exists, and whether it is useful."""

from dataclasses import dataclass
from typing import Final, Literal, LiteralString

from psycopg import sql

from docmill.worker.admin.rows import fetch_rows, fetch_value
from docmill.worker.errors import RefusedError
from docmill.worker.store.database import Connection

Choice = Literal["on", "off", "auto"]

#: With at most this many chunks of one owner, all are scanned even if there is a graph: as in
#: `nearest_allowed`.
ENOUGH: Final = 200_000

READ: Final[LiteralString] = """
    select version.id, version.model, version.dimensions,
           coalesce((select index.indisvalid from pg_index as index
                      where index.indexrelid = to_regclass(
                                format('ingest_private.chunks_%%s_embedding', version.id))),
                    false) as has_graph,
           to_regclass(format('ingest_private.chunks_%%s_embedding', version.id)) is not null
               as has_index,
           coalesce((select value ->> version.id::text from ingest_private.settings
                      where name = 'hnsw'), 'auto') as choice,
           fill.completed_at is not null as is_sketched
      from ingest.index_versions as version
           left join ingest_private.chunk_fills as fill
             on fill.index_version = version.id and fill.copy = 'sketches'
     where case when %(version)s::integer is null then version.state = 'active'
                else version.id = %(version)s and version.state <> 'dropped' end
"""
LARGEST: Final[LiteralString] = """
    select coalesce(max(number), 0) from (
        select count(*) as number from ingest.chunks
         where index_version = %(version)s group by owner_id) as counted
"""
CHOOSE: Final[LiteralString] = """
    insert into ingest_private.settings (name, value)
    values ('hnsw', jsonb_build_object(%(version)s::text, %(choice)s::text))
        on conflict (name) do update
           set value = ingest_private.settings.value || excluded.value
"""


#: Ends with the connection, so a crash leaves no builder.
BUILDER: Final[LiteralString] = """
    select pg_try_advisory_lock(hashtext('ingest_private.hnsw'), %(version)s)
"""
BUILT: Final[LiteralString] = """
    select pg_advisory_unlock(hashtext('ingest_private.hnsw'), %(version)s)
"""


@dataclass(frozen=True)
class Graph:
    """The search index of an index version."""

    version: int
    model: str
    dimensions: int
    has_graph: bool  #: an HNSW index that searches can use
    has_index: bool  #: the same, or the rest of an unfinished build
    choice: Choice
    is_sketched: bool  #: all chunks have sketches
    largest: int  #: chunks of the owner who has the most

    @property
    def advice(self) -> Literal["on", "off"] | None:
        """The right argument for `docmill index hnsw`; None if nothing should change."""
        wanted = self.largest > ENOUGH if self.choice == "auto" else self.choice == "on"
        if wanted == self.has_graph:
            return None
        return "on" if wanted else "off"


def read_graph(connection: Connection, version: int | None = None) -> Graph | None:
    """Read it for an index version, by default the active one; None if there is no such version."""
    found = fetch_rows(connection, READ, {"version": version})
    if not found:
        return None
    [row] = found
    largest = int(fetch_value(connection, LARGEST, {"version": row["id"]}))
    return Graph(version=row.pop("id"), largest=largest, **row)


def choose(connection: Connection, graph: Graph, choice: Choice) -> None:
    """Store the choice for an index version."""
    connection.execute(CHOOSE, {"version": graph.version, "choice": choice})


def settle(connection: Connection, version: int | None = None) -> Graph:
    """Build or drop the index of a version as its choice says. Raises RefusedError.

    Removes what an unfinished build left, also where no index is wanted.
    """
    graph = _required(connection, version)
    if graph.advice == "on":
        build(connection, graph)
    elif graph.advice == "off" or (graph.has_index and not graph.has_graph):
        remove(connection, graph)
    return _required(connection, version)


def _required(connection: Connection, version: int | None) -> Graph:
    graph = read_graph(connection, version)
    if graph is None:
        raise RefusedError("there is no such index version: docmill reindex status")
    return graph


def build(connection: Connection, graph: Graph) -> None:
    """Build the index while documents are ingested and searched.

    Runs outside a transaction, and takes long for many chunks; publishes do not wait for it. First
    it removes the rest of an unfinished build. Raises RefusedError while another connection builds
    it, which looks the same as such a rest.
    """
    if graph.has_graph:
        return
    if not fetch_value(connection, BUILDER, {"version": graph.version}):
        raise RefusedError(f"another command builds the HNSW index of version {graph.version} now")
    try:
        _build(connection, graph)
    finally:
        connection.execute(BUILT, {"version": graph.version})


def _build(connection: Connection, graph: Graph) -> None:
    # The role may have a bound that suits requests.
    connection.execute("set statement_timeout = 0")
    remove(connection, graph)
    connection.execute(
        sql.SQL(
            "create index concurrently {} on {} using hnsw"
            " ((embedding::extensions.halfvec({})) extensions.halfvec_cosine_ops)"
        ).format(
            sql.Identifier(f"chunks_{graph.version}_embedding"),
            sql.Identifier("ingest_private", f"chunks_{graph.version}"),
            sql.Literal(graph.dimensions),
        )
    )


def remove(connection: Connection, graph: Graph) -> None:
    """Drop the index, outside a transaction; searches continue."""
    if graph.has_index:
        connection.execute(
            sql.SQL("drop index concurrently {}").format(
                sql.Identifier("ingest_private", f"chunks_{graph.version}_embedding")
            )
        )
