"""The users of the project, and searches as one of them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, LiteralString, cast
from uuid import UUID

from docmill.worker.admin.rows import Row, fetch_rows, fetch_value
from docmill.worker.ports import Vectors
from docmill.worker.store.database import Connection

FIND_USER: Final[LiteralString] = """
    select id::text from auth.users where lower(email) = lower(%(email)s) limit 1
"""
#: Users of another Auth than Supabase's are in no table; only their documents name them.
IS_KNOWN: Final[LiteralString] = """
    select exists (select from auth.users where id = %(id)s)
        or exists (select from ingest.documents where owner_id = %(owner)s)
"""
IMPERSONATE: Final[LiteralString] = """
    select set_config('role', 'authenticated', true),
           set_config('request.jwt.claims', %(claims)s, true)
"""
MATCH: Final[LiteralString] = """
    select score, bucket_id, object_name, title, page_start, page_end, headings, content,
           document_id, chunk_id
      from ingest.match_chunks(%(embedding)s, %(model)s, %(limit)s)
"""
HYBRID: Final[LiteralString] = """
    select score, vector_score, text_score, bucket_id, object_name, title, page_start, page_end,
           headings, content, document_id, chunk_id
      from ingest.hybrid_search(%(query)s, %(embedding)s, %(model)s, %(limit)s)
"""


def find_user(connection: Connection, email: str) -> str | None:
    """The id of the project's user with this address."""
    return cast("str | None", fetch_value(connection, FIND_USER, {"email": email}))


def is_known(connection: Connection, owner: str) -> bool:
    """Whether a user of the project has this id, or a document has this owner."""
    try:
        user_id = UUID(owner)
    except ValueError:
        user_id = None
    return bool(fetch_value(connection, IS_KNOWN, {"id": user_id, "owner": owner}))


@contextmanager
def impersonated(connection: Connection, owner: str) -> Iterator[Connection]:
    """One transaction as this user, exactly as in the Data API: policies apply."""
    claims = {"sub": owner, "role": "authenticated"}
    with connection.transaction():
        connection.execute(IMPERSONATE, {"claims": json.dumps(claims)})
        yield connection


def search(
    connection: Connection, *, owner: str, embedding: Vectors, model: str, limit: int
) -> list[Row]:
    """The chunks nearest to an embedding that their owner can find: policies apply."""
    query = {"embedding": vector_literal(embedding), "model": model, "limit": limit}
    with impersonated(connection, owner):
        return fetch_rows(connection, MATCH, query)


def hybrid_search(
    connection: Connection,
    *,
    owner: str,
    words: str | None,
    embedding: "Vectors | None",
    model: str,
    limit: int,
) -> list[Row]:
    """The best chunks by words, by an embedding or by both: policies apply."""
    query = {
        "query": words,
        "embedding": None if embedding is None else vector_literal(embedding),
        "model": model,
        "limit": limit,
    }
    with impersonated(connection, owner):
        return fetch_rows(connection, HYBRID, query)


def vector_literal(embedding: Vectors) -> str:
    """An embedding as text for pgvector."""
    return "[" + ",".join(repr(float(value)) for value in embedding) + "]"
