"""A better order of passages, from any server with the usual rerank API."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from docmill.worker.clients.chat import STEP_SECONDS
from docmill.worker.grounding import Passage
from docmill.worker.log import get_logger

log = get_logger(__name__)


@dataclass(frozen=True)
class RerankServer:
    """The address of the reranker. The key is left out of the repr."""

    url: str | None = None
    model: str | None = None
    api_key: str | None = field(default=None, repr=False)


async def rerank(server: RerankServer, query: str, passages: Sequence[Passage]) -> list[Passage]:
    """The passages, best first; in the order of the search without a server or if it fails."""
    if server.url is None or len(passages) < 2:
        return list(passages)
    headers = {"authorization": f"Bearer {server.api_key}"} if server.api_key else {}
    body = _body(server, query, [passage["content"] for passage in passages])
    try:
        async with asyncio.timeout(STEP_SECONDS), httpx.AsyncClient(headers=headers) as http:
            answer = await http.post(server.url, json=body, timeout=STEP_SECONDS)
            answer.raise_for_status()
            return _in_order(passages, answer.json())
    except (
        *(TimeoutError, httpx.HTTPError),
        *(ValueError, LookupError, TypeError, AttributeError, RecursionError),
    ) as e:
        log.warning("reranker_failed", error=type(e).__name__)
        return list(passages)


def _body(server: RerankServer, query: str, texts: Sequence[str]) -> dict[str, Any]:
    # Cohere, Jina and vLLM need a model; TEI has only one, and another field for documents.
    if server.model:
        return {"model": server.model, "query": query, "documents": texts, "top_n": len(texts)}
    return {"query": query, "texts": texts, "truncate": True}


def _in_order(passages: Sequence[Passage], said: Any) -> list[Passage]:
    """Passages that the server does not name come last."""
    ranks = said if isinstance(said, list) else said["results"]
    ranks = sorted(ranks, key=lambda rank: -float(rank.get("relevance_score", rank.get("score"))))
    named = [rank["index"] for rank in ranks]
    places = dict.fromkeys(
        [place for place in named if 0 <= place < len(passages)] + list(range(len(passages)))
    )
    return [passages[place] for place in places]
