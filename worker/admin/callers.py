"""The users of the project, and searches as one of them."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, LiteralString, cast
from uuid import UUID

import psycopg

from docmill.worker.admin.rows import Row, fetch_rows, fetch_value
from docmill.worker.errors import RefusedError
from docmill.worker.grounding import CheckedAnswer
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
ASK: Final[LiteralString] = """
    select conversation::text as conversation_id, message_id::text as question_id, history
      from ingest.ask_question(%(question)s, %(conversation)s)
"""
RECORD: Final[LiteralString] = """
    select ingest.record_answer(%(question_id)s, %(answer)s, %(chunks)s, %(documents)s, %(cited)s)
           ::text
"""
#: Why a question is refused, by the SQLSTATE of ask_question.
_REFUSED: Final = {
    "PT404": "this user has no such conversation",
    "PT409": "the conversation is full: begin another one",
    "PT429": "this user has asked too many questions: wait {detail} seconds",
}


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


def ask_question(
    connection: Connection, *, owner: str, question: str, conversation: UUID | None
) -> Row:
    """Count and store a question of this user; without a conversation a new one begins.

    Returns conversation_id, question_id and history. Raises RefusedError.
    """
    asked = {"question": question, "conversation": conversation}
    try:
        with impersonated(connection, owner):
            return fetch_rows(connection, ASK, asked)[0]
    except psycopg.Error as error:
        if error.sqlstate not in _REFUSED:
            raise
        text = _REFUSED[error.sqlstate]
        raise RefusedError(text.format(detail=error.diag.message_detail)) from None


def record_answer(
    connection: Connection,
    *,
    owner: str,
    question_id: str,
    answer: CheckedAnswer,
    sources: Sequence[Row],
) -> str | None:
    """Store the answer to a question of this user; return its id.

    None: the conversation was deleted meanwhile.
    """
    stored = {
        "question_id": question_id,
        "answer": answer.answer,
        "chunks": [source["chunk_id"] for source in sources],
        "documents": [source["document_id"] for source in sources],
        "cited": list(answer.cited),
    }
    try:
        with impersonated(connection, owner):
            return cast("str", fetch_value(connection, RECORD, stored))
    except psycopg.Error as error:
        if error.sqlstate != "PT404":
            raise
        return None


def vector_literal(embedding: Vectors) -> str:
    """An embedding as text for pgvector."""
    return "[" + ",".join(repr(float(value)) for value in embedding) + "]"
