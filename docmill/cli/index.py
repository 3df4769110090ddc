"""`docmill index hnsw` and `docmill recall`."""

from statistics import fmean, median

from docmill.cli.admin import admin_connection
from docmill.cli.context import settings_in_use
from docmill.cli.exit_code import ExitCode
from docmill.cli.output import cell, console, print_json
from docmill.worker.admin import graph as graphs
from docmill.worker.admin import recall as recalls
from docmill.worker.admin.graph import Choice, Graph
from docmill.worker.admin.recall import Recall
from docmill.worker.errors import RefusedError, UsageError
from docmill.worker.maintenance.samples import PROMISED, remedy
from docmill.worker.store.database import Connection


def hnsw(choice: Choice, *, as_json: bool) -> int:
    """Build or drop the HNSW index of the active version, or decide by the size of the owners."""
    with admin_connection(settings_in_use()) as connection:
        graph = _active(connection)
        graphs.choose(connection, graph, choice)
        graph = graphs.settle(connection)
    if as_json:
        print_json({"choice": choice, "has_graph": graph.has_graph, "largest": graph.largest})
    else:
        console().print(f"{choice}: {_described(graph)}")
    return ExitCode.DONE


def recall(
    *, owners: int, queries: int, k: int, bucket: str | None, prefix: str | None, as_json: bool
) -> int:
    """Compare searches with an exact comparison of all chunks, for owners of different size."""
    if not 1 <= k <= 200:
        raise UsageError("--limit is between 1 and 200")
    with admin_connection(settings_in_use()) as connection:
        graph = _active(connection)
        measured = list(
            recalls.measure(
                connection,
                graph,
                owners=owners,
                queries=queries,
                k=k,
                bucket=bucket,
                path_prefix=prefix,
            )
        )
    for one in measured:
        _print(one, k, as_json=as_json)
    mends = remedies(graph, measured)
    if not as_json:
        for line in mends or ["recall is as promised"] if measured else ["no chunks yet"]:
            console().print(line)
    return ExitCode.FAILED if mends else ExitCode.DONE


def remedies(graph: Graph, measured: list[Recall]) -> list[str]:
    """How to repair the measured recall; nothing if it is as promised."""
    lost = [one for one in measured if fmean(one.recalls) < PROMISED]
    if not lost:
        return []
    uses_graph = graph.has_graph and any(one.chunks > graphs.ENOUGH for one in lost)
    return [remedy(uses_graph=uses_graph, is_sketched=graph.is_sketched)]


def _active(connection: Connection) -> Graph:
    graph = graphs.read_graph(connection)
    if graph is None:
        raise RefusedError("there is no active index version: docmill schema apply makes one")
    return graph


def _described(graph: Graph) -> str:
    index = "an HNSW index" if graph.has_graph else "no HNSW index"
    return f"{index}, {graph.largest:,} chunks of the largest owner"


def _print(one: Recall, k: int, *, as_json: bool) -> None:
    figures = {
        "owner": one.owner,
        "chunks": one.chunks,
        "recall": round(fmean(one.recalls), 4),
        "least": min(one.recalls),
        "median_ms": round(median(one.milliseconds), 1),
    }
    if as_json:
        print_json(figures)
    else:
        console().print(
            f"recall@{k} {figures['recall']:.3f}, least {figures['least']:.2f}, "
            f"{figures['median_ms']} ms: {one.chunks:,} chunks of {cell(one.owner)}"
        )
