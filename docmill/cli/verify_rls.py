"""`docmill verify-rls`: try who can read or change other users' data."""

from collections import Counter
from collections.abc import Iterator, Sequence

from docmill.cli.admin import admin_connection
from docmill.cli.context import settings_in_use
from docmill.cli.exit_code import ExitCode
from docmill.cli.output import console, count_of, print_json
from docmill.worker.admin.verify_rls import Finding
from docmill.worker.admin.verify_rls import verify_rls as verify

_STYLES = {"ok": "green", "warning": "yellow", "leak": "bold red"}


def verify_rls(*, as_json: bool) -> int:
    """Try everything; exit code 1 if anything leaks."""
    with admin_connection(settings_in_use()) as connection:
        findings = list(verify(connection))
    if as_json:
        for finding in findings:
            print_json(vars(finding))
    else:
        _print(findings)
    return ExitCode.FAILED if any(f.outcome == "leak" for f in findings) else ExitCode.DONE


def _print(findings: Sequence[Finding]) -> None:
    out = console()
    out.print(f"{'outcome':8} {'check':20} subject, remedy", style="bold")
    for finding in _summary(findings):
        out.print(
            f"{finding.outcome:8} {finding.check:20} {finding.subject}",
            style=_STYLES[finding.outcome],
        )
        for more in (finding.seen, finding.remedy):
            if more:
                out.print(f"{'':29} {more}")
    out.print(_verdict(findings))


def _summary(findings: Sequence[Finding]) -> Iterator[Finding]:
    """One line for each check without problems, and every other finding by itself."""
    well = Counter(finding.check for finding in findings if finding.outcome == "ok")
    for check in dict.fromkeys(finding.check for finding in findings):
        if well[check]:
            yield Finding(check, count_of(well[check], "subject"), "ok")
        for finding in findings:
            if finding.check == check and finding.outcome != "ok":
                yield finding


def _verdict(findings: Sequence[Finding]) -> str:
    counts = Counter(finding.outcome for finding in findings)
    if counts["leak"]:
        return f"\n{count_of(counts['leak'], 'leak')}: somebody can reach other users' data."
    if counts["warning"]:
        return f"\nNo leak; {count_of(counts['warning'], 'warning')} to look at."
    return "\nNobody can reach other users' data."
