"""Guards of the schema, each taken out in turn: a named test must notice.

python -m tests.faults.mutants        # or make mutants; prints a table, fails when one survives
"""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

#: Names the mutant that `tests.faults.mutated` makes of the schema.
VARIABLE: Final = "DOCMILL_MUTANT"


@dataclass(frozen=True)
class Mutant:
    """One guard less."""

    name: str
    file: str  #: of schema/
    old: str
    new: str
    test: str  #: below tests/, fails on the mutant and passes without it

    def apply(self, text: str) -> str:
        """The file without the guard. Raises ValueError when the guard is not there."""
        if self.old not in text:
            raise ValueError(f"{self.file} has no {self.old!r}: bring the mutant up to date")
        return text.replace(self.old, self.new)


_STATES: Final = "schema/test_state_machine.py"
_PUBLISH: Final = "schema/test_publish.py"
_DISPATCH: Final = "schema/test_dispatch.py"
_TRIGGERS: Final = "schema/test_triggers.py"

MUTANTS: Final = (
    Mutant(
        "no fence before staging",
        "functions/046_begin_stage.sql",
        "where job_id = p_job_id and token = p_token for key share",
        "where job_id = p_job_id for key share",
        f"{_STATES}::TestFencing::test_a_run_whose_job_another_has_taken_over_changes_nothing_and_is_told",
    ),
    Mutant(
        "no lease check in publish",
        "functions/048_lock_for_publish.sql",
        "where job_id = p_job_id and token = p_token for update",
        "where job_id = p_job_id for update",
        f"{_STATES}::TestFencing::test_a_wrong_token_changes_nothing_and_is_told",
    ),
    Mutant(
        "no lease check at the end of a run",
        "functions/052_lock_run.sql",
        "where job_id = p_job_id and token = p_token for update",
        "where job_id = p_job_id for update",
        f"{_STATES}::TestFencing::test_a_wrong_token_changes_nothing_and_is_told",
    ),
    Mutant(
        "no document lock in publish",
        "functions/048_lock_for_publish.sql",
        "where id = p_document_id for no key update",
        "where id = p_document_id",
        f"{_PUBLISH}::TestLongPublish::test_and_a_sync_of_its_document_do_not_wait_in_a_circle",
    ),
    Mutant(
        "no version check in publish",
        "functions/048_lock_for_publish.sql",
        "if v_document.storage_version <> v_job.storage_version\n       or",
        "if",
        f"{_PUBLISH}::TestRefusal"
        "::test_where_the_document_has_moved_on_while_the_job_still_runs_is_superseded",
    ),
    Mutant(
        "no owner check in publish",
        "functions/048_lock_for_publish.sql",
        "(v_document.owner_id, v_document.access) is distinct from (p_owner_id, p_access)",
        "false",
        f"{_PUBLISH}::TestLongPublish::test_is_not_for_an_owner_that_only_the_document_has_changed",
    ),
    Mutant(
        "no count of chunks in publish",
        "functions/050_publish_document.sql",
        "if v_count is distinct from cardinality(p_hashes) then",
        "if false then",
        f"{_PUBLISH}::TestRefusal::test_of_a_chunk_that_is_neither_staged_nor_live_changes_nothing",
    ),
    Mutant(
        "no crash bound",
        "functions/061_rescue_jobs.sql",
        "if v_entry.isolated_crashes >= 2 then",
        "if false then",
        f"{_STATES}::TestRescue::test_after_two_deaths_alone_the_job_is_parked_with_its_document",
    ),
    Mutant(
        "no second look at an expired lease",
        "functions/061_rescue_jobs.sql",
        "where job_id = v_job_id and expires_at < clock_timestamp() for update skip locked",
        "where job_id = v_job_id for update skip locked",
        f"{_STATES}::TestRescue::test_leaves_a_lease_alone_that_was_renewed_since_it_was_listed",
    ),
    Mutant(
        "no sweep of expired leases",
        "functions/061_rescue_jobs.sql",
        "select job_id from ingest_private.leases\n         where expires_at",
        "select job_id from ingest_private.leases\n         where false and expires_at",
        f"{_STATES}::TestRescue::test_after_a_first_crash_the_job_runs_alone",
    ),
    Mutant(
        "no re-send of hints",
        "functions/041_promote_due_jobs.sql",
        "where phase in ('waiting', 'dispatched') and due_at <=",
        "where phase = 'waiting' and due_at <=",
        f"{_DISPATCH}::TestHints::test_that_are_lost_come_back",
    ),
    Mutant(
        "no turn-taking of dispatchers",
        "functions/040_take_ready_jobs.sql",
        "perform pg_advisory_xact_lock(hashtext('ingest_private.take_ready_jobs'));",
        "",
        f"{_DISPATCH}::TestWindow::test_of_two_calls_at_once_is_filled_once",
    ),
    Mutant(
        "no SKIP LOCKED in renew",
        "functions/043_renew_leases.sql",
        "for update of lease skip locked",
        "for update of lease",
        f"{_STATES}::TestHeartbeat::test_skips_a_lease_that_a_publish_holds",
    ),
    Mutant(
        "no lock before progress is written",
        "functions/045_report_progress.sql",
        "perform from ingest.jobs where id = p_job_id and state = 'running' for no key update;",
        "",
        f"{_STATES}::TestFencing"
        "::test_progress_that_waited_for_a_rescue_is_not_written_into_the_next_run",
    ),
    Mutant(
        "no running alone after a crash",
        "functions/042_claim_job.sql",
        "and entry.isolated = p_isolated",
        "",
        f"{_STATES}::TestClaim::test_of_a_job_that_must_run_alone_is_for_the_isolated_worker",
    ),
    Mutant(
        "no unique active job",
        "migrations/0002_documents_and_jobs.sql",
        "create unique index jobs_one_active",
        "create index jobs_one_active",
        f"{_STATES}::TestActiveJobs::test_of_one_document_and_index_version_there_is_one",
    ),
    Mutant(
        "no final states",
        "migrations/0004_machinery.sql",
        "when (old.finished_at is not null and new.state is distinct from old.state)",
        "when (false)",
        "schema/test_constraints.py::TestFinalStates::test_absorb",
    ),
    Mutant(
        "no lock_timeout in the triggers",
        "functions/032_storage_triggers.sql",
        "set search_path = pg_catalog, pg_temp set lock_timeout = '200ms'",
        "set search_path = pg_catalog, pg_temp",
        f"{_TRIGGERS}::TestWhatIsInUse::test_an_upload_commits_whatever_is_locked",
    ),
    Mutant(
        "no net under the triggers",
        "functions/032_storage_triggers.sql",
        "perform ingest_private.note_pending(array[new.id], sqlstate);",
        "raise;",
        f"{_TRIGGERS}::TestWhatIsBroken::test_an_upload_an_overwrite_a_move_and_a_delete_succeed",
    ),
    Mutant(
        "no lock on the documents of a sync",
        "functions/030_sync_objects.sql",
        "order by id for no key update);",
        "order by id);",
        f"{_TRIGGERS}::TestRaces"
        "::test_a_version_that_commits_between_two_looks_at_storage_is_not_lost",
    ),
)


def _run(*tests: str, mutant: str = "") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-x", "-p", "tests.faults.mutated"),
            *("-p", "no:cacheprovider", *(f"tests/{test}" for test in tests)),
        ],
        env=os.environ | {VARIABLE: mutant},
        capture_output=True,
        text=True,
        check=False,
    )


def _fate(mutant: Mutant) -> str:
    done = _run(mutant.test, mutant=mutant.name)
    last = done.stdout.strip().splitlines()[-1] if done.stdout.strip() else done.stderr[-200:]
    if done.returncode == 0:
        return "SURVIVED"
    # An error is not a failure: the schema could not even be applied, or the test is not there.
    return "killed" if "1 failed" in last else f"BROKEN: {last}"


def main(names: list[str]) -> int:
    """Try all mutants, or those named; returns how many were not killed."""
    started = time.monotonic()
    sound = _run(*dict.fromkeys(mutant.test for mutant in MUTANTS))
    if sound.returncode != 0:
        print(sound.stdout[-3000:], "\nthe tests must pass without a mutant", sep="")
        return len(MUTANTS)
    print("| guard taken out | test | fate |\n| --- | --- | --- |")
    alive = 0
    chosen = [mutant for mutant in MUTANTS if mutant.name in names] if names else MUTANTS
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for mutant, fate in zip(chosen, pool.map(_fate, chosen), strict=True):
            alive += fate != "killed"
            print(f"| {mutant.name} | {mutant.test.rpartition('::')[2]} | {fate} |", flush=True)
    print(f"{len(chosen) - alive} of {len(chosen)} killed in {time.monotonic() - started:.0f} s")
    return alive


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
