"""The verdict about an audit of the pinned versions."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.audit import NOT_REACHED, Verdict, audit, verdict

CLEAN = {"name": "one", "version": "1.0", "vulns": []}
VULNERABLE = {
    "name": "two",
    "version": "2.0",
    "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.1"], "aliases": [], "description": "x"}],
}
UNMENDED = {
    "name": "three",
    "version": "3.0",
    "vulns": [{"id": "PYSEC-2", "fix_versions": [], "aliases": [], "description": "x"}],
}
UNKNOWN = {"name": "four", "skip_reason": "not found"}


def report(*packages: dict[str, Any]) -> str:
    return json.dumps({"dependencies": packages, "fixes": []})


def test_without_a_finding_it_passes_and_says_how_much_it_saw() -> None:
    assert verdict(report(CLEAN, CLEAN), "No known vulnerabilities found") == Verdict(
        passed=True, text="audited: no known vulnerability in 2 packages"
    )


def test_known_vulnerabilities_fail_and_are_named() -> None:
    found = verdict(report(CLEAN, VULNERABLE, UNMENDED), "Found 2 known vulnerabilities")
    assert not found.passed
    assert found.text.splitlines() == [
        "two 2.0: PYSEC-1, mended in 2.1",
        "three 3.0: PYSEC-2, mended in no version",
    ]


@pytest.mark.parametrize(
    "last",
    [
        "requests.exceptions.ConnectionError: Max retries exceeded (Failed to resolve)",
        "requests.exceptions.ConnectTimeout: timed out",
        "requests.exceptions.ReadTimeout: Read timed out. (read timeout=5)",
        "requests.exceptions.ProxyError: Cannot connect to proxy",
        "pip_audit._service.interface.ServiceError",
        "ERROR:pip_audit._cli:Tip: your network may be blocking this service. Try another",
    ],
)
def test_without_an_answer_it_passes_and_says_so(last: str) -> None:
    found = verdict("", f"Traceback (most recent call last):\n  ...\n{last}\n")
    assert found == Verdict(passed=True, text=NOT_REACHED)


def test_an_answer_that_knows_no_package_is_not_the_services() -> None:
    assert verdict(report(UNKNOWN, UNKNOWN), "") == Verdict(passed=True, text=NOT_REACHED)


def test_packages_that_a_service_does_not_know_are_named() -> None:
    found = verdict(report(CLEAN, UNKNOWN), "")
    text = "audited: no known vulnerability in 1 packages; not known to the service: four"
    assert found == Verdict(passed=True, text=text)
    assert not verdict(report(VULNERABLE, UNKNOWN), "").passed


@pytest.mark.parametrize(
    ("output", "errors", "text"),
    [
        ("", "ERROR:pip_audit._cli:requirement one is not pinned\n", "is not pinned"),
        ("", "/venv/bin/python: No module named pip_audit\n", "No module named pip_audit"),
        ("", "requests.exceptions.ConnectionError: x\nValueError: y\n", "ValueError: y"),
        ("", "", "pip-audit said nothing"),
        ("{}", "MemoryError\n", "MemoryError"),
        (report(), "", "nothing is pinned"),
    ],
)
def test_whatever_else_goes_wrong_fails(output: str, errors: str, text: str) -> None:
    found = verdict(output, errors)
    assert not found.passed
    assert text in found.text


def test_it_waits_no_longer_than_it_may() -> None:
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    found = audit(Path("any"), command=command, seconds=0.5)
    assert found == Verdict(passed=True, text=f"{NOT_REACHED} in 0.5 s")


def test_pip_audit_itself_refuses_what_is_not_pinned(tmp_path: Path) -> None:
    """pip-audit is installed and called correctly, and its failure does not count as silence."""
    path = tmp_path / "requirements.txt"
    path.write_text("anything>=1\n")
    found = audit(path)
    assert not found.passed
    assert "anything" in found.text
