"""`docmill up` with a provider: uploads, ingests and searches with its embeddings."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_openai import FakeOpenAI
from tests.support.shell import Shell

KEY = "sk-canary-0123456789"


def processes_of(shell: Shell) -> Iterator[tuple[str, str]]:
    """The processes of a stack by their commands, and their environment according to the kernel."""
    tasks = Path(f"/proc/{shell.stack_pid()}/task").glob("*/children")
    for pid in " ".join(task.read_text() for task in tasks).split():
        command = Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0").replace("\0", " ")
        _, _, arguments = command.partition(" -m docmill")
        name = arguments.removeprefix(".embedded.").strip()
        yield name, Path(f"/proc/{pid}/environ").read_text()


@pytest.fixture
def openai() -> Iterator[FakeOpenAI]:
    server = FakeOpenAI()
    yield server
    server.close()


def test_up_embeds_with_the_provider_that_the_shell_names(
    openai: FakeOpenAI, tmp_path: Path
) -> None:
    shell = Shell(tmp_path)
    chosen: Any = {
        "DOCMILL_EMBEDDER": "openai",
        "DOCMILL_EMBEDDING_DIMENSIONS": "256",
        "OPENAI_BASE_URL": openai.url,
    }
    assert "set DOCMILL_OPENAI_API_KEY or OPENAI_API_KEY" in shell.run(
        "up", "--detach", code=3, **chosen
    )
    shell.run("up", "--detach", **chosen, OPENAI_API_KEY=KEY)
    try:
        (tmp_path / "roof.txt").write_text("The roof is inspected every spring.")
        shell.run("ingest", "roof.txt", "--wait")
        (text,) = [text for text in openai.texts if "roof" in text]
        assert {body["model"] for body in openai.bodies} == {"text-embedding-3-small"}
        assert {body["dimensions"] for body in openai.bodies} == {256}
        found = shell.run("search", text, "--by", "meaning", "--json", OPENAI_API_KEY=KEY)
        assert json.loads(found.splitlines()[0])["vector_score"] > 0.99
        said = shell.run("search", "roof", "--by", "meaning", code=3)
        assert "OPENAI_API_KEY" in said
        holders = {name for name, environ in processes_of(shell) if KEY in environ}
        assert holders == {"api", "worker", "worker --isolated"}
        assert KEY not in (tmp_path / ".docmill" / "stack.json").read_text()
    finally:
        shell.run("down")
    refused = shell.run("up", "--detach", code=3)
    assert "the documents of this folder are embedded by openai: provider openai: set" in refused


def test_up_embeds_with_the_small_transformer(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    shell.run("up", "--detach", DOCMILL_EMBEDDER="e5")
    try:
        (tmp_path / "dach.txt").write_text("Das Dach wird in jedem Frühjahr geprüft.")
        (tmp_path / "farbe.txt").write_text("Die rote Farbe steht im Keller neben der Leiter.")
        shell.run("ingest", "dach.txt", "farbe.txt", "--wait")
        found = shell.run("search", "When is the roof inspected?", "--by", "meaning", "--json")
        assert "Frühjahr" in json.loads(found.splitlines()[0])["content"]
    finally:
        shell.run("down")


def test_a_key_in_the_shell_is_no_choice(openai: FakeOpenAI, tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    others: Any = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": openai.url,
              "DOCMILL_EMBEDDING_MODEL": "text-embedding-3-large"}  # fmt: skip
    shell.run("up", "--detach", **others)
    try:
        (tmp_path / "roof.txt").write_text("The roof is inspected every spring.")
        shell.run("ingest", "roof.txt", "--wait")
        assert "roof" in shell.run("search", "roof", "--by", "meaning")
        assert openai.texts == []
    finally:
        shell.run("down")
    refused = shell.run("up", "--detach", code=3, **others, DOCMILL_EMBEDDER="openai")
    assert "DOCMILL_EMBEDDER is openai, but the documents of this folder are embedded by" in refused
