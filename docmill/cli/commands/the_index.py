"""Changing the model, and how the index is searched."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from docmill.cli.app import INDEX, app, group, help_without_command
from docmill.cli.options import (
    MOST,
    DryRun,
    Json,
    Lane,
    LaneOption,
    Owner,
    Yes,
    age,
    not_empty,
    text,
)

index_app = group("index", INDEX)
reindex_app = group("reindex", INDEX)


Version = Annotated[int, typer.Argument(metavar="VERSION", min=1, max=MOST)]
Anyway = Annotated[bool, typer.Option("--anyway", help="Even if documents are missing.")]
DropAfter = Annotated[
    str | None,
    typer.Option(
        "--drop-after",
        metavar="AGE",
        help="Keep the former version filled for this long: 12h, 7d.",
        callback=age,
    ),
]


class HnswChoice(StrEnum):
    """Whether to have an HNSW index."""

    ON = "on"
    OFF = "off"
    AUTO = "auto"


@index_app.callback(invoke_without_command=True)
def index_options(context: typer.Context) -> None:
    """How the active index version is searched."""
    help_without_command(context)


@index_app.command("hnsw")
def index_hnsw(
    choice: Annotated[
        HnswChoice, typer.Argument(help="auto: on if an owner has very many chunks.")
    ],
    json: Json = False,
) -> int:
    """Build or drop the HNSW index.

    Searches use it for owners of more than 200,000 chunks.
    """
    from docmill.cli import index

    return index.hnsw(choice.value, as_json=json)


@app.command(rich_help_panel=INDEX)
def recall(
    owners: Annotated[int, typer.Option(min=1, help="How many owners, largest first.")] = 5,
    queries: Annotated[
        int, typer.Option(min=1, help="How many stored embeddings to search for.")
    ] = 20,
    limit: Annotated[int, typer.Option(help="Hits for each search.")] = 10,
    bucket: Annotated[str | None, typer.Option(help="Only in this bucket.")] = None,
    prefix: Annotated[str | None, typer.Option(help="Only paths that begin with this.")] = None,
    json: Json = False,
) -> int:
    """Measure how many of the nearest passages a search finds.

    Compares searches with an exact search of all passages.
    """
    from docmill.cli import index

    return index.recall(
        owners=owners, queries=queries, k=limit, bucket=bucket, prefix=prefix, as_json=json
    )


@reindex_app.callback(invoke_without_command=True)
def reindex_options(context: typer.Context) -> None:
    """Change model, provider or chunk size while searches go on."""
    help_without_command(context)


@reindex_app.command("start")
def reindex_start(
    provider: Annotated[
        str | None, typer.Option(help="As in docs/providers.md, or a name of DOCMILL_PROVIDERS.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Name of the model.", callback=not_empty)
    ] = None,
    dimensions: Annotated[
        int | None, typer.Option(min=1, max=4000, help="Width of the embeddings.")
    ] = None,
    chunk_tokens: Annotated[
        int | None, typer.Option(min=32, max=6000, help="The most tokens in a chunk.")
    ] = None,
    overlap: Annotated[
        int | None, typer.Option(min=0, max=3000, help="Tokens repeated of the chunk before.")
    ] = None,
    document_prefix: Annotated[
        str | None, typer.Option(help="Text put before each chunk.", callback=text)
    ] = None,
    query_prefix: Annotated[
        str | None, typer.Option(help="Text put before each query.", callback=text)
    ] = None,
    send_dimensions: Annotated[
        bool | None, typer.Option(help="Ask the provider for this many dimensions.")
    ] = None,
    lane: LaneOption = Lane.DIRECT,
    dry_run: DryRun = False,
    yes: Yes = False,
    json: Json = False,
) -> int:
    """Make an index version with the changes that the options name.

    Everything else stays as in the active version. The schedule fills it.
    """
    from docmill.cli import reindex

    return reindex.start(
        {
            "provider": provider,
            "model": model,
            "dimensions": dimensions,
            "chunk_tokens": chunk_tokens,
            "overlap": overlap,
            "document_prefix": document_prefix,
            "query_prefix": query_prefix,
            "sends_dimensions": send_dimensions,
        },
        is_bulk=lane is Lane.BULK,
        is_dry=dry_run,
        is_sure=yes,
        as_json=json,
    )


@reindex_app.command("status")
def reindex_status(json: Json = False) -> int:
    """Show every index version, and how much work is left."""
    from docmill.cli import reindex

    return reindex.status(as_json=json)


@reindex_app.command("pause")
def reindex_pause(version: Version) -> int:
    """Make no more jobs for a version."""
    from docmill.cli import reindex

    return reindex.pause(version, is_paused=True)


@reindex_app.command("resume")
def reindex_resume(version: Version) -> int:
    """Make jobs for a paused version again."""
    from docmill.cli import reindex

    return reindex.pause(version, is_paused=False)


@reindex_app.command("build")
def reindex_build(
    version: Version,
    hnsw: Annotated[
        HnswChoice | None,
        typer.Option("--hnsw", help="Default: what the active version was told."),
    ] = None,
    anyway: Anyway = False,
    json: Json = False,
) -> int:
    """Build the indexes of a filled version.

    Searches and uploads go on. It may be stopped and run again.
    """
    from docmill.cli import reindex

    return reindex.build(version, None if hnsw is None else hnsw.value, anyway=anyway, as_json=json)


@reindex_app.command("activate")
def reindex_activate(
    version: Version,
    anyway: Anyway = False,
    drop_after: DropAfter = None,
) -> int:
    """Answer searches from another version, once it is filled."""
    from docmill.cli import reindex

    return reindex.activate(version, anyway=anyway, drop_after=drop_after)


@reindex_app.command("compare")
def reindex_compare(
    version: Version,
    queries: Annotated[
        Path | None, typer.Option(help="A file of queries, one per line; needs --owner.")
    ] = None,
    sample: Annotated[
        int,
        typer.Option(min=1, max=10_000, help="Without --queries: how many to draw from documents."),
    ] = 100,
    owner: Annotated[
        str | None, typer.Option(help="Search as this user, in their documents only.")
    ] = None,
    json: Json = False,
) -> int:
    """Show how the answers of two versions differ."""
    from docmill.cli import compare

    return compare.compare(version, queries=queries, sample=sample, owner=owner, as_json=json)


@reindex_app.command("rollback")
def reindex_rollback(anyway: Anyway = False, drop_after: DropAfter = None) -> int:
    """Answer searches from the previously active version again."""
    from docmill.cli import reindex

    return reindex.rollback(anyway=anyway, drop_after=drop_after)


@reindex_app.command("cancel")
def reindex_cancel(version: Version) -> int:
    """Give up a version that is being filled."""
    from docmill.cli import reindex

    return reindex.cancel(version)


@reindex_app.command("drop")
def reindex_drop(version: Version) -> int:
    """Remove a version that is not active."""
    from docmill.cli import reindex

    return reindex.drop(version)


@reindex_app.command("documents")
def reindex_documents(
    outdated: Annotated[
        bool, typer.Option("--outdated", help="Those that a live worker would read better.")
    ] = False,
    failed: Annotated[
        str | None,
        typer.Option(metavar="CODE", help="Those that failed with this code.", callback=not_empty),
    ] = None,
    unread_pages: Annotated[
        bool, typer.Option("--unread-pages", help="Those with pages that could not be read.")
    ] = False,
    older_than: Annotated[
        str | None, typer.Option(metavar="AGE", help="Those published longer ago: 12h, 30d, 8w.")
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(metavar="BUCKET[/PREFIX]", help="In this bucket.", callback=not_empty),
    ] = None,
    owner: Owner = None,
    limit: Annotated[
        int | None, typer.Option(min=1, max=MOST, help="At most this many documents.")
    ] = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Return when every document is done.")
    ] = False,
    json: Json = False,
) -> int:
    """Read documents again in the active version.

    Searches find them as before until that is done.
    """
    from docmill.cli import rereading

    return rereading.documents(
        {
            "outdated": outdated,
            "failed": failed,
            "unread_pages": unread_pages,
            "older_than": older_than,
            "source": source,
            "owner": owner,
        },
        limit=limit,
        is_dry=dry_run,
        is_sure=yes,
        wait=wait,
        as_json=json,
    )
