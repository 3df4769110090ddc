"""`docmill search`."""

from collections.abc import Mapping
from typing import Any, Literal

from docmill.cli.admin import admin_connection, note_unknown_owner, owner_id
from docmill.cli.context import running_stack, settings_in_use
from docmill.cli.costs import book_queries
from docmill.cli.exit_code import ExitCode
from docmill.cli.output import Row, cell, console, part_of, print_json, short_name
from docmill.embedded.stack import DEFAULT_OWNER
from docmill.worker.admin import callers
from docmill.worker.errors import RefusedError, UsageError
from docmill.worker.models import IndexVersion
from docmill.worker.ports import Vector
from docmill.worker.processes.connections import build_embedder
from docmill.worker.providers.base import Kind
from docmill.worker.settings.parts import EmbedderSettings
from docmill.worker.settings.processes import Settings
from docmill.worker.store.database import Connection
from docmill.worker.store.maintenance import active_index_version

#: How to search.
By = Literal["words", "meaning", "both"]
SCORES = ("score", "vector_score", "text_score")
FIELDS = (*SCORES, "object_name", "title", "page_start", "page_end", "headings", "content")


def search(query: str, *, by: By, owner: str | None, limit: int, as_json: bool) -> int:
    """Print the best passages for a query that the owner may read."""
    check_query(query)
    settings = settings_in_use()
    searcher = caller(settings, owner)
    hits = passages(settings, query, by=by, owner=searcher, limit=limit)
    for hit in hits:
        if as_json:
            print_json({name: hit[name] for name in FIELDS})
        else:
            print_hit(hit)
    if not hits:
        if not as_json:
            console().print("nothing found")
        with admin_connection(settings) as connection:
            note_unknown_owner(connection, searcher)
    return ExitCode.DONE


def caller(settings: Settings, owner: str | None) -> str:
    """The user whose rights the search has. Raises UsageError if nobody is named.

    On an embedded stack its default user, unless another is named.
    """
    if owner is None and running_stack() is None:
        raise UsageError("name the user who searches: --owner SUB")
    return owner_id(settings, owner) or DEFAULT_OWNER


def passages(settings: Settings, query: str, *, by: By, owner: str, limit: int) -> list[Row]:
    """The passages that `hybrid_search` finds for this user.

    Raises JobError if the query cannot be embedded, RefusedError if nothing is indexed.
    """
    with admin_connection(settings) as connection:
        index = active_index_version(connection)
        if index is None:
            raise RefusedError("there is no active index version: docmill schema apply makes one")
        return callers.hybrid_search(
            connection,
            owner=owner,
            words=None if by == "meaning" else query,
            embedding=None
            if by == "words"
            else embed_query(connection, settings, index, query, owner=owner),
            model=index.model,
            limit=limit,
        )


def embed_query(
    connection: Connection,
    settings: EmbedderSettings,
    index: IndexVersion,
    query: str,
    *,
    owner: str,
) -> Vector:
    """Embed a query for an index version, and book what it cost on the user who searches.

    Raises JobError, SettingsError.
    """
    embedder = build_embedder(settings, index, kind=Kind.QUERY)
    vectors, tokens = embedder.embed([index.query_prefix + query])
    book_queries(connection, settings, index, tokens, owner=owner)
    vector: Vector = vectors[0]
    return vector


def check_query(query: str) -> None:
    """Raise UsageError if the text cannot be searched for."""
    try:
        query.encode()
    except UnicodeEncodeError:
        raise UsageError("the query is not valid UTF-8") from None
    if not query.strip():
        raise UsageError("the query is empty")


def print_hit(hit: Row, *, width: int = 300) -> None:
    """Print one hit: score, place and passage."""
    out = console()
    pages = pages_of(hit)
    headings = hit["headings"]
    place = " > ".join(headings[1:] if headings[:1] == [hit["title"]] else headings)
    out.print(f"{hit['score']:.2f}  {short_name(hit)}{pages}", style="bold")
    if hit["title"] or place:
        out.print("      " + cell(" | ".join(part for part in (hit["title"], place) if part)))
    passage = cell(" ".join(hit["content"].split()))
    out.print("      " + passage[:width] + ("..." if len(passage) > width else ""))


def pages_of(hit: Mapping[str, Any]) -> str:
    """`, page 3` or `, sheet 3`; empty if the format has no pages."""
    start, end = hit["page_start"], hit["page_end"]
    if start is None:
        return ""
    part = part_of(hit["object_name"])
    return f", {part} {start}" if start == end else f", {part}s {start}-{end}"
