"""POST /ask: the answer to a question, as server-sent events.

Everything is read and written as the caller, through the Data API. examples/functions/ask does the
same in a real project.
"""

import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import anyio
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from docmill.embedded.functions.incoming import RefusedError, text_of
from docmill.embedded.functions.project import CallersProject, QueryEmbedder
from docmill.worker.asking import AskingServers, Delta, Found, Result, answer, find
from docmill.worker.clients.chat import ChatClient
from docmill.worker.errors import AskError
from docmill.worker.grounding import PROMPTS, CheckedAnswer, Passage
from docmill.worker.log import get_logger
from docmill.worker.models import IndexVersion

log = get_logger(__name__)

_UUID: Final = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
#: The answers of ask_question, by their status.
_REFUSALS: Final[Mapping[int, tuple[int, str, str]]] = {
    401: (401, "sign in to ask", "sign_in"),
    403: (401, "sign in to ask", "sign_in"),
    404: (404, "there is no such conversation", "conversation_missing"),
    409: (409, "the conversation is full: begin another", "conversation_full"),
    429: (429, "you have asked too many questions: wait a little", "too_many_questions"),
}
_HEADERS: Final = {"cache-control": "no-store", "x-accel-buffering": "no"}


class _EventStream(StreamingResponse):
    """Stops the generator of events, and so the call of the model, when the client is gone."""

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the end, or until the client is gone."""
        async with anyio.create_task_group() as group:

            async def stream() -> None:
                await self.stream_response(send)
                group.cancel_scope.cancel()

            group.start_soon(stream)
            await self.listen_for_disconnect(receive)
            group.cancel_scope.cancel()


@dataclass(frozen=True)
class _Asked:
    conversation: str
    message_id: str
    history: Sequence[Any]


class Asking:
    """One question of one caller."""

    def __init__(
        self,
        project: CallersProject,
        embedder: QueryEmbedder,
        servers: AskingServers,
    ) -> None:
        self._project = project
        self._embedder = embedder
        self._servers = servers

    async def response(self, body: Any) -> Response:
        """The events. Raises RefusedError for an error before the first event."""
        question = text_of(body, "question", PROMPTS.question_characters)
        conversation = _conversation_of(body)
        try:
            chat = ChatClient(self._servers.chat)
        except AskError as error:
            raise _refusal(error) from None
        index = await self._project.index()
        asked = await self._note(question, conversation)
        found = await find(
            question,
            asked.history,
            search=partial(self._search, index),
            chat=chat,
            reranker=self._servers.reranker,
        )
        events = self._events(question, asked, found, chat)
        return _EventStream(events, media_type="text/event-stream", headers=_HEADERS)

    async def _note(self, question: str, conversation: str | None) -> _Asked:
        """Count and store the question."""
        parameters = {"question": question, "conversation_id": conversation}
        said = await self._project.call("ask_question", parameters)
        if said.is_success:
            return _Asked(**said.json()[0])
        if said.status_code in _REFUSALS:
            status, message, code = _REFUSALS[said.status_code]
            wait = said.json().get("details") if status == 429 else None
            raise RefusedError(status, message, code, wait)
        message = "the question could not be stored"
        raise RefusedError(503, message, "data_api_unavailable")

    async def _search(self, index: IndexVersion, query: str) -> Sequence[Passage]:
        embedding = await self._embedder.embed(query, index, self._project)
        parameters = {
            "query_text": query,
            "query_embedding": json.dumps(embedding.tolist()),
            "model": index.model,
            "index_version": index.id,
            "match_count": PROMPTS.passages_searched,
        }
        said = await self._project.call("hybrid_search", parameters)
        if not said.is_success:
            log.warning("search_failed", status=said.status_code)
            raise RefusedError(502, "the search failed", "search_failed")
        found: Sequence[Passage] = said.json()
        return found

    async def _events(
        self, question: str, asked: _Asked, found: Found, chat: ChatClient
    ) -> AsyncIterator[str]:
        sources: Sequence[Passage] = []
        try:
            async for event in answer(question, asked.history, found.passages, chat):
                match event:
                    case Delta(text):
                        yield _sent("delta", {"text": text})
                    case Result(checked, is_cut):
                        message_id = await self._record(asked, sources, checked)
                        more = {"is_cut": is_cut, "message_id": message_id}
                        yield _sent("result", {**vars(checked), **more})
                    case _:
                        sources = event
                        yield _sent("sources", _sources(asked, found.query, sources))
        except AskError as error:
            yield _sent("error", {"code": error.code, "error": str(error)})
        except Exception:  # a stream that only ends would look like a lost connection
            log.exception("answer_failed")
            yield _sent("error", {"code": "internal_error", "error": "something went wrong"})

    async def _record(
        self, asked: _Asked, sources: Sequence[Passage], checked: CheckedAnswer
    ) -> str | None:
        """Store the answer. Returns None if that fails: the client gets the answer anyway."""
        parameters = {
            "message_id": asked.message_id,
            "answer": checked.answer,
            "source_chunks": [source["chunk_id"] for source in sources],
            "source_documents": [source["document_id"] for source in sources],
            "cited": list(checked.cited),
        }
        try:
            said = await self._project.call("record_answer", parameters)
        except RefusedError:
            return None
        if not said.is_success:
            log.warning("answer_not_recorded", status=said.status_code)
            return None
        return str(said.json())


def _conversation_of(body: Any) -> str | None:
    conversation = body.get("conversation_id")
    if conversation is None:
        return None
    if not isinstance(conversation, str) or not _UUID.fullmatch(conversation):
        raise RefusedError(400, "conversation_id must be the id of a conversation")
    return conversation


def _refusal(error: AskError) -> RefusedError:
    return RefusedError(error.status, str(error), error.code)


def _sources(asked: _Asked, query: str, sources: Sequence[Passage]) -> Mapping[str, Any]:
    numbered = [{**source, "number": number} for number, source in enumerate(sources, 1)]
    return {
        "conversation_id": asked.conversation,
        "question_id": asked.message_id,
        "query": query,
        "sources": numbered,
    }


def _sent(name: str, data: Mapping[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"
