"""Looks the versions of constraints.txt up among known vulnerabilities.

    python -m tests.support.audit

It fails at a known vulnerability, and at any other error except one: if the vulnerability service
cannot be reached, for example without a network, it says so and passes.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

CONSTRAINTS: Final = Path(__file__).parents[2] / "constraints.txt"
NOT_REACHED: Final = "not audited: the vulnerability service cannot be reached"
#: Time limits, in seconds.
ANSWER_SECONDS: Final = 5
AUDIT_SECONDS: Final = 120
#: Resolves nothing and starts no pip: it asks about exactly the pinned versions.
COMMAND: Final = (
    *(sys.executable, "-m", "pip_audit", "--no-deps", "--disable-pip", "--format", "json"),
    *("--progress-spinner", "off", "--timeout", str(ANSWER_SECONDS), "--requirement"),
)
#: The last line if nothing answered, or if something other than the service answered.
_NO_ANSWER: Final = re.compile(
    r"requests\.exceptions\.(\w*Connection\w*|\w*Timeout|ProxyError|SSLError)\b"
    r"|pip_audit\._service\.interface\.\w+Error\b"
    r"|Tip: your network may be blocking this service"
)


@dataclass(frozen=True)
class Verdict:
    """The result of an audit."""

    passed: bool
    text: str


def verdict(output: str, errors: str) -> Verdict:
    """Interpret the output of pip-audit. Its exit status does not distinguish its failures."""
    report = _report(output)
    if report is None:
        last = (errors.strip().splitlines() or ["pip-audit said nothing"])[-1]
        if _NO_ANSWER.search(last):
            return Verdict(passed=True, text=NOT_REACHED)
        return Verdict(passed=False, text=f"not audited: {last}")
    unknown = [package["name"] for package in report if "skip_reason" in package]
    if unknown and len(unknown) == len(report):
        # If something else answers, for example a proxy, it knows no package at all.
        return Verdict(passed=True, text=NOT_REACHED)
    findings = [
        f"{package['name']} {package['version']}: {found['id']}, mended in "
        + (", ".join(found["fix_versions"]) or "no version")
        for package in report
        for found in package.get("vulns", [])
    ]
    if findings or not report:
        return Verdict(passed=False, text="\n".join(findings) or "not audited: nothing is pinned")
    # A mirror may know only some packages, and says nothing about the others.
    rest = f"; not known to the service: {', '.join(unknown)}" if unknown else ""
    audited = len(report) - len(unknown)
    return Verdict(passed=True, text=f"audited: no known vulnerability in {audited} packages{rest}")


def _report(output: str) -> list[dict[str, Any]] | None:
    try:
        report: list[dict[str, Any]] = json.loads(output)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return None
    return report


def audit(
    requirements: Path, *, command: Sequence[str] = COMMAND, seconds: float = AUDIT_SECONDS
) -> Verdict:
    """Audit a file of pinned versions, within a time limit."""
    try:
        run = subprocess.run(
            [*command, str(requirements)],
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        return Verdict(passed=True, text=f"{NOT_REACHED} in {seconds:g} s")
    return verdict(run.stdout, run.stderr)


def main() -> int:
    """Audit constraints.txt; the exit status says whether to go on."""
    with tempfile.TemporaryDirectory() as folder:
        # Ask about a few first: if nothing answers, there is no need to ask about the others.
        first = Path(folder, "first.txt")
        first.write_text("\n".join(CONSTRAINTS.read_text().splitlines()[:3]) + "\n")
        found = audit(first)
    if not found.text.startswith(NOT_REACHED):
        found = audit(CONSTRAINTS)
    sys.stdout.write(found.text + "\n")
    return 0 if found.passed else 1


if __name__ == "__main__":
    sys.exit(main())
