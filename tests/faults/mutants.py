"""Removes each guard of the schema and of the worker in turn: a named test must notice.

python -m tests.faults.mutants # or make mutants; prints a table, fails when one survives
"""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType
from typing import Final

#: The environment variable that names the mutant for `tests.faults.mutated`.
VARIABLE: Final = "DOCMILL_MUTANT"


@dataclass(frozen=True)
class Mutant:
    """The schema, or a module of the worker, without one guard."""

    name: str
    file: str  #: in schema/, or a module in worker/
    old: str
    new: str
    test: str  #: below tests/; it fails on the mutant and passes without it

    def apply(self, text: str) -> str:
        """The file without the guard. Raises ValueError if the guard is not in the file."""
        if self.old not in text:
            raise ValueError(f"{self.file} has no {self.old!r}: bring the mutant up to date")
        return text.replace(self.old, self.new)


class _MutatedLoader(SourceFileLoader):
    """Loads a module without its guard, and leaves no compiled file of it."""

    def __init__(self, name: str, path: str, mutant: Mutant) -> None:
        super().__init__(name, path)
        self._mutant = mutant

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        return self.source_to_code(self._mutant.apply(Path(path).read_text()).encode(), path)


class _MutatedFinder(MetaPathFinder):
    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant
        self._module = "docmill." + mutant.file.removesuffix(".py").replace("/", ".")

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self._module:
            return None
        found = PathFinder.find_spec(fullname, path, target)
        assert found is not None
        assert found.origin is not None
        return spec_from_file_location(
            fullname,
            found.origin,
            loader=_MutatedLoader(fullname, found.origin, self._mutant),
        )


def mutate_module(name: str) -> None:
    """In this process, a module that is imported from here on has the mutant of this name."""
    sys.meta_path.insert(0, _MutatedFinder(mutant_named(name)))


def mutant_named(name: str) -> Mutant:
    """The mutant of a name."""
    return next(mutant for mutant in MUTANTS if mutant.name == name)


_STATES: Final = "schema/test_state_machine.py"
_PUBLISH: Final = "schema/test_publish.py"
_DISPATCH: Final = "schema/test_dispatch.py"
_TRIGGERS: Final = "schema/test_triggers.py"
_QUARANTINE: Final = "schema/test_quarantine.py"
_WITHDRAWN: Final = "schema/test_withdrawn.py"
_HYBRID: Final = "schema/test_hybrid_search.py"
_TITLES: Final = "schema/test_titles.py"
_SHARED: Final = "schema/test_shared_documents.py"
_MATCH: Final = "schema/test_match_documents.py"
_FACETS: Final = "schema/test_facets_and_similar.py"
_HISTORIES: Final = (
    "schema/test_histories.py::test_everybody_finds_what_the_state_of_storage_allows"
)
_HOPELESS: Final = "schema/test_hopeless.py::test_the_rule_is_the_one_that_is_documented"

_RECALL: Final = "schema/test_recall.py"
_PLANS: Final = "schema/test_plans.py"

_ASKING: Final = "schema/test_asking.py"
_PLACES: Final = "schema/test_places.py"
_GATE: Final = "unit/test_fair_gate.py"
_TURNS: Final = "unit/extraction/test_turns.py"
_BATCHER: Final = "unit/test_batcher.py"
_OUTAGE: Final = "unit/test_outage.py"
_PROVIDERS: Final = "contract/test_providers.py"
_STORAGE: Final = "contract/test_storage_client.py"
_STAGER: Final = "schema/test_stager.py"
_TROUBLES: Final = "schema/test_troubles.py"
_TOGETHER: Final = "schema/test_faults_together.py::test_whatever_fails_together_is_told_as_it_is"
_SERVING: Final = "integration/test_serving.py"
_ATTACKS: Final = "integration/extraction/test_attacks.py"
_GUARD: Final = "integration/extraction/test_guard.py"
_RACES: Final = "schema/test_reindex_races.py"
_SAMPLES: Final = "schema/test_samples.py"
_SPARE: Final = "((Condition(0, 0, 0),),)"  # a rule that every call fits
_REINDEX: Final = "schema/test_reindex.py"

MUTANTS: Final = (
    Mutant(
        "no dual write",
        "functions/049_finish_publish.sql",
        "perform ingest_private.enqueue_for_others(v_job);",
        "null;",
        f"{_REINDEX}::TestDualWrites::test_what_is_published_goes_to_every_version_that_is_filled",
    ),
    Mutant(
        "a version is filled with what it has",
        "functions/037_fill_index_versions.sql",
        "document.id = v_id and ingest_private.lacks(p_version.id, document)",
        "document.id = v_id",
        f"{_REINDEX}::TestFilling::test_makes_so_many_jobs_at_a_time_and_none_twice",
    ),
    Mutant(
        "a version with gaps becomes active",
        "functions/082_activate_index_version.sql",
        "if not p_anyway and (case",
        "if false and (case",
        f"{_REINDEX}::TestActivation::test_looks_again_at_what_was_published_since_it_looked",
    ),
    Mutant(
        "a version becomes active in the middle of a publish",
        "functions/048_lock_for_publish.sql",
        "perform pg_advisory_xact_lock_shared(hashtext('ingest_private.activate_index_version'));",
        "",
        f"{_REINDEX}::TestActivation::test_waits_for_a_publish_that_has_begun",
    ),
    Mutant(
        "a publish does not ask whether another version is being made active",
        "functions/048_lock_for_publish.sql",
        "if v_job.kind = 'ingest' and ingest_private.activating_until(",
        "if false and ingest_private.activating_until(",
        f"{_RACES}::TestFlipsInARow::test_what_is_held_is_told_and_goes_on",
    ),
    Mutant(
        "what fills the other version is held as well",
        "functions/014_holds.sql",
        "where job.id = p_job_id and job.kind = 'ingest'",
        "where job.id = p_job_id",
        f"{_RACES}::TestFlipsInARow::test_what_is_held_is_told_and_goes_on",
    ),
    Mutant(
        "a claim does not ask whether another version is being made active",
        "functions/014_holds.sql",
        "case when until is not null then 'activating' end",
        "null",
        f"{_RACES}::TestFlipsInARow::test_what_is_held_is_told_and_goes_on",
    ),
    Mutant(
        "publishes are held for as long as a command asks",
        "functions/015_activating.sql",
        "least(p_longest, interval '30 s')",
        "p_longest",
        f"{_RACES}::TestFlipsInARow::test_what_is_held_is_told_and_goes_on",
    ),
    Mutant(
        "what was held waits on",
        "functions/015_activating.sql",
        "set phase = 'ready', due_at = null,",
        "set phase = 'waiting',",
        f"{_RACES}::TestFlipsInARow::test_what_is_held_is_told_and_goes_on",
    ),
    Mutant(
        "a hold outlives its command",
        "functions/015_activating.sql",
        "and (value ->> 'until')::timestamptz > clock_timestamp()",
        "",
        f"{_RACES}::TestFlipsInARow::test_a_hold_whose_command_died_ends_by_itself",
    ),
    Mutant(
        "a sample asks the index for the truth",
        "functions/063_samples.sql",
        "select array_agg(nearest.distance order by nearest.distance) into v_nearest",
        "v_nearest := v_found; perform array_agg(nearest.distance)",
        f"{_SAMPLES}::TestRecall::test_the_share_is_that_of_an_exact_comparison",
    ),
    Mutant(
        "a sample compares all that the largest owner has",
        "functions/063_samples.sql",
        "or v_chunks > p_most",
        "",
        f"{_SAMPLES}::TestRecall::test_an_owner_with_too_many_chunks_is_left_out",
    ),
    Mutant(
        "deleted rows count as rows",
        "functions/063_samples.sql",
        "where gone > alive and bytes >= p_least",
        "where false",
        f"{_SAMPLES}::TestBloat::test_rows_that_are_deleted_are_vacuumed",
    ),
    Mutant(
        "the words of every text are made again",
        "functions/094_follow_chunks.sql",
        "and added.index_version <> v_active\n               cross join",
        "and false\n               cross join",
        f"{_REINDEX}::TestBeginningWithTheActiveVersion::test_words_of_equal_texts_are_taken_and_not_made",
    ),
    Mutant(
        "words that are taken name no owner",
        "functions/094_follow_chunks.sql",
        "when added.owner_id is null then known.lexemes",
        "when true then known.lexemes",
        f"{_REINDEX}::TestBeginningWithTheActiveVersion::test_words_are_those_that_would_be_made",
    ),
    Mutant(
        "words are taken with the title of another place",
        "functions/094_follow_chunks.sql",
        "and position.index_version = p_index_version and position.ordinal = 0))",
        "and position.index_version = p_index_version and false))",
        f"{_REINDEX}::TestBeginningWithTheActiveVersion::test_words_are_those_that_would_be_made",
    ),
    Mutant(
        "whoever has an owner's row is waited for",
        "functions/053_record_spend.sql",
        "for no key update skip locked;",
        "for no key update;",
        "schema/test_budgets.py::TestSpend::test_at_the_same_time_waits_for_nobody_and_is_settled_by_the_next",
    ),
    Mutant(
        "what is unsettled counts for no budget",
        "functions/013_budgets.sql",
        "where entry.owner_id = p_owner_id and entry.day",
        "where false and entry.day",
        "schema/test_budgets.py::TestSpend::test_that_is_unsettled_counts_for_budgets_and_is_listed",
    ),
    Mutant(
        "a version that is being filled answers",
        "functions/088_search_parts.sql",
        "version.state in ('active', 'retired')",
        "true",
        f"{_REINDEX}::TestActivation::test_answers_from_the_other_version_at_once_and_back",
    ),
    Mutant(
        "reindexing is what clients wait for",
        "functions/022_enqueue_job.sql",
        "where id = p_document_id and p_kind <> 'reindex'",
        "where id = p_document_id",
        f"{_REINDEX}::TestActivation::test_anyway_fills_afterwards_what_was_missing",
    ),
    Mutant(
        "jobs of a version are made twice",
        "functions/037_fill_index_versions.sql",
        "and job.index_version = p_version.id\n"
        "                              and job.state in ('queued', 'running'))",
        "and false)",
        f"{_REINDEX}::TestFilling::test_makes_so_many_jobs_at_a_time_and_none_twice",
    ),
    Mutant(
        "a retired version answers for another model",
        "functions/088_search_parts.sql",
        "else version.model = p_model and version.state",
        "else version.state",
        f"{_REINDEX}::TestActivation::test_each_model_is_answered_from_its_own_version",
    ),
    Mutant(
        "reindexing touches the status of documents",
        "functions/049_finish_publish.sql",
        "    if v_is_active then\n        update ingest.documents",
        "    if true then\n        update ingest.documents",
        f"{_REINDEX}::TestFilling::test_a_run_changes_nothing_of_the_document_while_it_lasts",
    ),
    Mutant(
        "what failed for a version is tried for ever",
        "functions/037_fill_index_versions.sql",
        "and not ingest_private.is_given_up(p_version.id, document, v_offers)",
        "",
        f"{_REINDEX}::TestWhatFailed::test_is_not_tried_again_even_after_its_job_was_pruned",
    ),
    Mutant(
        "what failed for a version is never tried by who reads better",
        "functions/039_readings.sql",
        "and not ingest_private.as_good(noted.tried, offer))",
        "and false)",
        f"{_REINDEX}::TestWhatFailed::test_is_tried_again_by_who_reads_better",
    ),
    Mutant(
        "a version that was active is cancelled",
        "functions/082_activate_index_version.sql",
        "state = any(p_states) and state <> 'active'",
        "state <> 'active'",
        f"{_REINDEX}::TestEnding::test_only_a_version_that_never_was_active_is_cancelled",
    ),
    Mutant(
        "an active version ends at the time of a retired one",
        "functions/082_activate_index_version.sql",
        "where version.state = 'retired' and version.drop_at <= clock_timestamp()",
        "where version.drop_at is null or version.drop_at <= clock_timestamp()",
        f"{_REINDEX}::TestEnding::test_one_that_is_active_again_has_no_end",
    ),
    Mutant(
        "what an active version lacks waits behind all uploads",
        "functions/037_fill_index_versions.sql",
        "case when p_version.state = 'active' or p_version.is_hurried then 5 else 9",
        "case when false then 5 else 9",
        f"{_REINDEX}::TestHurrying::test_what_was_missing_when_it_became_active_goes_like_uploads",
    ),
    Mutant(
        "a worker runs jobs whose key it lacks",
        "functions/042_claim_job.sql",
        "and not ingest_private.serves(worker.providers, target)",
        "and false",
        f"{_REINDEX}::TestProviders::test_a_worker_runs_jobs_of_the_providers_whose_keys_it_has",
    ),
    Mutant(
        "a refused key stops every provider",
        "functions/039_lanes.sql",
        "where breaker.provider in ('', served.provider)",
        "where true",
        f"{_REINDEX}::TestProviders::test_a_key_that_is_refused_stops_its_own_provider",
    ),
    Mutant(
        "uploads starve reindexing",
        "functions/040_take_ready_jobs.sql",
        "then ceil(v_lane.slots / 20.0) - v_lane.reindexing else 0 end",
        "then 0 else 0 end",
        f"{_REINDEX}::TestLanes::test_reindexing_has_a_twentieth_beside_uploads",
    ),
    Mutant(
        "a conversation takes questions of others",
        "functions/100_conversations.sql",
        "known.id = ask_question.conversation_id and known.owner_id = v_sub",
        "known.id = ask_question.conversation_id",
        f"{_ASKING}::TestConversations::test_are_not_others",
    ),
    Mutant(
        "a question takes answers of others",
        "functions/100_conversations.sql",
        "asked.id = record_answer.message_id and asked.owner_id = v_sub",
        "asked.id = record_answer.message_id",
        f"{_ASKING}::TestConversations::test_are_not_others",
    ),
    Mutant(
        "questions are not counted",
        "functions/100_conversations.sql",
        "perform ingest_private.count_asked(v_sub, 'question');",
        "",
        f"{_ASKING}::TestLimit::test_of_a_minute_tells_when_to_come_back",
    ),
    Mutant(
        "everybody reads all messages",
        "policies/010_rls.sql",
        "create policy messages_select on ingest.messages for select to authenticated\n"
        "    using (owner_id = ((select auth.jwt()) ->> 'sub'))",
        "create policy messages_select on ingest.messages for select to authenticated\n"
        "    using (true)",
        f"{_ASKING}::TestConversations::test_are_not_others",
    ),
    Mutant(
        "sources of what was withdrawn",
        "functions/100_conversations.sql",
        "and found.id <> all(v_withdrawn)",
        "",
        f"{_ASKING}::TestSources::test_that_a_pending_event_hides_are_gone",
    ),
    Mutant(
        "candidates of every owner",
        "functions/089_nearest_chunks.sql",
        "else 'owner_id = $3' end",
        "else 'true' end",
        f"{_RECALL}::TestEveryCollection::test_yields_the_nearest_of_all_that_a_caller_may_read",
    ),
    Mutant(
        "nobody may not see everything",
        "functions/089_nearest_chunks.sql",
        "not pg_catalog.row_security_active('ingest.chunks')",
        "true",
        "schema/test_search.py::TestHostileCallers::test_find_nothing_by_a_direct_call",
    ),
    Mutant(
        "few candidates are enough everywhere",
        "functions/089_nearest_chunks.sql",
        "or v_farthest < p_distances[v_tried / 2]",
        "or true",
        f"{_RECALL}::TestEveryCollection::test_yields_the_nearest_of_all_that_a_caller_may_read",
    ),
    Mutant(
        "what was withdrawn takes the place of others",
        "functions/089_nearest_chunks.sql",
        "when cardinality(p_withdrawn) > 0",
        "when false",
        f"{_RECALL}::TestSearch::test_passes_over_what_was_withdrawn_and_sees_what_replaced_it",
    ),
    Mutant(
        "sketches are read before they are all there",
        "functions/094_follow_chunks.sql",
        "and fill.completed_at is not null",
        "",
        f"{_RECALL}::TestSearch::test_is_right_before_while_and_after_sketches_are_filled",
    ),
    Mutant(
        "sketches outlive their chunks",
        "functions/094_follow_chunks.sql",
        "where document_id = v_gone.document_id and",
        "where false and",
        f"{_RECALL}::TestSearch::test_passes_over_what_was_withdrawn_and_sees_what_replaced_it",
    ),
    Mutant(
        "a publish joins by nested loops",
        "functions/050_publish_document.sql",
        "set enable_nestloop = off set enable_seqscan = off",
        "set enable_seqscan = off",
        f"{_PLANS}::TestPublish::test_compares_no_chunk_with_every_other",
    ),
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
        "set search_path = pg_catalog, pg_temp set lock_timeout = '5ms'",
        "set search_path = pg_catalog, pg_temp",
        f"{_TRIGGERS}::TestWhatIsInUse::test_an_upload_commits_whatever_is_locked",
    ),
    Mutant(
        "no net under the triggers",
        "functions/032_storage_triggers.sql",
        "perform ingest_private.note_unsynced(\n            new.id,",
        "raise; perform ingest_private.note_unsynced(\n            new.id,",
        f"{_TRIGGERS}::TestWhatIsBroken::test_an_upload_an_overwrite_a_move_and_a_delete_succeed",
    ),
    Mutant(
        "no lease for spend",
        "functions/053_record_spend.sql",
        "exists (select from ingest_private.leases as lease where lease.job_id = p_job_id)",
        "true",
        f"{_STATES}::TestSpend::test_books_nothing_without_a_lease_and_takes_nothing_back",
    ),
    Mutant(
        "spend below zero",
        "functions/053_record_spend.sql",
        "p_tokens >= 0 and p_usd >= 0",
        "true",
        f"{_STATES}::TestSpend::test_books_nothing_without_a_lease_and_takes_nothing_back",
    ),
    Mutant(
        "a backlog that ages as a whole",
        "functions/041_promote_due_jobs.sql",
        "and entry.lifted limit 1",
        "and false limit 1",
        f"{_DISPATCH}::TestAging::test_of_a_backlog_one_job_of_each_owner_moves_up_at_a_time",
    ),
    Mutant(
        "hopeless after four runs",
        "functions/059_is_hopeless.sql",
        "c_runs constant integer := 5",
        "c_runs constant integer := 4",
        _HOPELESS,
    ),
    Mutant(
        "hopeless at once",
        "functions/059_is_hopeless.sql",
        "v_since > clock_timestamp() - c_patience",
        "false",
        _HOPELESS,
    ),
    Mutant(
        "hopeless in an outage",
        "functions/059_is_hopeless.sql",
        "and v_served >= c_served * v_tries",
        "",
        _HOPELESS,
    ),
    Mutant(
        "hopeless without a comparison",
        "functions/059_is_hopeless.sql",
        "return v_tries >= c_tries and",
        "return",
        _HOPELESS,
    ),
    Mutant(
        "hopeless in spite of progress",
        "functions/059_is_hopeless.sql",
        "staged.staged_at > v_since",
        "false",
        _HOPELESS,
    ),
    Mutant(
        "hopeless by runs before another end",
        "functions/059_is_hopeless.sql",
        "where newest.id > coalesce((select max(id) from newest where not met_it), 0)",
        "where met_it",
        _HOPELESS,
    ),
    Mutant(
        "a quarantine that lasts",
        "functions/051_publish_unchanged.sql",
        "exists (select from ingest_private.quarantine",
        "false and exists (select from ingest_private.quarantine",
        f"{_QUARANTINE}::test_its_owner_may_have_it_tried_again_and_then_it_is_read_anew",
    ),
    Mutant(
        "a quarantine that grows",
        "functions/049_finish_publish.sql",
        "delete from ingest_private.quarantine\n     where document_id = v_job.document_id",
        "delete from ingest_private.quarantine\n     where false",
        f"{_QUARANTINE}::test_each_publish_says_what_it_goes_without",
    ),
    Mutant(
        "no retry of a quarantine",
        "functions/056_retry_job.sql",
        "v_document.quarantined_chunks = 0",
        "true",
        f"{_QUARANTINE}::test_its_owner_may_have_it_tried_again_and_then_it_is_read_anew",
    ),
    Mutant(
        "no lock on the documents of a sync",
        "functions/030_sync_objects.sql",
        "order by id for no key update);",
        "order by id);",
        f"{_TRIGGERS}::TestRaces"
        "::test_a_version_that_commits_between_two_looks_at_storage_is_not_lost",
    ),
    Mutant(
        "chunks that were withdrawn are read",
        "policies/010_rls.sql",
        "and document_id not in (select ingest_private.withdrawn_of_caller())",
        "",
        _HISTORIES,
    ),
    Mutant(
        "documents that a pending event hides are read",
        "policies/010_rls.sql",
        "and id not in (select ingest_private.withdrawn_of_caller())",
        "",
        f"{_WITHDRAWN}::TestWhatIsHidden"
        "::test_anything_else_does_and_the_service_role_does_not_find_it_either",
    ),
    Mutant(
        "the service role finds what was withdrawn",
        "functions/089_nearest_chunks.sql",
        "array(select ingest.withdrawn_documents())",
        "array(select ingest.withdrawn_documents() limit 0)",
        f"{_WITHDRAWN}::TestWhatIsHidden"
        "::test_anything_else_does_and_the_service_role_does_not_find_it_either",
    ),
    Mutant(
        "shared chunks that were withdrawn are found",
        "functions/027_withdrawn_of_caller.sql",
        "where gone.access = 'inherit'",
        "where false",
        _HISTORIES,
    ),
    Mutant(
        "no pending event hides anything",
        "functions/032_storage_triggers.sql",
        "select unnest(p_object_ids), p_reason, p_hides;",
        "select unnest(p_object_ids), p_reason, false;",
        _HISTORIES,
    ),
    Mutant(
        "a change of owner without a new version is not seen",
        "policies/030_storage_triggers.sql",
        "'{metadata,user_metadata,updated_at,last_accessed_at}'",
        "'{metadata,user_metadata,updated_at,last_accessed_at,owner_id}'",
        _HISTORIES,
    ),
    Mutant(
        "nobody takes over embeddings",
        "functions/024_withdraw_documents.sql",
        "where exists (select from ingest.chunks where document_id = p_former_id)",
        "where false and exists (select from ingest.chunks where document_id = p_former_id)",
        f"{_WITHDRAWN}::TestTheNextVersion"
        "::test_of_one_that_went_from_hand_to_hand_pays_for_nothing_twice",
    ),
    Mutant(
        "the drain keeps no embeddings",
        "functions/035_drain_withdrawn.sql",
        "where document.id = former.document_id) into v_is_kept",
        "where document.id = former.document_id and false) into v_is_kept",
        _HISTORIES,
    ),
    Mutant(
        "an earlier event is forgotten when another is to hide",
        "functions/032_storage_triggers.sql",
        "where event.object_id = p_object_id and event.hides)",
        "where false)",
        f"{_WITHDRAWN}::TestWhatIsHidden"
        "::test_what_goes_back_to_its_owner_is_hidden_while_an_earlier_event_hides_it",
    ),
    Mutant(
        "what the object was is not looked at when an event is to hide",
        "functions/032_storage_triggers.sql",
        "p_old ->> 'name'),\n                          former.access))",
        "p_old ->> 'name'),\n                          former.access) or true)",
        f"{_WITHDRAWN}::TestWhatIsHidden::test_what_is_not_yet_its_documents_is_hidden",
    ),
    Mutant(
        "the drain does not ask who still writes",
        "functions/035_drain_withdrawn.sql",
        "if ingest_private.end_free_jobs(array[v_document_id]) = 0 then",
        "perform ingest_private.end_free_jobs(array[v_document_id]); if true then",
        f"{_WITHDRAWN}::TestDrain::test_leaves_what_somebody_still_writes_for",
    ),
    Mutant(
        "a lease in use is waited for",
        "functions/024_withdraw_documents.sql",
        "and (job.state = 'queued' or job.id = any(v_leased))",
        "",
        f"{_WITHDRAWN}::TestDrain::test_leaves_what_somebody_still_writes_for",
    ),
    Mutant(
        "no claim looks whether the document is gone",
        "functions/042_claim_job.sql",
        "v_is_gone := not found;",
        "v_is_gone := false;",
        f"{_WITHDRAWN}::TestDrain::test_a_vanished_worker_of_what_was_withdrawn_is_no_obstacle",
    ),
    Mutant(
        "a time-out ends the drain of all events",
        "functions/033_drain_pending_events.sql",
        "when query_canceled then",
        "when division_by_zero then",
        f"{_WITHDRAWN}::TestPendingEvents"
        "::test_one_that_runs_into_the_time_out_goes_behind_all_others",
    ),
    Mutant(
        "what is taken over is pruned",
        "functions/071_prune.sql",
        "where former.former_id = old.document_id",
        "where false",
        f"{_WITHDRAWN}::TestTheNextVersion::test_a_prune_leaves_what_a_waiting_job_takes_over",
    ),
    Mutant(
        "triggers wait for locks",
        "functions/032_storage_triggers.sql",
        "set lock_timeout = '5ms'",
        "set lock_timeout = '5s'",
        f"{_WITHDRAWN}::TestStoragesTransaction::test_waits_for_nothing_longer_than_its_bound",
    ),
    Mutant(
        "match_documents passes over its filter of documents",
        "functions/098_match_documents.sql",
        "@> v_of_documents",
        "@> v_of_chunks",
        f"{_MATCH}::TestFilter::test_leaves_what_the_returned_metadata_contain",
    ),
    Mutant(
        "match_documents passes over its filter of passages",
        "functions/098_match_documents.sql",
        "               @> p_filter",
        "               is not null",
        f"{_MATCH}::TestFilter::test_leaves_what_the_returned_metadata_contain",
    ),
    Mutant(
        "passages of anybody are looked at for a filter",
        "functions/098_match_documents.sql",
        "security invoker rows 50",
        "security definer rows 50",
        f"{_MATCH}::TestNobodyElses::test_chunks_are_looked_at_for_a_filter",
    ),
    Mutant(
        "one of several models is guessed",
        "functions/098_match_documents.sql",
        "if cardinality(v_models) > 1 then",
        "if false then",
        f"{_MATCH}::TestIndexVersions::test_of_several_models_of_a_width_one_has_to_be_named",
    ),
    Mutant(
        "facets of everybody's passages",
        "functions/099_facets_and_similar.sql",
        "language plpgsql stable security invoker rows 20",
        "language plpgsql stable security definer rows 20",
        f"{_FACETS}::TestFacets::test_are_of_what_the_caller_may_read",
    ),
    Mutant(
        "similar to a document of another's",
        "functions/099_facets_and_similar.sql",
        "language plpgsql stable security invoker rows 10",
        "language plpgsql stable security definer rows 10",
        f"{_FACETS}::TestSimilar::test_documents_are_the_callers",
    ),
    Mutant(
        "something is similar to what was deleted",
        "functions/099_facets_and_similar.sql",
        "if v_document in (select ingest.withdrawn_documents()) then",
        "if false then",
        f"{_FACETS}"
        "::test_nothing_is_similar_to_what_was_deleted_for_a_role_without_policies_either",
    ),
    Mutant(
        "a document is similar to itself",
        "functions/099_facets_and_similar.sql",
        "document.id <> v_document and",
        "",
        f"{_FACETS}::TestSimilar::test_documents_are_the_callers",
    ),
    Mutant(
        "context of another's document",
        "functions/088_search_parts.sql",
        "returns text\nlanguage plpgsql stable security invoker",
        "returns text\nlanguage plpgsql stable security definer",
        f"{_HYBRID}::TestContext::test_of_others_documents_is_told_to_nobody",
    ),
    Mutant(
        "no cap for each document",
        "functions/097_hybrid_search.sql",
        "hit.place <= max_per_document",
        "true",
        f"{_HYBRID}::TestPerDocument::test_no_more_than_asked_for_and_the_best",
    ),
    Mutant(
        "no subject in rank_own",
        "functions/096_text_candidates.sql",
        "ingest_search.rank_words(\n                  p_index_version, v_sub, null",
        "ingest_search.rank_words(\n                  p_index_version, null, null",
        f"{_HYBRID}::TestNobodyElsesRows::test_are_returned_by_no_function",
    ),
    Mutant(
        "no subject in own_term_counts",
        "functions/096_text_candidates.sql",
        "from ingest_search.term_counts(p_index_version, v_sub, p_terms)",
        "from ingest_search.term_counts(p_index_version, null, p_terms)",
        f"{_HYBRID}::TestNobodyElsesRows::test_are_not_counted",
    ),
    Mutant(
        "no subject in own_stemmers",
        "functions/096_text_candidates.sql",
        "ingest_search.stemmers_in(p_index_version, v_sub)",
        "ingest_search.stemmers_in(p_index_version, null)",
        f"{_HYBRID}::TestOtherTenants::test_change_no_byte_of_an_answer_by_10000_chunks",
    ),
    Mutant(
        "withdrawn documents found by their former owner's words",
        "functions/096_text_candidates.sql",
        "else 'found.document_id in (select ingest_private.withdrawn_of_caller())' end",
        "else 'false' end",
        f"{_HYBRID}::TestWithdrawn::test_documents_are_found_by_nobody",
    ),
    Mutant(
        "withdrawn documents found by the service role's words",
        "functions/096_text_candidates.sql",
        "'found.document_id in (select ingest.withdrawn_documents())'",
        "'false'",
        f"{_HYBRID}::TestWithdrawn::test_documents_are_found_by_nobody",
    ),
    Mutant(
        "words for everybody",
        "policies/010_rls.sql",
        "create policy chunk_lexemes_select on ingest.chunk_lexemes for select to authenticated\n"
        "    using (",
        "create policy chunk_lexemes_select on ingest.chunk_lexemes for select to authenticated\n"
        "    using (true or ",
        f"{_HYBRID}::TestNobodyElsesRows::test_are_returned_by_no_function",
    ),
    Mutant(
        "words that outlive their chunk",
        "functions/094_follow_chunks.sql",
        "where chunk_id = any(v_gone.ids)",
        "where false",
        f"{_HYBRID}::TestLexemes::test_follow_publishes_deletes_and_changes_of_owner",
    ),
    Mutant(
        "no lock on the chunks whose words are filled in",
        "functions/094_follow_chunks.sql",
        "limit p_limit for key share)",
        "limit p_limit)",
        f"{_HYBRID}::TestOlderChunks::test_that_are_deleted_meanwhile_leave_nothing",
    ),
    Mutant(
        "older chunks forgotten until their words are filled in",
        "functions/096_text_candidates.sql",
        "if not ingest_search.is_filled('lexemes', p_index_version) then",
        "if false then",
        f"{_HYBRID}::TestOlderChunks::test_are_found_before_during_and_after_the_fill",
    ),
    Mutant(
        "words that all chunks hold find nothing",
        "functions/096_text_candidates.sql",
        "where one.held <= 1\n            or",
        "where",
        f"{_HYBRID}::TestAmongManyChunks::test_words_that_all_chunks_hold_find_as_many_as_are_asked_for",
    ),
    Mutant(
        "a word counts the same however rare it is",
        "functions/096_text_candidates.sql",
        "one.weight * ingest_search.rarity(v_row_count, one.count)",
        "one.weight",
        f"{_HYBRID}::TestAgainstTheOracle::test_and_the_order_is_that_of_bm25",
    ),
    Mutant(
        "titles are not searched",
        "functions/094_follow_chunks.sql",
        "case when v_id = v_first then v_name end",
        "null",
        f"{_TITLES}::TestOfADocument::test_finds_what_the_oracle_finds",
    ),
    Mutant(
        "what is left out is not looked for in titles",
        "functions/096_text_candidates.sql",
        "format('(found.lexemes @@ %L::tsquery or %s)', v_one, v_titled)",
        "format('(found.lexemes @@ %L::tsquery)', v_one)",
        f"{_TITLES}::TestInWhatIsRequired::test_the_title_counts_for_every_passage_of_its_document",
    ),
    Mutant(
        "passages of withdrawn documents are counted",
        "functions/096_text_candidates.sql",
        "and index_version = $2 and not %4$s",
        "and index_version = $2",
        f"{_HYBRID}::TestWithdrawn::test_passages_are_not_counted",
    ),
    Mutant(
        "a filter says nothing of documents of others",
        "functions/088_search_parts.sql",
        "v_is_bound and document.access = 'inherit' and document.searchable",
        "false and document.access = 'inherit' and document.searchable",
        f"{_HYBRID}::TestFilters::test_leave_what_others_share",
    ),
    Mutant(
        "a passage that is no longer the first keeps the title",
        "functions/094_follow_chunks.sql",
        "array[nullif(p_former, v_first), v_first]",
        "array[v_first]",
        f"{_TITLES}::TestThatChanges"
        "::test_the_passage_that_is_the_first_has_it_and_the_former_first_has_not",
    ),
    Mutant(
        "a rename does not change what a file is found by",
        "functions/051_publish_unchanged.sql",
        "perform ingest_private.put_title(v_document.id, v_job.index_version, v_document.title);",
        "",
        f"{_TITLES}::TestThatChanges"
        "::test_by_a_rename_writes_the_words_of_one_passage_and_no_chunk",
    ),
    Mutant(
        "titles are written again though they are there",
        "functions/094_follow_chunks.sql",
        "and held.lexemes <> v_made",
        "",
        f"{_TITLES}::TestThatChanges"
        "::test_no_word_is_written_for_another_folder_nor_for_a_file_with_a_title",
    ),
    Mutant(
        "a title that is a heading counts twice",
        "functions/094_follow_chunks.sql",
        "and (v_title = any(v_held.headings)) is not true then",
        "then",
        f"{_TITLES}::TestOfADocument::test_that_is_a_heading_of_the_passage_counts_once_whoever_changes_the_passage",
    ),
    Mutant(
        "a title is lost when its passage is written again",
        "functions/094_follow_chunks.sql",
        "if tg_op = 'UPDATE' then",
        "if false then",
        f"{_TITLES}::TestOfADocument::test_that_is_a_heading_of_the_passage_counts_once_whoever_changes_the_passage",
    ),
    Mutant(
        "titles of older documents before the words of their chunks",
        "functions/094_follow_chunks.sql",
        "ingest_search.is_filled('lexemes', fill.index_version)",
        "true",
        f"{_TITLES}::TestOfOlderDocuments::test_wait_for_the_words_of_their_chunks",
    ),
    Mutant(
        "no lock on the documents whose titles are filled in",
        "functions/094_follow_chunks.sql",
        "order by document.id limit p_limit for no key update)",
        "order by document.id limit p_limit)",
        f"{_TITLES}::TestOfOlderDocuments::test_that_are_being_published_are_not_waited_for",
    ),
    Mutant(
        "shared documents are those of any object",
        "functions/087_shared_documents.sql",
        "where document.object_id = any(p_objects)\n       and",
        "where",
        f"{_SHARED}::TestOfOthers::test_are_those_that_storage_lets_the_reader_read",
    ),
    Mutant(
        "shared documents that are withdrawn or hidden",
        "functions/087_shared_documents.sql",
        "\n       and document.id not in (select ingest_private.withdrawn_of_caller())",
        "",
        f"{_SHARED}::TestOfOthers::test_are_none_that_are_withdrawn_or_hidden",
    ),
    Mutant(
        "shared documents that were not asked about",
        "functions/087_shared_documents.sql",
        "and (p_documents is null or document.id = any(p_documents))\n       and document.id not",
        "and document.id not",
        f"{_SHARED}::TestOfOthers::test_are_only_those_that_are_asked_about",
    ),
    Mutant(
        "what somebody shares is among the documents of others",
        "functions/087_shared_documents.sql",
        "       and (document.owner_id = (select auth.jwt() ->> 'sub')) is not true\n"
        "       and (p_documents is null",
        "       and (p_documents is null",
        f"{_SHARED}::TestOfOthers::test_are_those_that_storage_lets_the_reader_read",
    ),
    Mutant(
        "everybody may ask whose documents belong to objects",
        "policies/020_grants.sql",
        "grant usage on schema ingest_private, extensions to docmill_worker;",
        "grant usage on schema ingest_private, extensions to docmill_worker, authenticated;",
        f"{_SHARED}::TestOfOthers::test_are_told_to_nobody_else",
    ),
    # The worker's own.
    Mutant(
        "one owner takes the last third",
        "worker/fair_gate.py",
        "self._capacity - self._reserved - self._used",
        "self._capacity - self._used",
        f"{_GATE}::test_the_last_third_is_for_those_who_hold_nothing",
    ),
    Mutant(
        "no child gives way",
        "worker/extraction/zygote/demotion.py",
        ">= SHARE_SECONDS",
        ">= 1e9",
        f"{_GUARD}::test_a_child_that_takes_long_gives_way",
    ),
    Mutant(
        "who has given way starves",
        "worker/extraction/zygote/turns.py",
        "if others and any(",
        "if False and any(",
        f"{_TURNS}::test_others_stop_for_a_turn_and_then_go_on",
    ),
    Mutant(
        "a turn that lasts",
        "worker/extraction/zygote/turns.py",
        "if now - self._began < TURN_SECONDS:",
        "if True:",
        f"{_TURNS}::test_others_stop_for_a_turn_and_then_go_on",
    ),
    Mutant(
        "turn after turn",
        "worker/extraction/zygote/turns.py",
        "self._watched = {}",
        "self._watched = dict.fromkeys(demoted, (0.0, 0.0))",
        f"{_TURNS}::test_others_stop_for_a_turn_and_then_go_on",
    ),
    Mutant(
        "a turn for who waits for no core",
        "worker/extraction/zygote/turns.py",
        " and any(map(wants_a_core, self._family(keeper)))",
        "",
        f"{_TURNS}::test_who_waits_for_something_else_stops_nobody",
    ),
    Mutant(
        "a crash in the batcher hangs its jobs",
        "worker/embedding/batcher.py",
        "self._fail(batch, crashed)",
        "pass",
        f"{_BATCHER}::test_whatever_happens_every_submission_ends",
    ),
    Mutant(
        "what is billed may be of any type",
        "worker/clients/embedder.py",
        "if not isinstance(tokens, int | float):",
        "if False:",
        f"{_PROVIDERS}::test_an_answer_without_a_count_of_tokens_is_an_answer",
    ),
    Mutant(
        "what is billed may be of any size",
        "worker/clients/embedder.py",
        "if 0 <= tokens <= MAX_BILLED_TOKENS else 0",
        "if True else 0",
        f"{_PROVIDERS}::test_an_answer_without_a_count_of_tokens_is_an_answer",
    ),
    Mutant(
        "components may be of any size",
        "worker/clients/embedder.py",
        "if not (np.abs(vectors) <= HALFVEC_MAX).all():",
        "if False:",
        f"{_PROVIDERS}::test_a_wrong_answer_is_refused_and_never_misaligned",
    ),
    Mutant(
        "a vector may be zero",
        "worker/clients/embedder.py",
        "if not vectors.astype(np.float16).any(axis=1).all():",
        "if False:",
        f"{_PROVIDERS}::test_a_wrong_answer_is_refused_and_never_misaligned",
    ),
    Mutant(
        "there may be fewer vectors than texts",
        "worker/clients/embedder.py",
        "if len(embeddings) != count:",
        "if False:",
        f"{_PROVIDERS}::test_a_wrong_answer_is_refused_and_never_misaligned",
    ),
    Mutant(
        "an answer may be nested for ever",
        "worker/clients/embedder.py",
        "except (ValueError, RecursionError) as error:",
        "except ZeroDivisionError as error:",
        f"{_PROVIDERS}::test_whatever_is_answered_becomes_a_code",
    ),
    Mutant(
        "answers grow as a whole",
        "worker/clients/decoded.py",
        "self._zlib.decompress(block, PIECE_BYTES)",
        "self._zlib.decompress(block)",
        "unit/test_decoded.py::test_nothing_is_decoded_beyond_a_piece_before_it_is_counted",
    ),
    Mutant(
        "answers are compressed more than once",
        "worker/clients/decoded.py",
        "if len(known) > 1:",
        "if False:",
        "unit/test_decoded.py::test_what_cannot_be_decoded_is_refused",
    ),
    Mutant(
        "a provider's answer may drip",
        "worker/clients/embedder.py",
        "asyncio.timeout(seconds),",
        "asyncio.timeout(None),",
        f"{_PROVIDERS}::test_an_answer_that_drips_ends_at_the_deadline",
    ),
    Mutant(
        "an answer of Storage may drip",
        "worker/clients/storage.py",
        "asyncio.timeout(ANSWER_SECONDS)",
        "asyncio.timeout(None)",
        f"{_STORAGE}::test_an_answer_that_drips_ends_and_leaves_room_for_others",
    ),
    Mutant(
        "a file may drip",
        "worker/clients/storage.py",
        "deadline.reschedule(began + ANSWER_SECONDS + earned)",
        "deadline.reschedule(None)",
        f"{_STORAGE}::test_an_answer_that_drips_ends_and_leaves_room_for_others",
    ),
    Mutant(
        "an answer of Storage may be of any size",
        "worker/clients/storage.py",
        "if len(received) > _MOST_BYTES:",
        "if False:",
        f"{_STORAGE}::test_an_answer_of_any_size_is_not_collected",
    ),
    Mutant(
        "a request outlives its run",
        "worker/clients/storage.py",
        "future.cancel()",
        "pass",
        f"{_STORAGE}::test_a_request_ends_with_its_run",
    ),
    Mutant(
        "a permit is waited for without end",
        "worker/embedding/batcher.py",
        "elif asked > RATE_LIMITED_SECONDS:",
        "elif False:",
        f"{_BATCHER}::test_a_permit_that_takes_long_is_not_waited_for",
    ),
    Mutant(
        "a limit below one",
        "worker/clients/rate_headers.py",
        "limit is None or limit < 1",
        "not limit",
        "unit/test_rate_headers.py::test_what_makes_no_sense_is_not_known",
    ),
    Mutant(
        "a wait that no clock can add",
        "worker/retry.py",
        "min(error.retry_after_seconds or 0, LONGEST_RETRY_AFTER.total_seconds())",
        "error.retry_after_seconds or 0",
        "unit/test_retry.py::test_a_provider_that_asks_for_hours_is_asked_again_sooner",
    ),
    Mutant(
        "what is under way is not kept",
        "worker/pipeline/stager.py",
        "if not isinstance(error, LeaseLostError):",
        "if False:",
        f"{_STAGER}::test_what_is_under_way_when_a_run_ends_is_kept",
    ),
    Mutant(
        "what is under way is not waited for",
        "worker/pipeline/stager.py",
        "0 if isinstance(error, CancelledRunError) else self._limits.keep_seconds",
        "0",
        f"{_STAGER}::test_what_is_under_way_when_a_run_ends_is_kept",
    ),
    Mutant(
        "what arrived beside a failure is not kept",
        "worker/embedding/submission.py",
        "if not self._queued and not self._asked:",
        "if not self._queued and (not self._asked or self._error):",
        f"{_BATCHER}::test_a_failure_waits_for_what_is_under_way",
    ),
    # What says that nothing happens.
    Mutant(
        "a schedule that stops is not told",
        "functions/065_troubles.sql",
        "ingest_private.silent_since(tick.work) is not null",
        "false",
        f"{_TROUBLES}::test_a_schedule_that_stops_is_seen_by_its_own_measure",
    ),
    Mutant(
        "an outage is the usual gap",
        "functions/064_ticks.sql",
        "least(clock_timestamp() - tick.ticked_at, 3 * tick.usual_gap)",
        "clock_timestamp() - tick.ticked_at",
        f"{_TROUBLES}::test_the_usual_gap_is_neither_that_of_an_outage_nor_of_two_ticks_at_once",
    ),
    Mutant(
        "a work is done each time that somebody asks",
        "functions/064_ticks.sql",
        "where known.begun_at not between",
        "where true or known.begun_at not between",
        f"{_TROUBLES}::test_a_work_is_due_one_period_after_it_was_begun_whoever_asks",
    ),
    Mutant(
        "two that ask at once both begin",
        "functions/064_ticks.sql",
        "    return found;",
        "    return true;",
        f"{_TROUBLES}::test_of_many_that_ask_at_once_one_begins",
    ),
    Mutant(
        "ticks that came too soon make the next one late",
        "functions/064_ticks.sql",
        "(select period from ingest_private.works where work = p_work)",
        "null",
        f"{_TROUBLES}::test_neither_ticks_that_came_too_soon_nor_another_period_raise_an_alarm",
    ),
    Mutant(
        "beat counts from its own start",
        "worker/app.py",
        '"last_run_at": _NEVER,',
        "",
        "unit/test_schedule.py::"
        "test_each_start_asks_for_every_work_at_once_and_says_how_often_it_is_wanted",
    ),
    Mutant(
        "a time that has passed is promised",
        "functions/057_explain_job.sql",
        "explanation := coalesce(v_obstacle.sentence, explanation);",
        "null;",
        _TOGETHER,
    ),
    Mutant(
        "a worker that stops counts as one without the key",
        "functions/057_explain_job.sql",
        "is_unserved := v_alive > 0 and v_serving = 0;",
        "is_unserved := v_alive > 0 and live_workers = 0;",
        _TOGETHER,
    ),
    Mutant(
        "a hint that was lost is about to be taken",
        "functions/057_explain_job.sql",
        "and (p_entry.phase <> 'dispatched' or v_is_lost)",
        "and p_entry.phase <> 'dispatched'",
        _TOGETHER,
    ),
    Mutant(
        "a job that nothing starts is told to wait for its turn",
        "functions/057_explain_job.sql",
        "(select jobs > 0 from ingest_private.standing_still())",
        "false",
        _TOGETHER,
    ),
    Mutant(
        "nobody says that no isolated worker has the key",
        "functions/065_troubles.sql",
        "cross join (values (false), (true)) as kind (isolated)",
        "cross join (values (false)) as kind (isolated)",
        _TOGETHER,
    ),
    Mutant(
        "jobs that nobody starts are not told",
        "functions/065_troubles.sql",
        "where still.jobs > 0",
        "where false",
        f"{_TROUBLES}::test_jobs_that_nobody_starts_are_seen",
    ),
    Mutant(
        "jobs that wait for a slot are told",
        "functions/065_troubles.sql",
        "limit least(greatest(lane.free, 0), 1000)",
        "limit 1000",
        f"{_TROUBLES}::test_jobs_that_nobody_starts_are_seen",
    ),
    Mutant(
        "leases that nobody ends are not told",
        "functions/065_troubles.sql",
        "where expires_at + ingest_private.patience_with('rescue') < clock_timestamp()",
        "where false",
        f"{_TROUBLES}::test_a_lease_that_nobody_ends_is_seen_and_its_job_is_no_longer_said_to_work",
    ),
    Mutant(
        "a job of a dead worker is said to be worked on",
        "functions/057_explain_job.sql",
        "where lease.job_id = p_job_id and lease.expires_at < clock_timestamp()",
        "where false",
        f"{_TROUBLES}::test_a_lease_that_nobody_ends_is_seen_and_its_job_is_no_longer_said_to_work",
    ),
    Mutant(
        "a doorbell that failed once has failed for ever",
        "worker/admin/doorbell.py",
        'return Doorbell(row["url"], _problem(connection), failed_at, failure["message"])',
        'return Doorbell(row["url"], failure["message"], failed_at, failure["message"])',
        "schema/test_doorbell.py::TestTheDoctor::test_forgets_what_is_mended",
    ),
    Mutant(
        "a doorbell that cannot ring is not told",
        "worker/admin/doorbell.py",
        'return Doorbell(row["url"], _problem(connection), failed_at, failure["message"])',
        'return Doorbell(row["url"], None, failed_at, failure["message"])',
        "schema/test_doorbell.py::TestTheDoctor::test_names_what_is_broken_now",
    ),
    Mutant(
        "a pause may be infinite",
        "worker/providers/base.py",
        "if math.isfinite(value) else None",
        "if True else None",
        f"{_PROVIDERS}::test_how_long_to_wait_is_handed_on_where_it_is_a_number",
    ),
    Mutant(
        "any number of chunks is set aside",
        "worker/pipeline/set_aside.py",
        "if not helps or self._lost > bound:\n            raise",
        "if False:\n            raise",
        "unit/test_set_aside.py::test_a_hundredth_may_be_set_aside_and_three_of_any",
    ),
    Mutant(
        "each failure is an outage",
        "worker/store/outage.py",
        "is_first = self._since is None",
        "is_first = True",
        f"{_OUTAGE}::test_each_outage_is_told_once",
    ),
    Mutant(
        "an outage is over at the first answer",
        "worker/store/outage.py",
        "or now - self._failed < CALM_SECONDS",
        "",
        f"{_OUTAGE}::test_each_outage_is_told_once",
    ),
    Mutant(
        "what another transaction held is an outage",
        "worker/store/outage.py",
        " and not isinstance(error, CONTENTION)",
        "",
        f"{_OUTAGE}::test_only_what_is_no_outage_is_warned_of",
    ),
    Mutant(
        "an error that Celery cannot make again",
        "worker/errors.py",
        "super().__init__(code, message or code)",
        "super().__init__(message or code, message or code)",
        "unit/test_maintenance.py::test_a_round_without_a_database_is_one_line",
    ),
    Mutant(
        "a child sets limits of others",
        "worker/extraction/child/system_calls.py",
        '"prlimit64": _one_of(0, pids)',
        f'"prlimit64": {_SPARE}',
        f"{_ATTACKS}::test_a_call_about_another_process_is_refused",
    ),
    Mutant(
        "a child sets the scheduling of others",
        "worker/extraction/child/system_calls.py",
        "clock_nanosleep 230 115,",
        "clock_nanosleep 230 115, sched_setscheduler 144 119, setpriority 141 140,"
        "ioprio_set 251 30,",
        f"{_ATTACKS}::test_a_call_about_another_process_is_refused",
    ),
    Mutant(
        "a child changes rights of files",
        "worker/extraction/child/system_calls.py",
        "clock_nanosleep 230 115,",
        "clock_nanosleep 230 115, chmod 90 -, fchmod 91 52, fchmodat 268 53,",
        f"{_ATTACKS}::test_files_are_as_they_were",
    ),
    Mutant(
        "a child leaves shared memory",
        "worker/extraction/child/system_calls.py",
        "clock_nanosleep 230 115,",
        "clock_nanosleep 230 115, shmget 29 194, shmat 30 196,",
        f"{_ATTACKS}::test_no_memory_is_left_behind",
    ),
    Mutant(
        "a child reads without end",
        "worker/extraction/child/sandbox.py",
        "(resource.RLIMIT_CPU, limits.cpu_seconds),",
        "",
        f"{_GUARD}::test_a_child_that_spins_while_nobody_waits_is_ended_by_the_kernel",
    ),
    Mutant(
        "the worker adopts nobody",
        "worker/extraction/parent/strays.py",
        "libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)",
        "libc.prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)",
        f"{_ATTACKS}::test_the_worker_ends_what_its_zygote_and_a_keeper_leave",
    ),
    Mutant(
        "a child signals its keeper",
        "worker/extraction/child/system_calls.py",
        '"kill": _one_of(0, (own_pid,))',
        f'"kill": {_SPARE}',
        f"{_ATTACKS}::test_its_keeper_hears_none_either",
    ),
    Mutant(
        "a child outlives its keeper",
        "worker/extraction/child/system_calls.py",
        '"prctl": _one_of(0, _PRCTL_OPTIONS)',
        f'"prctl": {_SPARE}',
        f"{_ATTACKS}::test_it_cannot_hide_from_its_keeper",
    ),
    Mutant(
        "a child has signals sent to others",
        "worker/extraction/child/system_calls.py",
        '"fcntl": _one_of(1, _FCNTL_COMMANDS)',
        f'"fcntl": {_SPARE}',
        f"{_ATTACKS}::test_nobody_hears_a_signal_that_a_file_sends",
    ),
    Mutant(
        "a child commands what a file does",
        "worker/extraction/child/system_calls.py",
        '"ioctl": _one_of(1, _IOCTL_COMMANDS)',
        f'"ioctl": {_SPARE}',
        f"{_ATTACKS}::test_nobody_hears_a_signal_that_a_file_sends",
    ),
    Mutant(
        "a child empties what it opens to read",
        "worker/extraction/child/system_calls.py",
        "(Condition(argument, 0, _O_TRUNC),),",
        "(Condition(argument, 0, 0),),",
        f"{_ATTACKS}::test_files_are_as_they_were",
    ),
    Mutant(
        "a child takes the large pages of the machine",
        "worker/extraction/child/system_calls.py",
        '"mmap": ((Condition(3, 0, _MAP_HUGETLB),),)',
        f'"mmap": {_SPARE}',
        f"{_ATTACKS}::test_the_kernel_answers_nothing_else",
    ),
    Mutant(
        "files without bound",
        "worker/extraction/zygote/space.py",
        "if left < 0:",
        "if False:",
        f"{_ATTACKS}::test_a_child_that_fills_the_disk_is_ended",
    ),
    Mutant(
        "headers without bound",
        "worker/processes/serving.py",
        "if self._received - 2 * self._body > MAX_HEADER_BYTES:",
        "if False:",
        f"{_SERVING}::test_what_never_ends_is_not_collected",
    ),
    Mutant(
        "pieces without bound",
        "worker/processes/serving.py",
        "if self._parts > MAX_PARTS + self._body // _PIECE_BYTES:",
        "if False:",
        f"{_SERVING}::test_small_pieces_of_a_body_are_not_taken_without_end",
    ),
    Mutant(
        "requests that wait without bound",
        "worker/processes/serving.py",
        "while self._rest and len(self.pipeline) < MAX_WAITING:",
        "while self._rest:",
        f"{_SERVING}::test_requests_whose_answers_nobody_reads_are_not_collected",
    ),
    Mutant(
        "empty lines keep a connection",
        "worker/processes/serving.py",
        "if self._header_timer is None and not self._is_in_body:",
        "if False:",
        f"{_SERVING}::test_nothing_that_is_no_request_keeps_a_connection",
    ),
    Mutant(
        "another protocol takes over the connection",
        "worker/processes/serving.py",
        'ws="none",',
        "",
        f"{_SERVING}::test_nothing_that_is_no_request_keeps_a_connection",
    ),
    Mutant(
        "a request without a deadline",
        "worker/processes/serving.py",
        "if self.request_seconds is not None:",
        "if False:",
        f"{_SERVING}::test_what_does_not_come_is_not_waited_for",
    ),
    # Metadata of a place.
    Mutant(
        "links of an earlier reading are found",
        "functions/088_search_parts.sql",
        "jsonb_strip_nulls(chunk.metadata || place.locator)",
        "chunk.metadata",
        f"{_PLACES}::test_all_readers_get_what_the_last_reading_found_and_the_chunk_stays_as_it_was",
    ),
    Mutant(
        "links of an earlier reading are embedded anew",
        "functions/038_reindex_source.sql",
        "jsonb_strip_nulls(chunk.metadata || place.locator)",
        "chunk.metadata",
        f"{_PLACES}::test_all_readers_get_what_the_last_reading_found_and_the_chunk_stays_as_it_was",
    ),
    Mutant(
        "a filter looks at links of an earlier reading",
        "functions/098_match_documents.sql",
        "jsonb_strip_nulls(chunk.metadata || place.locator))\n               @> p_filter",
        "chunk.metadata) @> p_filter",
        f"{_PLACES}::test_a_filter_on_the_chunk_looks_at_what_is_returned",
    ),
    Mutant(
        "places keep no metadata of their own",
        "functions/050_publish_document.sql",
        "then position.locator else '{}' end",
        "then '{}' else '{}' end",
        f"{_PLACES}::test_all_readers_get_what_the_last_reading_found_and_the_chunk_stays_as_it_was",
    ),
    Mutant(
        "places repeat what their chunks say",
        "functions/050_publish_document.sql",
        "<> chunk.metadata\n",
        "is not null\n",
        f"{_PLACES}::test_a_place_stores_a_difference_only",
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
    # An error is not a failure: the schema could not be applied, or the test does not exist.
    return "killed" if "1 failed" in last else f"BROKEN: {last}"


def main(names: list[str]) -> int:
    """Try all mutants, or the named ones; return how many survived."""
    started = time.monotonic()
    chosen = [mutant for mutant in MUTANTS if mutant.name in names] if names else MUTANTS
    sound = _run(*dict.fromkeys(mutant.test for mutant in chosen))
    if sound.returncode != 0:
        print(sound.stdout[-3000:], "\nthe tests must pass without a mutant", sep="")
        return len(chosen)
    print("| guard taken out | test | fate |\n| --- | --- | --- |")
    alive = 0
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for mutant, fate in zip(chosen, pool.map(_fate, chosen), strict=True):
            alive += fate != "killed"
            print(f"| {mutant.name} | {mutant.test.rpartition('::')[2]} | {fate} |", flush=True)
    print(f"{len(chosen) - alive} of {len(chosen)} killed in {time.monotonic() - started:.0f} s")
    return alive


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
