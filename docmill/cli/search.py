"""`docmill search`."""

from docmill.cli.admin import admin_connection, owner_id
from docmill.cli.context import running_stack, settings_in_use
from docmill.cli.exit_code import ExitCode
from docmill.cli.output import Row, cell, console, print_json
from docmill.embedded.stack import DEFAULT_OWNER
from docmill.worker.admin import callers
from docmill.worker.errors import UsageError
from docmill.worker.processes.connections import build_embedder

FIELDS = ("score", "object_name", "title", "page_start", "page_end", "headings", "content")


def search(query: str, *, owner: str | None, limit: int, as_json: bool) -> int:
    """Print the passages nearest to a query that the owner may read."""
    check_query(query)
    settings = settings_in_use()
    if owner is None and running_stack() is None:
        raise UsageError("name the user who searches: --owner SUB")
    owner = owner_id(settings, owner)
    embedder = build_embedder(settings)
    vectors, _tokens = embedder.embed([query])
    with admin_connection(settings) as connection:
        hits = callers.search(
            connection,
            owner=owner or DEFAULT_OWNER,
            embedding=vectors[0],
            model=settings.model,
            limit=limit,
        )
    for hit in hits:
        if as_json:
            print_json({name: hit[name] for name in FIELDS})
        else:
            print_hit(hit)
    if not hits and not as_json:
        console().print("nothing found")
    return ExitCode.DONE


def check_query(query: str) -> None:
    """Raise UsageError for what is no text to search for."""
    try:
        query.encode()
    except UnicodeEncodeError:
        raise UsageError("the query is not valid UTF-8") from None
    if not query.strip():
        raise UsageError("the query is empty")


def print_hit(hit: Row, *, width: int = 300) -> None:
    """One hit as a person reads it: score, where, and the passage."""
    out = console()
    pages = _pages(hit["page_start"], hit["page_end"])
    headings = hit["headings"]
    place = " > ".join(headings[1:] if headings[:1] == [hit["title"]] else headings)
    out.print(f"{hit['score']:.2f}  {cell(hit['object_name'])}{pages}", style="bold")
    if hit["title"] or place:
        out.print("      " + cell(" | ".join(part for part in (hit["title"], place) if part)))
    passage = cell(" ".join(hit["content"].split()))
    out.print("      " + passage[:width] + ("..." if len(passage) > width else ""))


def _pages(start: int | None, end: int | None) -> str:
    if start is None:
        return ""
    return f", page {start}" if start == end else f", pages {start}-{end}"
