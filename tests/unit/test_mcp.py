"""Pieces of documents, and tokens, as the MCP server reads them."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp.server.mcpserver.exceptions import ToolError

from docmill.mcp import retrieval
from docmill.mcp.retrieval import PAGE_CHARACTERS, Cursor, page_of
from docmill.mcp.tokens import claims_of, ends_soon
from tests.support.api import KEYS


def places_of(chunks: list[str]) -> list[dict[str, Any]]:
    return [
        {"ordinal": number, "chunk_id": f"c{number}", "page_start": None, "page_end": None}
        for number in range(len(chunks))
    ]


def read_all(chunks: list[str]) -> list[list[str]]:
    """The texts of all pages, read one after the other."""
    places = places_of(chunks)
    by_id = {f"c{number}": {"content": text, "headings": []} for number, text in enumerate(chunks)}
    pages, cursor = [], Cursor()
    for _ in range(1000):
        rest = [place for place in places if place["ordinal"] >= cursor.ordinal]
        asked_for = rest[: retrieval._PAGE_CHUNKS + 1]
        sections, following = page_of(asked_for, by_id, cursor)
        pages.append([section.text for section in sections])
        if following is None:
            return pages
        cursor = Cursor.of(str(following))
    raise AssertionError("there is no end to it")


sizes = st.sampled_from([1, 10, 1500, 4000, PAGE_CHARACTERS - 1, PAGE_CHARACTERS, 70_000])


@given(st.lists(sizes, max_size=100))
def test_pages_are_the_document_in_order_and_none_is_long(lengths: list[int]) -> None:
    chunks = [f"{number} ".ljust(length, "x")[:length] for number, length in enumerate(lengths)]
    pages = read_all(chunks)
    assert "".join(text for page in pages for text in page) == "".join(chunks)
    assert all(sum(map(len, page)) <= PAGE_CHARACTERS for page in pages)
    # A chunk that fits into a page is not cut.
    whole = {text for page in pages for text in page}
    assert {chunk for chunk in chunks if len(chunk) <= PAGE_CHARACTERS} <= whole


def test_a_chunk_that_is_gone_is_told() -> None:
    with pytest.raises(ToolError, match="changed while it was read"):
        page_of(places_of(["one"]), {}, Cursor())


@pytest.mark.parametrize("text", ["x", "1", "1:", "-1:0", "1:2:3", "٣:0", "9" * 20 + ":0"])
def test_what_is_no_cursor_is_told(text: str) -> None:
    with pytest.raises(ToolError, match="next_cursor"):
        Cursor.of(text)


def jwt_of(claims: object) -> str:
    part = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"eyJhbGciOiJIUzI1NiJ9.{part}.signature"


def test_only_a_user_s_token_has_claims() -> None:
    user = {"sub": "somebody", "role": "authenticated"}
    assert claims_of(jwt_of(user)) == user
    for token in (
        *("", "x", "a.b.c", "..", "a.é.c", KEYS.secret_key, KEYS.publishable_key),
        jwt_of({"role": "service_role"}),
        jwt_of({**user, "role": "service_role"}),
        jwt_of({**user, "role": "anon"}),
        jwt_of({**user, "sub": ""}),
        jwt_of([user]),
    ):
        assert claims_of(token) is None, token


def test_a_token_is_renewed_before_its_end() -> None:
    claims = {"sub": "somebody", "role": "authenticated"}
    assert ends_soon(jwt_of({**claims, "exp": 0}))
    assert not ends_soon(jwt_of({**claims, "exp": 2**40}))
    assert not ends_soon(jwt_of(claims))
