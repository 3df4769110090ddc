"""`docmill ask`."""

import asyncio
from collections.abc import Sequence

from docmill.cli.context import settings_in_use
from docmill.cli.exit_code import ExitCode
from docmill.cli.output import cell, console, print_json, short_name
from docmill.cli.search import caller, check_query, pages_of, passages
from docmill.worker.asking import Delta, Result, answer, find, servers_of
from docmill.worker.clients.chat import ChatClient
from docmill.worker.clients.reranker import RerankServer
from docmill.worker.errors import UsageError
from docmill.worker.grounding import PROMPTS, Passage, storable
from docmill.worker.settings.processes import Settings

FIELDS = (
    *("chunk_id", "document_id", "bucket_id", "object_name", "title", "page_start", "page_end"),
    *("headings", "content"),
)


def ask(question: str, *, owner: str | None, as_json: bool) -> int:
    """Print an answer from documents that the owner may read, and its sources."""
    check_query(question)
    if len(question) > PROMPTS.question_characters:
        raise UsageError(f"the question is longer than {PROMPTS.question_characters} characters")
    settings = settings_in_use()
    subject = caller(settings, owner)
    servers = servers_of(settings)
    chat = ChatClient(servers.chat)
    asyncio.run(_ask(question, subject, settings, chat, servers.reranker, as_json=as_json))
    return ExitCode.DONE


async def _ask(
    question: str,
    owner: str,
    settings: Settings,
    chat: ChatClient,
    reranker: RerankServer,
    *,
    as_json: bool,
) -> None:
    async def search(query: str) -> Sequence[Passage]:
        return passages(settings, query, by="both", owner=owner, limit=PROMPTS.passages_searched)

    found = await find(question, [], search=search, chat=chat, reranker=reranker)
    sources: Sequence[Passage] = []
    async for event in answer(question, [], found.passages, chat):
        match event:
            case Delta(text):
                if not as_json:
                    _write(text)
            case Result():
                (_print_json if as_json else _print_end)(question, event, sources)
            case _:
                sources = event


def _write(text: str) -> None:
    # The answer may repeat text of a document, so remove control characters: they can rewrite the
    # terminal.
    plain = "\n".join(cell(line) for line in storable(text).split("\n"))
    console().print(plain, end="")


def _print_end(_question: str, result: Result, sources: Sequence[Passage]) -> None:
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


def _print_json(question: str, result: Result, sources: Sequence[Passage]) -> None:
    numbered = [
        {"number": number, **{name: source[name] for name in FIELDS}}
        for number, source in enumerate(sources, 1)
    ]
    print_json(
        {
            "question": question,
            **vars(result.checked),
            "is_cut": result.is_cut,
            "sources": numbered,
        }
    )
