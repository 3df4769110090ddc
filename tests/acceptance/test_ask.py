"""`docmill ask` against an embedded stack and a fake model."""

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest

from docmill.worker.grounding import PROMPTS
from tests.support.fake_openai import FakeOpenAI
from tests.support.shell import Shell

OWNER = "44444444-4444-4444-8444-444444444444"


@pytest.fixture(scope="module")
def chat() -> Iterator[FakeOpenAI]:
    with closing(FakeOpenAI()) as fake:
        yield fake


@pytest.fixture(scope="module", autouse=True)
def document(shell: Shell) -> None:
    (shell.folder / "who.txt").write_text("The lighthouse was painted by Bob in May.")
    shell.run("ingest", "who.txt", "--owner", OWNER, "--yes", "--wait")


def environ(chat: FakeOpenAI) -> dict[str, Any]:
    return {"DOCMILL_CHAT_BASE_URL": chat.url, "DOCMILL_CHAT_MODEL": "fake-chat"}


def ask(shell: Shell, chat: FakeOpenAI, *options: str, owner: str = OWNER) -> str:
    question = "Who painted the lighthouse?"
    return shell.run("ask", question, "--owner", owner, *options, **environ(chat))


def test_an_answer_is_written_and_then_its_sources(shell: Shell, chat: FakeOpenAI) -> None:
    chat.write = lambda _body: ["Bob", " [1]", "\x1b[31m[9]."]
    assert ask(shell, chat).splitlines() == [
        "Bob [1]?[31m[9].",
        "(there is no source 9: do not rely on that)",
        "[1] who.txt",
    ]


def test_programs_read_one_object(shell: Shell, chat: FakeOpenAI) -> None:
    chat.write = lambda _body: ["Bob [1] [9]."]
    question = "Who painted the lighthouse?"
    arguments = ("ask", question, "--owner", OWNER, "--json")
    (row,) = ask_rows(shell, chat, *arguments)
    source = row.pop("sources")[0]
    assert row == {
        "question": question,
        "query": question,
        "outcome": "answered",
        "answer": "Bob [1].",
        "cited": [1],
        "removed": [9],
        "is_cut": False,
        "conversation_id": None,
        "question_id": None,
        "message_id": None,
    }
    assert (source["number"], source["object_name"]) == (1, f"{OWNER}/who.txt")
    assert "painted by Bob" in source["content"]


def ask_rows(shell: Shell, chat: FakeOpenAI, *arguments: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in shell.run(*arguments, **environ(chat)).splitlines()]


def messages(shell: Shell) -> list[tuple[str, str]]:
    """What is stored for the owner: each role and text, in order."""
    with psycopg.connect(shell.status_of_stack()["database_url"]) as admin:
        return admin.execute(
            """select role, content from ingest.messages
                where owner_id = %s order by turn, role desc""",
            [OWNER],
        ).fetchall()


def test_only_a_conversation_is_stored_and_goes_on(shell: Shell, chat: FakeOpenAI) -> None:
    chat.write = lambda body: ["Bob [1]."] if body["stream"] else ["When did Bob paint?"]
    ask(shell, chat)
    assert messages(shell) == []
    arguments = ("--owner", OWNER, "--json", "--conversation")
    (first,) = ask_rows(shell, chat, "ask", "Who painted it?", *arguments, "new")
    known = first["conversation_id"]
    (row,) = ask_rows(shell, chat, "ask", "And when?", *arguments, known)
    assert row["conversation_id"] == known
    assert row["query"] == "When did Bob paint?"
    assert [one["content"] for one in chat.chats[-1]["messages"][1:3]] == [
        "Who painted it?",
        "Bob.",
    ]
    assert messages(shell) == [
        *(("user", "Who painted it?"), ("assistant", "Bob [1].")),
        *(("user", "And when?"), ("assistant", "Bob [1].")),
    ]
    assert ask(shell, chat, "--conversation", known).splitlines()[-1] == f"conversation {known}"
    stranger = "55555555-5555-4555-8555-555555555555"
    said = shell.run(
        *("ask", "Who?", "--owner", stranger, "--conversation", known), code=1, **environ(chat)
    )
    assert "no such conversation" in said
    said = shell.run(
        *("ask", "Who?", "--owner", OWNER, "--conversation", "x"), code=2, **environ(chat)
    )
    assert "id of a conversation" in said


def test_nobody_is_answered_from_what_is_another_s(shell: Shell, chat: FakeOpenAI) -> None:
    before = len(chat.chats)
    said = ask(shell, chat, owner="55555555-5555-4555-8555-555555555555")
    assert said.strip() == PROMPTS.not_found
    assert len(chat.chats) == before


def test_without_a_model_it_says_what_to_set(shell: Shell) -> None:
    said = shell.run("ask", "Who?", "--owner", OWNER, code=3)
    assert "DOCMILL_CHAT_MODEL" in said
