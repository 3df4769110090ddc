"""Everything that ARCHITECTURE.md names exists, and every part that exists is named."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from docmill.cli.config import references
from tests.support.architecture import PAGE, section
from tests.support.pages import ROOT

TEXT = PAGE.read_text()
#: Folders whose words must follow the glossary.
WORDED = ("worker", "tasks", "schema/functions", "embedded", "docmill/cli", "docmill/mcp", "docs")
#: Words that are not used, each with its pattern.
FORBIDDEN = {
    "parked": r"park(s|ed|ing)?",
    "dead": r"dead",
    "poison": r"poison(s|ed|ing)?",
    "upkeep": r"upkeep",
    "handle": r"handle[sd]?",
    "vectorize": r"vectori[sz](e|es|ed|ing|ation)",
    "indexing": r"indexing",
    "process": r"process(es|ed)? (a|an|the|this|each|every) (document|file|job|upload)",
}
#: Files that use the word because the system or a library does.
ALLOWED = {
    ("supervisor.py", "handle"),  # an object for a child, like a file handle
    ("child_reader.py", "handle"),
    ("stopping.py", "handle"),  # signal handlers
}


def files(*folders: str) -> Iterator[Path]:
    for folder in folders:
        found = (ROOT / folder).rglob("*")
        yield from (path for path in found if path.suffix in (".py", ".sql", ".md"))


def test_the_layout_names_every_folder_below_worker() -> None:
    layout = section(TEXT, "Layout and import rules")
    folders = {path.parent.relative_to(ROOT) for path in files("worker")} - {Path("worker")}
    assert not [folder for folder in sorted(folders) if f"| {folder} |" not in layout]
    named = {Path(name) for name in re.findall(r"^\| (worker/[\w/]+) \|", layout, re.MULTILINE)}
    assert named == folders


def test_the_layout_names_every_module_of_worker() -> None:
    layout = section(TEXT, "Layout and import rules")
    for module in (ROOT / "worker").glob("[a-z]*.py"):
        assert re.search(rf"\b{module.stem}\b", layout), module.name


def test_the_layout_says_every_import_contract_in_words() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = [contract["name"] for contract in settings["tool"]["importlinter"]["contracts"]]
    layout = section(TEXT, "Layout and import rules")
    rows = re.findall(r"^\| (.+?) \| .+ \|$", layout.partition("| contract |")[2], re.MULTILINE)
    assert rows[1:] == contracts


def test_every_file_that_is_named_is_there() -> None:
    folders = "worker|schema|tasks|embedded|docmill|tests|docs"
    for name in re.findall(rf"\b((?:{folders})/[\w/]+\.(?:py|sql|md))\b", TEXT):
        assert (ROOT / name).exists(), name


def test_every_setting_that_is_named_is_one() -> None:
    known = {name for reference in references() for name in reference.variables}
    assert set(re.findall(r"\bDOCMILL_[A-Z_]+", TEXT)) <= known


def test_every_name_of_the_code_is_in_it() -> None:
    code = "\n".join(
        path.read_text()
        for path in files("worker", "tasks", "schema", "embedded", "docmill/cli", "docmill/mcp")
        if path.suffix != ".md"
    )
    words = set(re.findall(r"\w+", code))
    named = re.findall(r"\b[a-z]+(?:_[a-z0-9]+)+\b", "\n".join(re.findall(r"`([^`\n]+)`", TEXT)))
    named += re.findall(r"`([A-Z][a-z]+[A-Z]\w+)", TEXT)
    drawn = TEXT.partition("```text\n")[2].partition("```")[0]
    named += re.findall(r"(?<!/)\b[a-z]+(?:_[a-z0-9]+)+\b(?!\.(?:sql|py))", drawn)
    tests = {"settings_reference", "error_table", "test_access", "test_architecture"}
    assert not set(named) - words - tests


@pytest.mark.parametrize("word", FORBIDDEN)
def test_a_word_that_is_not_used_is_not_used(word: str) -> None:
    assert word in section(TEXT, "Words").partition("Not used:")[2]
    pattern = re.compile(rf"\b{FORBIDDEN[word]}\b", re.IGNORECASE)
    used = {
        path.relative_to(ROOT)
        for path in files(*WORDED)
        if (path.name, word) not in ALLOWED and pattern.search(path.read_text())
    }
    assert not used


def test_no_exception_is_left_over() -> None:
    for name, word in ALLOWED:
        found = [path for path in files(*WORDED) if path.name == name]
        pattern = rf"\b{FORBIDDEN[word]}\b"
        assert any(re.search(pattern, path.read_text(), re.IGNORECASE) for path in found), name


def test_every_word_has_one_meaning() -> None:
    rows = re.findall(r"^\| (.+?) \| .+ \|$", section(TEXT, "Words"), re.MULTILINE)
    assert len(rows) == len(set(rows))


def test_the_page_can_be_read_at_once() -> None:
    assert len(TEXT.splitlines()) <= 400
