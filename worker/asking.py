"""Answers a question from passages: the flow from the question to the checked answer."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from docmill.worker.clients.chat import ChatClient, ChatServer
from docmill.worker.clients.reranker import RerankServer, rerank
from docmill.worker.grounding import (
    CheckedAnswer,
    Message,
    Passage,
    answer_messages,
    build_context,
    check_answer,
    make_nonce,
    query_of,
    rewrite_messages,
    unquoted,
)
from docmill.worker.settings.parts import ChatSettings

#: Returns the best passages for a query that the asking user may read, best first.
Search = Callable[[str], Awaitable[Sequence[Passage]]]


@dataclass(frozen=True)
class AskingServers:
    """The chat server and the reranker."""

    chat: ChatServer
    reranker: RerankServer


#: No servers: questions are refused with `not_configured`.
NO_SERVERS: Final = AskingServers(ChatServer("", None), RerankServer())


def servers_of(settings: ChatSettings) -> AskingServers:
    """The servers that the settings name."""
    chat_key, rerank_key = (
        key.get_secret_value() if key else None
        for key in (settings.chat_api_key, settings.rerank_api_key)
    )
    return AskingServers(
        ChatServer(
            settings.require("chat_base_url"),
            settings.chat_model,
            chat_key,
            settings.chat_timeout_seconds,
        ),
        RerankServer(settings.rerank_url, settings.rerank_model, rerank_key),
    )


@dataclass(frozen=True)
class Found:
    """The query, and the passages that were found, in the order in which they are sent."""

    query: str
    passages: Sequence[Passage]


@dataclass(frozen=True)
class Delta:
    """The next piece of the model's text. It is not checked yet."""

    text: str


@dataclass(frozen=True)
class Result:
    """The end: the checked answer. `is_cut`: the model would have written more."""

    checked: CheckedAnswer
    is_cut: bool


async def find(
    question: str,
    history: Sequence[Message],
    *,
    search: Search,
    chat: ChatClient,
    reranker: RerankServer,
) -> Found:
    """The passages for a question; one that follows others is first rewritten to stand alone.

    Raises what `search` raises.
    """
    query = question
    if history:
        query = query_of(await chat.complete(rewrite_messages(question, history)), question)
    passages = await search(query)
    if not passages and unquoted(query) != query:
        passages = await search(unquoted(query))
    return Found(query, await rerank(reranker, query, passages))


async def answer(
    question: str, history: Sequence[Message], passages: Sequence[Passage], chat: ChatClient
) -> AsyncIterator[Sequence[Passage] | Delta | Result]:
    """Yields the sources that are sent, then pieces of the answer, then the result.

    Raises AskError. Without a source the model is not asked.
    """
    nonce = make_nonce()
    context = build_context(passages, nonce)
    yield context.sources
    written, is_cut = "", False
    if context.sources:
        messages = answer_messages(question, context.text, history, nonce)
        async for text, is_last in chat.stream(messages):
            written += text
            is_cut = is_cut or is_last
            if text:
                yield Delta(text)
    yield Result(check_answer(written, len(context.sources), nonce), is_cut)
