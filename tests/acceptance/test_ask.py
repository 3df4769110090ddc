"""`docmill ask` against an embedded stack and a fake model."""

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

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
        "outcome": "answered",
        "answer": "Bob [1].",
        "cited": [1],
        "removed": [9],
        "is_cut": False,
    }
    assert (source["number"], source["object_name"]) == (1, f"{OWNER}/who.txt")
    assert "painted by Bob" in source["content"]


def ask_rows(shell: Shell, chat: FakeOpenAI, *arguments: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in shell.run(*arguments, **environ(chat)).splitlines()]


def test_nobody_is_answered_from_what_is_another_s(shell: Shell, chat: FakeOpenAI) -> None:
    before = len(chat.chats)
    said = ask(shell, chat, owner="55555555-5555-4555-8555-555555555555")
    assert said.strip() == PROMPTS.not_found
    assert len(chat.chats) == before


def test_without_a_model_it_says_what_to_set(shell: Shell) -> None:
    said = shell.run("ask", "Who?", "--owner", OWNER, code=3)
    assert "DOCMILL_CHAT_MODEL" in said
