"""What the documentation lists is what the code has."""

import os
import re
import subprocess
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
from typer.main import get_command

from tests.support import settings_reference
from tests.support.error_table import MARK, error_table
from tests.support.settings_reference import settings_table
from worker.cli.config import references
from worker.cli.main import ExitCode, app
from worker.errors import ERROR_CODES
from worker.models import Stage
from worker.pipeline.run_job import RunEnd
from worker.settings import Settings, load_settings

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
    """For a shell, and for docmill, with every commented setting taken in as well."""
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
        assert load_settings().slots == Settings.model_fields["slots"].default


def test_every_exit_code_is_documented() -> None:
    text = (DOCS / "commands.md").read_text()
    assert all(f"| {code.value} |" in text for code in ExitCode)


def test_every_command_is_documented() -> None:
    text = (DOCS / "commands.md").read_text()
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        for full in [f"{name} {sub}" for sub in getattr(command, "commands", {})] or [name]:
            assert f"`{full}" in text, full


def test_every_command_of_the_readmes_exists() -> None:
    commands = get_command(app).commands  # type: ignore[attr-defined]
    for page in (ROOT / "README.md", ROOT / "ops" / "README.md"):
        for name in re.findall(r"docmill ([a-z]+)", page.read_text()):
            assert name in commands or name in ("turns", "extracts", "beside")


def test_every_state_that_flower_shows_is_explained() -> None:
    text = (ROOT / "ops" / "README.md").read_text()
    outcomes = set(get_args(get_type_hints(RunEnd)["outcome"])) - {"succeeded", "failed"}
    for state in {*get_args(Stage), *outcomes, "dropped", "success", "failure"}:
        assert state.upper() in text, state


def test_no_page_links_to_a_missing_one() -> None:
    for page in [ROOT / "README.md", ROOT / "ops" / "README.md", *DOCS.glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
