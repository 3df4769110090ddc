"""The list of hold reasons, and the places that name them."""

import re
from datetime import timedelta

from docmill.worker.errors import ERROR_CODES, ErrorKind, JobError
from docmill.worker.retry import HOLD_REASONS, Release, RetryPolicy, decide
from tests.schema.actors import Connection, rows, value
from tests.support.hold_table import PAGE, hold_reasons, with_table
from tests.support.pages import ROOT

_MINUTE = timedelta(minutes=1)


def test_the_list_in_the_database_is_the_one_of_the_file(shared: Connection) -> None:
    found = rows(
        shared, "select reason, is_stored, set_when, ends from ingest_private.hold_reasons()"
    )
    assert [tuple(row.values()) for row in found] == [tuple(row) for row in hold_reasons()]


def test_the_constraint_of_jobs_asks_the_list(shared: Connection) -> None:
    for row in hold_reasons():
        stored = value(shared, "select ingest_private.is_hold_reason(%s)", row.reason)
        assert stored == row.is_stored
    (check,) = rows(
        shared,
        "select pg_get_constraintdef(oid) as said from pg_constraint"
        " where conname = 'jobs_hold_reason_check'",
    )
    assert "is_hold_reason(hold_reason)" in check["said"]


def test_every_reason_that_the_worker_gives_is_stored() -> None:
    policy = RetryPolicy(base=_MINUTE, longest=_MINUTE)
    given = set(HOLD_REASONS.values())
    for code, error in ERROR_CODES.items():
        outcome = decide(JobError(code), run=1, policy=policy, jitter=0)
        if error.kind is ErrorKind.CONFIGURATION:
            assert isinstance(outcome, Release)
            given.add(str(outcome.hold_reason))
    assert given <= {row.reason for row in hold_reasons() if row.is_stored}


def test_every_reason_that_sql_names_is_in_the_list() -> None:
    named: set[str] = set()
    for path in (ROOT / "schema" / "functions").glob("*.sql"):
        named |= set(re.findall(r"\b(?:hold_)?reason (?::=|=|<>) '(\w+)'", path.read_text()))
    assert {"paused", "breaker_open", "no_worker"} <= named
    assert named <= {row.reason for row in hold_reasons()}


def test_the_table_of_the_page_is_up_to_date() -> None:
    assert with_table(PAGE.read_text()) == PAGE.read_text()


def test_the_page_for_clients_names_every_reason_that_they_may_read() -> None:
    (line,) = re.findall(
        r"^\| `hold_reason` \| (.+) \|$", (ROOT / "docs" / "clients.md").read_text(), re.MULTILINE
    )
    assert set(re.findall(r"`(\w+)`", line)) == {r.reason for r in hold_reasons() if r.is_stored}
