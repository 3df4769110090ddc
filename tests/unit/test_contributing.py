"""Everything that the pages for contributors name exists, and the workflow matches them."""

import io
import re
import tomllib
from typing import Any

import pytest
import yaml

from docmill.worker.admin.schema import OLDEST_SERVER
from docmill.worker.extraction.child.kinds.calendar import read_calendar
from docmill.worker.extraction.child.kinds.registry import _READERS
from docmill.worker.extraction.child.sniff import sniff
from docmill.worker.extraction.shared.media_types import CALENDAR, named_text_type
from tests.support.pages import ROOT

PAGES = ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "docs/releasing.md")
WORKFLOW: dict[str, Any] = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
#: The newest major version of PostgreSQL in the tests' wheel.
NEWEST_SERVER = 18


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_a_page_names_is_there(page: str) -> None:
    folders = r"worker|schema|tests|docs|ops|examples|\.github"
    named = re.findall(rf"`((?:{folders})/[\w./]+)`", (ROOT / page).read_text())
    assert not [name for name in named if not (ROOT / name).exists()]


@pytest.mark.parametrize("page", PAGES)
def test_every_target_of_make_that_a_page_names_is_one(page: str) -> None:
    makefile = (ROOT / "Makefile").read_text().replace("$(VENV)", ".venv")
    targets = set(re.findall(r"^([\w./-]+):", makefile, re.MULTILINE))
    named = set(re.findall(r"`make ([\w./-]+)[^`]*`", (ROOT / page).read_text()))
    assert named <= targets


def test_the_file_kind_of_the_example_is_where_the_page_says() -> None:
    assert named_text_type("party.ics") == CALENDAR
    sql = (ROOT / "schema" / "functions" / "028_named_type.sql").read_text()
    assert f"when 'ics' then '{CALENDAR}'" in sql
    assert sniff(io.BytesIO(b"BEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n"), "notes.txt") == CALENDAR
    assert _READERS[CALENDAR] is read_calendar
    assert "| iCalendar |" in (ROOT / "docs" / "kinds.md").read_text()


def test_the_changelog_has_the_version_of_the_project_and_what_comes_next() -> None:
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert PROJECT["version"] in headings


def test_the_workflow_tries_every_python_and_server_that_docmill_is_written_for() -> None:
    matrix = WORKFLOW["jobs"]["versions"]["strategy"]["matrix"]
    pythons = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    assert matrix["python"] == pythons
    assert matrix["postgres"] == [str(n) for n in range(OLDEST_SERVER, NEWEST_SERVER + 1)]
    # In YAML, 3.10 without quotes would be the number 3.1.
    assert all(isinstance(entry, str) for entries in matrix.values() for entry in entries)


def test_the_workflow_runs_what_is_run_here_and_pins_its_actions_by_major_version() -> None:
    steps = [step for job in WORKFLOW["jobs"].values() for step in job["steps"]]
    assert ".ci/run" in [step.get("run") for step in steps]
    used = [step["uses"] for step in steps if "uses" in step]
    assert all(re.fullmatch(r"actions/[\w-]+@v\d+", action) for action in used), used


def test_the_templates_of_issues_can_be_read() -> None:
    for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("[!c]*.yml"):
        template = yaml.safe_load(path.read_text())
        assert template["name"], path
        ids = [field["id"] for field in template["body"] if field["type"] != "markdown"]
        assert len(ids) == len(set(ids)), path
