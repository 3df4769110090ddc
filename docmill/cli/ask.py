"""`docmill ask`."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from docmill.cli.admin import admin_connection
from docmill.cli.context import settings_in_use
from docmill.cli.exit_code import ExitCode
from docmill.cli.output import cell, console, print_json, short_name
from docmill.cli.search import caller, check_query, pages_of, passages
from docmill.worker.admin import callers
from docmill.worker.asking import Delta, Result, answer, find, servers_of
from docmill.worker.clients.chat import ChatClient
from docmill.worker.clients.reranker import RerankServer
from docmill.worker.errors import UsageError
from docmill.worker.grounding import PROMPTS, Message, Passage, storable
from docmill.worker.settings.processes import Settings

FIELDS = (
    *("chunk_id", "document_id", "bucket_id", "object_name", "title", "page_start", "page_end"),
    *("headings", "content"),
)


@dataclass(frozen=True)
class Kept:
    """A question that is stored in a conversation of its user."""

    conversation_id: str
    question_id: str
    history: Sequence[Message]


def ask(question: str, *, owner: str | None, conversation: str | None, as_json: bool) -> int:
    """Print an answer from documents that the owner may read, and its sources.

    Without a conversation nothing is stored or counted. With one, everything is as if the owner had
    called the function `ask`.
    """
    check_query(question)
    if len(question) > PROMPTS.question_characters:
        raise UsageError(f"the question is longer than {PROMPTS.question_characters} characters")
    wanted = conversation_of(conversation)
    settings = settings_in_use()
    subject = caller(settings, owner)
    servers = servers_of(settings)
    chat = ChatClient(servers.chat)
    kept = None
    if conversation is not None:
        kept = _keep(settings, subject, question, wanted)
    asking = _Asking(settings, subject, question, kept, as_json)
    asyncio.run(asking.run(chat, servers.reranker))
    return ExitCode.DONE


def conversation_of(text: str | None) -> UUID | None:
    """The conversation that an option names; None for `new`. Raises UsageError."""
    if text in {None, "new"}:
        return None
    try:
        return UUID(text)
    except ValueError:
        raise UsageError("--conversation takes the id of a conversation, or `new`") from None


def _keep(settings: Settings, owner: str, question: str, conversation: UUID | None) -> Kept:
    with admin_connection(settings) as connection:
        return Kept(
            **callers.ask_question(
                connection, owner=owner, question=question, conversation=conversation
            )
        )


@dataclass(frozen=True)
class _Asking:
    """One question."""

    settings: Settings
    owner: str
    question: str
    kept: Kept | None
    as_json: bool

    async def run(self, chat: ChatClient, reranker: RerankServer) -> None:
        """Print the answer. Raises AskError, and what the search raises."""
        history = self.kept.history if self.kept else []
        found = await find(
            self.question, history, search=self._search, chat=chat, reranker=reranker
        )
        sources: Sequence[Passage] = []
        async for event in answer(self.question, history, found.passages, chat):
            match event:
                case Delta(text):
                    if not self.as_json:
                        _write(text)
                case Result():
                    self._end(found.query, event, sources)
                case _:
                    sources = event

    async def _search(self, query: str) -> Sequence[Passage]:
        limit = PROMPTS.passages_searched
        return passages(self.settings, query, by="both", owner=self.owner, limit=limit)

    def _end(self, query: str, result: Result, sources: Sequence[Passage]) -> None:
        message_id = self._record(result, sources)
        if not self.as_json:
            _print_end(result, sources)
            if self.kept:
                self._print_conversation(message_id)
            return
        row = {"question": self.question, "query": query, **vars(result.checked)}
        row |= {"is_cut": result.is_cut, "sources": _numbered(sources)}
        row |= {
            "conversation_id": self.kept.conversation_id if self.kept else None,
            "question_id": self.kept.question_id if self.kept else None,
            "message_id": message_id,
        }
        print_json(row)

    def _record(self, result: Result, sources: Sequence[Passage]) -> str | None:
        if self.kept is None:
            return None
        with admin_connection(self.settings) as connection:
            return callers.record_answer(
                connection,
                owner=self.owner,
                question_id=self.kept.question_id,
                answer=result.checked,
                sources=[dict(source) for source in sources],
            )

    def _print_conversation(self, message_id: str | None) -> None:
        assert self.kept is not None
        if message_id is None:
            console().print("(the answer was not stored: the conversation was deleted)")
        else:
            console().print(f"conversation {self.kept.conversation_id}")


def _write(text: str) -> None:
    # The answer may repeat text of a document, so remove control characters: they can rewrite the
    # terminal.
    plain = "\n".join(cell(line) for line in storable(text).split("\n"))
    console().print(plain, end="")


def _print_end(result: Result, sources: Sequence[Passage]) -> None:
    out, checked = console(), result.checked
    if sources:
        out.print()
    if checked.outcome == "not_found":
        out.print(checked.answer)
    if checked.removed:
        numbers = ", ".join(map(str, checked.removed))
        out.print(f"(there is no source {numbers}: do not rely on that)")
    if result.is_cut:
        out.print("(the answer was cut: it is too long)")
    for number in checked.cited:
        source = sources[number - 1]
        place = f"{short_name(source)}{pages_of(source)}"
        out.print(f"[{number}] {place}", style="bold")


def _numbered(sources: Sequence[Passage]) -> list[dict[str, Any]]:
    return [
        {"number": number, **{name: source[name] for name in FIELDS}}
        for number, source in enumerate(sources, 1)
    ]
