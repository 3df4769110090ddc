"""Who may do what: tries every role on every object of docmill's schemas.

Objects and functions come from the catalog: a new one without an entry here fails the test.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import psycopg
import pytest
from psycopg import errors as pg
from psycopg.types.json import Jsonb

from docmill.embedded.postgres import PostgresServer
from tests.schema.actors import (
    MODEL,
    Connection,
    claimed,
    document_of,
    heartbeat,
    job_of,
    rows,
    search,
    stage,
    take,
    upload,
    value,
)
from tests.support.database import Database, as_client, make_database, put_object, watch_bucket

SCHEMAS = ("ingest", "ingest_private", "ingest_search")

#: Objects that clients may read; all others are closed to them.
CLIENT_TABLES = {
    "ingest.chunk_lexemes",
    "ingest.chunk_positions",
    "ingest.chunks",
    "ingest.conversations",
    "ingest.documents",
    "ingest.index_versions",
    "ingest.jobs",
    "ingest.messages",
    "ingest.usage",
}
PRIVATE_TABLES = {
    "ingest_private.attempts",
    "ingest_private.breakers",
    "ingest_private.budgets",
    "ingest_private.bulk_batches",
    "ingest_private.bulk_held",
    "ingest_private.bulk_names",
    "ingest_private.bulk_texts",
    "ingest_private.chunk_positions_1",
    "ingest_private.chunks_1",
    "ingest_private.document_windows",
    "ingest_private.erased_objects",
    "ingest_private.error_codes",
    "ingest_private.job_queue",
    "ingest_private.kept_embeddings",
    "ingest_private.leases",
    "ingest_private.chunk_fills",
    "ingest_private.migrations",
    "ingest_private.pauses",
    "ingest_private.pending_events",
    "ingest_private.probes",
    "ingest_private.published_versions",
    "ingest_private.quarantine",
    "ingest_private.question_counts",
    "ingest_private.samples",
    "ingest_private.schedules",
    "ingest_private.settings",
    "ingest_private.sketches",
    "ingest_private.sketches_1",
    "ingest_private.sources",
    "ingest_private.spend",
    "ingest_private.staged_chunks",
    "ingest_private.ticks",
    "ingest_private.unsettled_spend",
    "ingest_private.version_failures",
    "ingest_private.former_documents",
    "ingest_private.withdrawn",
    "ingest_private.works",
    "ingest_private.workers",
}
SEQUENCES = {
    "ingest_private.bulk_texts_id_seq",
    "ingest.index_versions_id_seq",
    "ingest_private.attempts_id_seq",
    "ingest_private.lease_token",
    "ingest_private.pending_events_id_seq",
    "ingest_private.sources_id_seq",
    "ingest_private.unsettled_spend_id_seq",
}
OWNER_REQUESTS = {"ingest.cancel_job", "ingest.explain_job", "ingest.retry_job"}
#: They take the subject from the token; message_sources does so through policies.
ASKING = {
    "ingest.ask_question(text,uuid)",
    "ingest.record_answer(uuid,text,uuid[],uuid[],smallint[])",
    "ingest.delete_conversation(uuid)",
    "ingest.record_query(integer,integer)",
}
#: Definer functions of text search: they reveal only the caller's own rows.
OWN_ROWS = {
    "ingest_search.own_stemmers(integer)",
    "ingest_search.own_term_counts(integer,tsquery[])",
    "ingest_search.rank_own(integer,tsquery[],real[],tsquery,integer,tsquery[],tsquery)",
    "ingest_search.is_filled(text,integer)",
}
#: Functions that search functions call with their caller's rights; the Data API does not serve
#: them.
SEARCH_PARTS = {
    "ingest_search.cited_chunks",
    "ingest_search.documents_within",
    "ingest_search.chunk_metadata",
    "ingest_search.chunks_with",
    "ingest_search.context_of",
    "ingest_search.document_metadata",
    "ingest_search.fused_candidates",
    "ingest_search.holding",
    "ingest_search.in_pairs",
    "ingest_search.in_title",
    "ingest_search.is_end_of_pair",
    "ingest_search.more_of",
    "ingest_search.nearest_chunks",
    "ingest_search.phrase_of",
    "ingest_search.rank_words",
    "ingest_search.rare_terms",
    "ingest_search.rarity",
    "ingest_search.requirement",
    "ingest_search.scaled",
    "ingest_search.scope_of",
    "ingest_search.shared_documents",
    "ingest_search.shared_term_counts",
    "ingest_search.stemmers_in",
    "ingest_search.term_counts",
    "ingest_search.term_of",
    "ingest_search.text_candidates",
    "ingest_search.text_query",
    "ingest_search.titled",
    "ingest_search.url_path",
    "ingest_search.vector_candidates",
    "ingest_search.version_for",
    "ingest_search.version_of",
    "ingest_search.version_with",
    "ingest_search.word_terms",
    "ingest_search.words_of",
    "ingest_search.words_withheld",
    *(signature.split("(")[0] for signature in OWN_ROWS),
}
CLIENT_FUNCTIONS = {
    "ingest.active_index",
    "ingest.hybrid_search",
    "ingest.match_chunks",
    "ingest.match_documents",
    "ingest.message_sources",
    "ingest.search_facets",
    "ingest.similar",
    *(signature.split("(")[0] for signature in ASKING),
    *SEARCH_PARTS,
    *OWNER_REQUESTS,
}
#: They do the policies' work for roles without a policy.
SERVICE_FUNCTIONS = {"ingest.withdrawn_documents"}
#: Only policies, nearest_chunks and shared_documents call them. Clients cannot name them, because
#: they may not use their schema.
POLICY_FUNCTIONS = {"ingest_private.withdrawn_of_caller"}
NAMELESS_FUNCTIONS = {
    "ingest_private.documents_of_objects",
    "ingest_private.is_widely_shared",
    "ingest_private.nearest_allowed",
}
WORKER_FUNCTIONS = {
    "ingest_private.gauges",
    "ingest_private.bulk_batch_texts",
    "ingest_private.bulk_state",
    "ingest_private.claim_bulk_batch",
    "ingest_private.begin_bulk_page",
    "ingest_private.collect_bulk_page",
    "ingest_private.direct_hashes",
    "ingest_private.end_bulk_batch",
    "ingest_private.leave_bulk_batch",
    "ingest_private.make_bulk_batch",
    "ingest_private.note_bulk_batch",
    "ingest_private.put_bulk_texts",
    "ingest_private.wake_bulk_jobs",
    "ingest_private.active_index_version",
    "ingest_private.age_jobs",
    "ingest_private.apply_pauses",
    "ingest_private.claim_schedule",
    "ingest_private.finish_schedule",
    "ingest_private.put_schedules",
    "ingest_private.renew_schedule",
    "ingest_private.retry_failed",
    "ingest_private.recall_sample",
    "ingest_private.recall_of",
    "ingest_private.note_recall",
    "ingest_private.sample_bloat",
    "ingest_private.full_reconcile_due",
    "ingest_private.note_full_reconcile",
    "ingest_private.begin_stage",
    "ingest_private.cancel_run",
    "ingest_private.claim_job",
    "ingest_private.trace_jobs",
    "ingest_private.drain_pending_events",
    "ingest_private.drain_withdrawn",
    "ingest_private.fail_job",
    "ingest_private.fill_chunks",
    "ingest_private.embedding_of",
    "ingest_private.fill_index_versions",
    "ingest_private.reindex_chunks",
    "ingest_private.reindex_source",
    "ingest_private.forget_orphaned_chunks",
    "ingest_private.forget_worker",
    "ingest_private.hints_wait",
    "ingest_private.keep_window",
    "ingest_private.kept_window",
    "ingest_private.kept_windows",
    "ingest_private.known_hashes",
    "ingest_private.note_prices",
    "ingest_private.note_probe",
    "ingest_private.begin_work",
    "ingest_private.note_tick",
    "ingest_private.forget_tick",
    "ingest_private.probes_wanted",
    "ingest_private.prune",
    "ingest_private.end_due_versions",
    "ingest_private.publish_document",
    "ingest_private.publish_unchanged",
    "ingest_private.read_again",
    "ingest_private.reconcile",
    "ingest_private.record_spend",
    "ingest_private.settle_spend",
    "ingest_private.release_job",
    "ingest_private.renew_leases",
    "ingest_private.reusable_embeddings",
    "ingest_private.report_progress",
    "ingest_private.rescue_jobs",
    "ingest_private.end_stalled_sessions",
    "ingest_private.is_wanted",
    "ingest_private.stop_flags",
    "ingest_private.sync_hints",
    "ingest_private.sync_object",
    "ingest_private.take_ready_jobs",
}
INNER_FUNCTIONS = {
    "ingest_private.budget_left",
    "ingest_private.drop_bulk_texts",
    "ingest_private.explain_bulk",
    "ingest_private.forget_unwanted_texts",
    "ingest_private.has_bought",
    "ingest_private.may_be_sent",
    "ingest_private.note_bulk_names",
    "ingest_private.owners_held",
    "ingest_private.book_at_once",
    "ingest_private.book_spend",
    "ingest_private.record_bulk_spend",
    "ingest_private.send_again",
    "ingest_private.takes_bulk",
    "ingest_private.erase_owner",
    "ingest_private.erase_rows",
    "ingest_private.owned_objects",
    "ingest_private.activate_index_version",
    "ingest_private.chunking_of",
    "ingest_private.end_misplaced",
    "ingest_private.enqueue_for_others",
    "ingest_private.fill_version",
    "ingest_private.filling_priority",
    "ingest_private.has_tables_left",
    "ingest_private.activating_until",
    "ingest_private.begin_activating",
    "ingest_private.end_activating",
    "ingest_private.hold_publish",
    "ingest_private.bad_samples",
    "ingest_private.bloat",
    "ingest_private.words_known",
    "ingest_private.hurry_index_version",
    "ingest_private.hurry_jobs",
    "ingest_private.forget_version_rows",
    "ingest_private.ingest_elsewhere",
    "ingest_private.ingest_in",
    "ingest_private.lacks",
    "ingest_private.lanes",
    "ingest_private.missing_from",
    "ingest_private.missing_since",
    "ingest_private.queue_of",
    "ingest_private.ready_of",
    "ingest_private.recount_documents",
    "ingest_private.retire_for_good",
    "ingest_private.room_of",
    "ingest_private.serves",
    "ingest_private.versions_alike",
    "ingest_private.as_good",
    "ingest_private.is_given_up",
    "ingest_private.note_version_failures",
    "ingest_private.obstacle_of",
    "ingest_private.chosen_to_read",
    "ingest_private.enqueue_again",
    "ingest_private.is_read_again",
    "ingest_private.leave_to_others",
    "ingest_private.named_type",
    "ingest_private.note_tried",
    "ingest_private.offer_of",
    "ingest_private.offers",
    "ingest_private.reading_of",
    "ingest_private.reads_worse",
    "ingest_private.backfill_source",
    "ingest_private.check_job_lease",
    "ingest_private.close_breakers",
    "ingest_private.count_asked",
    "ingest_private.equal_bulk_texts",
    "ingest_private.count_source",
    "ingest_private.create_index_version",
    "ingest_private.dependency_of",
    "ingest_private.differences",
    "ingest_private.end_cancelled",
    "ingest_private.end_failed",
    "ingest_private.drain_chunks",
    "ingest_private.drain_document",
    "ingest_private.drain_rest",
    "ingest_private.drop_idle_events",
    "ingest_private.end_free_jobs",
    "ingest_private.end_job",
    "ingest_private.end_jobs",
    "ingest_private.enqueue_job",
    "ingest_private.erase_conversations",
    "ingest_private.event_row",
    "ingest_private.explain_job",
    "ingest_private.finish_publish",
    "ingest_private.guard_job",
    "ingest_private.has_same_readers",
    "ingest_private.history_of",
    "ingest_private.budgets_used",
    "ingest_private.explain_budgets",
    "ingest_private.hold_job",
    "ingest_private.hold_of",
    "ingest_private.hold_of_run",
    "ingest_private.hold_run",
    "ingest_private.set_aside",
    "ingest_private.over_budget_until",
    "ingest_private.ids_of",
    "ingest_private.is_hopeless",
    "ingest_private.hmac_sha256",
    "ingest_private.hold_reasons",
    "ingest_private.in_words",
    "ingest_private.is_hold_reason",
    "ingest_private.is_due",
    "ingest_private.is_paused",
    "ingest_private.is_stuck",
    "ingest_private.lexemes_at",
    "ingest_private.lexemes_of",
    "ingest_private.title_lexemes",
    "ingest_private.lock_for_publish",
    "ingest_private.put_title",
    "ingest_private.follow_chunks",
    "ingest_private.lock_run",
    "ingest_private.nearest_in_graph",
    "ingest_private.nearest_of",
    "ingest_private.nearest_scanned",
    "ingest_private.nearest_query",
    "ingest_private.note_pending",
    "ingest_private.note_unrung",
    "ingest_private.note_unsynced",
    "ingest_private.on_object_written",
    "ingest_private.on_objects_deleted",
    "ingest_private.on_objects_truncated",
    "ingest_private.open_breaker",
    "ingest_private.owner_of",
    "ingest_private.patience_with",
    "ingest_private.probe_breakers",
    "ingest_private.promote_due_jobs",
    "ingest_private.put_back_event",
    "ingest_private.remove_source",
    "ingest_private.request_cancel",
    "ingest_private.requeue_job",
    "ingest_private.requeue_stuck",
    "ingest_private.require_own_job",
    "ingest_private.retry_job",
    "ingest_private.ring_doorbell",
    "ingest_private.silent_since",
    "ingest_private.settle_event",
    "ingest_private.sketch_of",
    "ingest_private.source_of",
    "ingest_private.standing_still",
    "ingest_private.stemmer_of",
    "ingest_private.stop_words",
    "ingest_private.stored_objects",
    "ingest_private.subject_of_caller",
    "ingest_private.supersede_jobs",
    "ingest_private.sync_objects",
    "ingest_private.troubles",
    "ingest_private.take_over",
    "ingest_private.webhook_signature",
    "ingest_private.withdraw_documents",
}
#: Definer functions that a client may execute: each is an exception to row-level security that must
#: be deliberate.
CLIENT_DEFINERS = {
    *(f"{name}(uuid)" for name in OWNER_REQUESTS),
    *ASKING,
    *OWN_ROWS,
    *(f"{name}()" for name in SERVICE_FUNCTIONS | POLICY_FUNCTIONS),
    "ingest_private.documents_of_objects(uuid[],uuid[])",
    "ingest_private.is_widely_shared()",
    "ingest_private.nearest_allowed(integer,extensions.vector,integer,boolean,uuid[],uuid[])",
}

CLAIMS: Mapping[str, Mapping[str, str] | None] = {
    "owner": {"sub": "alice"},
    "stranger": {"sub": "mallory"},
    "nobody": {"role": "authenticated"},
    "anon": None,
    "service_role": {"role": "service_role"},
}
ACTORS = (*CLAIMS, "worker")


@pytest.fixture(scope="module", params=(18, 16), ids=lambda major: f"pg{major}")
def populated(request: pytest.FixtureRequest) -> Iterator[Database]:
    """A project with a row in every table of docmill's schemas; clients' rows are alice's."""
    name = "postgres" if request.param == 18 else "postgres16"
    server: PostgresServer = request.getfixturevalue(name)
    with make_database(server) as database:
        watch_bucket(database)
        object_id = upload(database, "alice/a.txt", ["one", "two"])
        with database.connect() as admin, database.connect("docmill_worker") as worker:
            document_id = document_of(admin, object_id)["id"]
            heartbeat(worker)
            put_object(admin, "alice/a.txt", owner="alice")
            stage(worker, claimed(worker, job_of(admin, object_id)), ["three"])
            with as_client(database, {"sub": "alice"}) as alice:
                alice.execute("select ingest.ask_question('Who?')")
            put_object(admin, "alice/b.txt", owner="alice")
            upload(database, "alice/c.txt", ["four"])
            put_object(admin, "alice/c.txt", owner="bob")
            for statement in (
                "insert into ingest_private.breakers values ('provider_auth', now())",
                "insert into ingest_private.pauses values ('owner', 'nobody')",
                """insert into ingest_private.budgets (scope, period, usd)
                       values ('everything', 'month', 1000)""",
                """insert into ingest_private.kept_embeddings values
                       ('nobody', 1, sha256('x'), '[1]', now())""",
                "insert into ingest_private.bulk_names values ('docs', 'nothing.txt')",
                """insert into ingest_private.unsettled_spend
                          (owner_id, day, model, purpose, tokens, usd)
                   values ('nobody', current_date, 'm', 'ingest', 1, 1)""",
                """insert into ingest_private.bulk_batches
                          (provider, model, dimensions, sends_dimensions, purpose, texts, held_usd)
                   values ('openai', 'm', 256, true, 'ingest', 1, 1)""",
                """insert into ingest_private.bulk_held
                   select 'nobody', id, 1 from ingest_private.bulk_batches""",
                f"""insert into ingest_private.bulk_texts
                           (job_id, document_id, index_version, content_hash, content, headings,
                            token_count, metadata, usd)
                    values (gen_random_uuid(), '{document_id}', 1, sha256('x'), 'x', '{{}}',
                            1, '{{}}', 1)""",
                f"""insert into ingest_private.quarantine
                    values ('{document_id}', 1, sha256('x'), 0, 'embedding_rejected')""",
                f"""insert into ingest_private.version_failures
                    values ('{document_id}', 1, 'v', 'corrupt', row(1, 1, '{{}}'))""",
                f"""insert into ingest_private.document_windows
                    values ('{document_id}', sha256('x'), '1', 1, 'x')""",
                "insert into ingest_private.probes (dependency, served) values ('storage', true)",
                "insert into ingest_private.ticks (work) values ('dispatch')",
                "insert into ingest_private.works (work, period) values ('dispatch', '1 s')",
                "insert into ingest_private.schedules (name) values ('prune')",
                """insert into ingest_private.samples (schedule, relation, is_bad, seen)
                   values ('sample_bloat', '', false, 'x')""",
                "insert into ingest_private.erased_objects values (gen_random_uuid(), 'v')",
                """insert into ingest_private.pending_events (object_id, reason)
                   values (gen_random_uuid(), 'x')""",
            ):
                admin.execute(statement.encode())
        yield database


@contextmanager
def worker_session(database: Database) -> Iterator[Connection]:
    with (
        database.connect("docmill_worker") as connection,
        connection.transaction(force_rollback=True),
    ):
        yield connection


def acting(database: Database, actor: str) -> AbstractContextManager[Connection]:
    """A transaction as one of ACTORS, rolled back at the end."""
    if actor == "worker":
        return worker_session(database)
    return as_client(database, CLAIMS[actor])


def relations(connection: Connection, *kinds: str) -> set[str]:
    return {
        row["name"]
        for row in rows(
            connection,
            """select n.nspname || '.' || c.relname as name
                 from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
                where n.nspname = any(%s) and c.relkind = any(%s)""",
            *(list(SCHEMAS), list(kinds)),
        )
    }


def functions(connection: Connection) -> list[dict[str, Any]]:
    return rows(
        connection,
        """select n.nspname || '.' || p.proname as name, p.prokind::text as kind,
                  p.prosecdef as is_definer, p.proconfig as settings,
                  p.prorettype = 'trigger'::regtype as is_trigger,
                  p.oid::regprocedure::text as signature,
                  array(select format_type(type, null) from unnest(p.proargtypes) as type) as types
             from pg_proc as p join pg_namespace as n on n.oid = p.pronamespace
            where n.nspname = any(%s)""",
        list(SCHEMAS),
    )


def attempt(connection: Connection, statement: str) -> str:
    """`refused` if a privilege is missing, else `allowed`, even if the statement fails."""
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(statement.encode())
    except pg.InsufficientPrivilege:
        return "refused"
    except psycopg.Error:
        return "allowed"
    return "allowed"


def columns_of(connection: Connection, relation: str) -> list[str]:
    return [
        row["attname"]
        for row in rows(
            connection,
            """select attname from pg_attribute
                where attrelid = %s::regclass and attnum > 0 and not attisdropped""",
            relation,
        )
    ]


class TestTables:
    def test_each_is_known_here(self, populated: Database):
        with populated.connect() as connection:
            assert relations(connection, "r", "p") == CLIENT_TABLES | PRIVATE_TABLES
            assert relations(connection, "S") == SEQUENCES
            assert relations(connection, "v", "m", "f") == set()

    def test_each_has_a_row_to_be_seen(self, populated: Database):
        with populated.connect() as connection:
            empty = {
                table
                for table in CLIENT_TABLES | PRIVATE_TABLES
                if not value(connection, f"select exists (select from {table})")
            }
        assert empty == set()

    @pytest.mark.parametrize("actor", ACTORS)
    def test_may_be_selected_by_those_who_shall_and_no_others(
        self, populated: Database, actor: str
    ):
        with populated.connect() as admin:
            columns = {table: columns_of(admin, table) for table in CLIENT_TABLES | PRIVATE_TABLES}
        with acting(populated, actor) as connection:
            allowed = {
                table
                for table in columns
                if attempt(connection, f"select from {table}") == "allowed"
                or any(
                    attempt(connection, f'select "{column}" from {table}') == "allowed"
                    for column in columns[table]
                )
            }
        readers = {"owner", "stranger", "nobody", "service_role"}
        assert allowed == (CLIENT_TABLES if actor in readers else set())

    @pytest.mark.parametrize("actor", ["owner", "stranger", "nobody", "service_role"])
    def test_show_their_rows_to_the_owner_and_to_the_service_role_only(
        self, populated: Database, actor: str
    ):
        with acting(populated, actor) as connection:
            seen = {
                table
                for table in CLIENT_TABLES
                if value(connection, f"select exists (select from {table})")
            }
        everyones = {"ingest.index_versions"}
        assert seen == (CLIENT_TABLES if actor in {"owner", "service_role"} else everyones)

    @pytest.mark.parametrize("actor", ACTORS)
    def test_are_written_by_nobody_but_for_the_workers_staging(
        self, populated: Database, actor: str
    ):
        with populated.connect() as admin:
            columns = {table: columns_of(admin, table) for table in CLIENT_TABLES | PRIVATE_TABLES}
        allowed = set()
        with acting(populated, actor) as connection:
            for table, names in columns.items():
                statements = {
                    "insert": [f"insert into {table} default values"],
                    "update": [f'update {table} set "{name}" = default' for name in names],
                    "delete": [f"delete from {table}"],
                    "truncate": [f"truncate {table}"],
                    "lock": [f"lock table {table} in share row exclusive mode"],
                    "alter": [f"alter table {table} disable row level security"],
                    "trigger": [
                        f"""create trigger mine before insert on {table} for each row
                            execute function suppress_redundant_updates_trigger()"""
                    ],
                }
                for verb, ways in statements.items():
                    if any(attempt(connection, way) == "allowed" for way in ways):
                        allowed.add((verb, table))
        staging = {("insert", "ingest_private.staged_chunks")}
        assert allowed == (staging if actor == "worker" else set())

    def test_have_no_grants_on_single_columns(self, populated: Database):
        with populated.connect() as connection:
            assert (
                rows(
                    connection,
                    """select attrelid::regclass::text, attname, attacl::text from pg_attribute
                        where attacl is not null and attrelid in (
                              select oid from pg_class where relnamespace::regnamespace::text
                                                             = any(%s))""",
                    list(SCHEMAS),
                )
                == []
            )

    @pytest.mark.parametrize("actor", ACTORS)
    def test_sequences_are_nobodys(self, populated: Database, actor: str):
        with acting(populated, actor) as connection:
            for sequence in SEQUENCES:
                for use in (f"select * from {sequence}", f"select nextval('{sequence}')"):
                    assert attempt(connection, use) == "refused", use

    def test_of_clients_and_partitions_have_row_level_security(self, populated: Database):
        with populated.connect() as connection:
            without = {
                row["name"]
                for row in rows(
                    connection,
                    """select n.nspname || '.' || c.relname as name
                         from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
                        where n.nspname = any(%s) and c.relkind in ('r', 'p')
                          and not c.relrowsecurity""",
                    list(SCHEMAS),
                )
            }
        # A table without a grant, outside the exposed schema; COPY refuses a table with RLS.
        assert without == {table for table in PRIVATE_TABLES if not table.endswith("_1")}

    def test_policies_are_for_select_by_authenticated_only(self, populated: Database):
        with populated.connect() as connection:
            policies = rows(
                connection,
                """select schemaname || '.' || tablename as name, cmd, roles::text[], permissive,
                          with_check from pg_policies where schemaname = any(%s)""",
                list(SCHEMAS),
            )
        assert {policy.pop("name") for policy in policies} == CLIENT_TABLES
        assert all(
            policy
            == {
                "cmd": "SELECT",
                "roles": ["authenticated"],
                "permissive": "PERMISSIVE",
                "with_check": None,
            }
            for policy in policies
        )


class TestFunctions:
    def test_each_is_known_here(self, populated: Database):
        with populated.connect() as connection:
            found = functions(connection)
        assert {function["name"] for function in found} == (
            CLIENT_FUNCTIONS
            | SERVICE_FUNCTIONS
            | POLICY_FUNCTIONS
            | NAMELESS_FUNCTIONS
            | WORKER_FUNCTIONS
            | INNER_FUNCTIONS
        )
        # Grants that name only the function would miss a second signature.
        assert len(found) == len({function["name"] for function in found})
        assert {function["kind"] for function in found} == {"f"}

    @pytest.mark.parametrize("actor", ACTORS)
    def test_are_executed_by_those_who_shall_and_no_others(self, populated: Database, actor: str):
        with populated.connect() as admin:
            found = functions(admin)
        allowed = set()
        with acting(populated, actor) as connection:
            connection.execute("set local statement_timeout = '2s'")
            for function in found:
                nulls = ", ".join(f"null::{name}" for name in function["types"])
                call = f"select {function['name']}({nulls})"
                if attempt(connection, call) == "allowed":
                    allowed.add(function["name"])
        expected = {
            "worker": WORKER_FUNCTIONS,
            "anon": set(),
            "service_role": CLIENT_FUNCTIONS | SERVICE_FUNCTIONS,
        }.get(actor, CLIENT_FUNCTIONS)
        assert allowed == expected

    def test_of_the_worker_survive_nulls(self, populated: Database):
        """With nulls, none changes anything, loops, or fails except by a named constraint."""
        with populated.connect() as admin:
            found = [row for row in functions(admin) if row["name"] in WORKER_FUNCTIONS]

        def counts(connection: Connection) -> dict[str, int]:
            return {
                table: value(connection, f"select count(*) from {table}")
                for table in sorted(CLIENT_TABLES | PRIVATE_TABLES)
            }

        # These work without regard to their arguments.
        sweeps = {
            "age_jobs",
            "note_full_reconcile",
            "note_probe",
            "drain_pending_events",
            "drain_withdrawn",
            "make_bulk_batch",
            "prune",
            "rescue_jobs",
            "settle_spend",
            "take_ready_jobs",
        }
        with populated.connect() as admin, admin.transaction(force_rollback=True):
            admin.execute("set local statement_timeout = '2s'")
            before = counts(admin)
            for function in found:
                if function["name"].split(".")[1] in sweeps:
                    continue
                nulls = ", ".join(f"null::{name}" for name in function["types"])
                try:
                    with admin.transaction():
                        admin.execute(f"select * from {function['name']}({nulls})".encode())
                except pg.NotNullViolation:
                    pass
            assert counts(admin) == before

    def test_that_are_definer_and_open_to_clients_are_on_the_list(self, populated: Database):
        with populated.connect() as connection:
            found = rows(
                connection,
                """select p.oid::regprocedure::text as name from pg_proc as p
                    where p.pronamespace::regnamespace::text = any(%s) and p.prosecdef
                      and exists (select from unnest(array['anon', 'authenticated',
                                                           'service_role', 'authenticator'])
                                  as role where has_function_privilege(role, p.oid, 'execute'))""",
                list(SCHEMAS),
            )
        assert {row["name"] for row in found} == CLIENT_DEFINERS

    def test_have_a_fixed_search_path_that_ends_with_temporary_objects(self, populated: Database):
        """If pg_temp is not named, it comes first, and a caller's type can replace a real one."""
        with populated.connect() as connection:
            loose = {
                function["signature"]
                for function in functions(connection)
                if "search_path=pg_catalog, pg_temp" not in (function["settings"] or [])
            }
        assert loose == set()

    def test_of_the_private_schema_are_definer_where_a_worker_calls_them(self, populated: Database):
        with populated.connect() as connection:
            invoker = {row["name"] for row in functions(connection) if not row["is_definer"]}
        definers = {signature.split("(")[0] for signature in CLIENT_DEFINERS}
        assert invoker == (CLIENT_FUNCTIONS - definers) | {
            "ingest_private.as_good",
            "ingest_private.create_index_version",
            "ingest_private.dependency_of",
            "ingest_private.end_stalled_sessions",
            "ingest_private.event_row",
            "ingest_private.filling_priority",
            "ingest_private.guard_job",
            "ingest_private.hurry_index_version",
            "ingest_private.hmac_sha256",
            "ingest_private.hold_reasons",
            "ingest_private.in_words",
            "ingest_private.is_hold_reason",
            "ingest_private.lexemes_at",
            "ingest_private.lexemes_of",
            "ingest_private.title_lexemes",
            "ingest_private.activate_index_version",
            "ingest_private.chunking_of",
            "ingest_private.serves",
            "ingest_private.named_type",
            "ingest_private.owner_of",
            "ingest_private.nearest_in_graph",
            "ingest_private.nearest_of",
            "ingest_private.nearest_scanned",
            "ingest_private.nearest_query",
            "ingest_private.reading_of",
            "ingest_private.sketch_of",
            "ingest_private.stemmer_of",
            "ingest_private.stop_words",
            "ingest_private.webhook_signature",
        }

    def test_that_wait_for_locks_bound_the_wait(self, populated: Database):
        """By a setting of the function, or by the worker role's."""
        with populated.connect() as connection:
            unbound = {
                function["name"]
                for function in functions(connection)
                if function["name"] in WORKER_FUNCTIONS
                and not any(
                    setting.startswith("lock_timeout=") for setting in function["settings"] or []
                )
            }
        assert unbound == {
            f"ingest_private.{name}"
            for name in (
                "active_index_version",
                "bulk_batch_texts",
                "bulk_state",
                "direct_hashes",
                "embedding_of",
                "reindex_chunks",
                "reindex_source",
                "age_jobs",
                "end_stalled_sessions",
                "full_reconcile_due",
                "gauges",
                "note_full_reconcile",
                "forget_tick",
                "forget_worker",
                "hints_wait",
                "is_wanted",
                "kept_window",
                "kept_windows",
                "known_hashes",
                "note_probe",
                "note_tick",
                "probes_wanted",
                "prune",
                "record_spend",
                "renew_leases",
                "reusable_embeddings",
                "stop_flags",
            )
        }


class TestTheWorkersEscapes:
    @pytest.mark.parametrize(
        "statement",
        [
            *(
                f"set local role {role}"
                for role in (
                    "postgres",
                    "supabase_admin",
                    "service_role",
                    "authenticated",
                    "anon",
                    "supabase_storage_admin",
                    "authenticator",
                )
            ),
            "set local session authorization postgres",
            "alter role docmill_worker bypassrls",
            "alter role docmill_worker superuser",
            "create role friend",
            "grant postgres to docmill_worker",
            "select * from auth.users",
            "select * from storage.objects",
            "select * from storage.buckets",
            "insert into storage.objects (bucket_id, name) values ('docs', 'x')",
            "select * from ingest.documents",
            "update ingest.documents set owner_id = 'mallory'",
            "update ingest.jobs set owner_id = 'mallory'",
            "select * from ingest.chunks",
            "select * from ingest_private.chunks_1",
            "select * from ingest_private.sketches",
            "select * from ingest_private.sketches_1",
            "select ingest_private.nearest_allowed(1, '[1]', 10, true, null, null)",
            "select * from ingest_private.staged_chunks",
            "copy ingest_private.staged_chunks to stdout",
            "insert into ingest_private.staged_chunks default values returning document_id",
            "insert into ingest_private.sources (bucket_id) values ('secret')",
            "update ingest_private.leases set expires_at = 'infinity'",
            "select ingest_private.create_index_version('m', 1, '{}'::jsonb)",
            "select ingest_private.end_job(null, 'succeeded')",
            "select ingest_private.withdraw_documents('{}')",
            "select ingest_private.sync_objects('{}')",
            "select ingest_private.enqueue_job(null, 1, 'ingest', 5::smallint, 1)",
            "select ingest.match_chunks(null, null)",
            "create function ingest_private.mine() returns int language sql as 'select 1'",
            "create function ingest.mine() returns int language sql as 'select 1'",
            "create function public.mine() returns int language sql as 'select 1'",
            "create table public.mine (id int)",
            "create table extensions.mine (id int)",
            "create schema mine",
            "drop schema ingest cascade",
            "copy (select 1) to program 'true'",
            "select pg_read_file('/etc/passwd')",
        ],
    )
    def test_is_refused(self, populated: Database, statement: str):
        with (
            worker_session(populated) as connection,
            pytest.raises(pg.InsufficientPrivilege),
        ):
            connection.execute(statement.encode())

    def test_a_temporary_type_does_not_stand_in_for_a_real_one(self, populated: Database):
        """Its check would run with the rights of the function's owner."""
        with worker_session(populated) as connection:
            connection.execute(
                """create function pg_temp.seen_as(value text) returns boolean
                   language plpgsql as $$
                   begin
                       if current_user <> 'docmill_worker' then
                           raise exception 'it runs as %', current_user;
                       end if;
                       return true;
                   end $$"""
            )
            for name in ("uuid", "text", "jsonb", "interval", "timestamptz"):
                connection.execute(
                    f"""create domain pg_temp.{name} as pg_catalog.{name}
                        check (pg_temp.seen_as(value::pg_catalog.text))""".encode()
                )
            object_id = value(connection, "select gen_random_uuid()")
            for call in (
                "ingest_private.sync_object(%(id)s::pg_catalog.uuid, 'docs', 'x')",
                "ingest_private.claim_job(%(id)s::pg_catalog.uuid, 'w', false, '1 min')",
                "ingest_private.reconcile(null, null)",
                "ingest_private.rescue_jobs()",
                "ingest_private.drain_pending_events()",
            ):
                connection.execute(f"select * from {call}".encode(), {"id": object_id})

    def test_a_temporary_table_does_not_stand_in_for_a_real_one(self, populated: Database):
        """Definer functions name every table with its schema."""
        with worker_session(populated) as connection:
            connection.execute("create temp table documents (id uuid, object_id uuid)")
            connection.execute("create temp table jobs (id uuid)")
            connection.execute(
                "create function pg_temp.hashtext(text) returns int language sql as "
                "$$ select 1 / 0 $$"
            )
            connection.execute("set local search_path = pg_temp, public")
            assert value(connection, "select ingest_private.sync_object(null, null, null)") is None
            assert isinstance(take(connection), list)


def readers_policy(database: Database, condition: str) -> None:
    with database.connect() as connection:
        connection.execute(
            f"""create policy readers on storage.objects for select to authenticated
                using ({condition})""".encode()
        )


READ: Mapping[str, Callable[[Connection], list[Any]]] = {
    "document": lambda client: rows(client, "select * from ingest.documents"),
    "chunks": lambda client: rows(client, "select * from ingest.chunks"),
    "positions": lambda client: rows(client, "select * from ingest.chunk_positions"),
    "hits": lambda client: search(client, "two"),
}


def reads(database: Database, claims: Mapping[str, Any] | None) -> dict[str, int]:
    """How many of each kind a client sees."""
    with as_client(database, claims, read_only=True) as client:
        return {what: len(read(client)) for what, read in READ.items()}


NOTHING = {"document": 0, "chunks": 0, "positions": 0, "hits": 0}
EVERYTHING = {"document": 1, "chunks": 2, "positions": 2, "hits": 2}


class TestAccessOwner:
    def test_the_owner_sees_everything_of_a_document_and_a_stranger_nothing(
        self, any_database: Database
    ):
        watch_bucket(any_database)
        readers_policy(any_database, "true")  # Storage's policies do not matter here
        upload(any_database, "a.txt", ["one", "two"])
        assert reads(any_database, {"sub": "alice"}) == EVERYTHING
        assert reads(any_database, {"sub": "mallory"}) == NOTHING
        assert reads(any_database, {"sub": "alice", "role": "service_role"}) == EVERYTHING

    @pytest.mark.parametrize("sub", [None, "", " alice", "ALICE", "alice\u200b", "%", "null"])
    def test_an_odd_subject_is_not_the_owner(self, database: Database, sub: str | None):
        watch_bucket(database)
        upload(database, "a.txt", ["one", "two"])
        assert reads(database, {"sub": sub, "role": "authenticated"}) == NOTHING

    @pytest.mark.parametrize("sub", [None, "", "null"])
    def test_a_document_without_owner_is_nobodys(self, database: Database, sub: str | None):
        watch_bucket(database)
        upload(database, "a.txt", ["one", "two"], owner=None)
        assert reads(database, {"sub": sub, "role": "authenticated"}) == NOTHING
        assert reads(database, {"role": "service_role"}) == EVERYTHING

    def test_a_request_without_a_token_is_refused(self, database: Database):
        with as_client(database, None) as client, pytest.raises(pg.InsufficientPrivilege):
            search(client, "x")

    def test_the_owner_polls_the_job_and_the_spending_and_a_stranger_does_not(
        self, any_database: Database
    ):
        watch_bucket(any_database)
        upload(any_database, "a.txt", ["one", "two"])
        for sub, seen in (("alice", 1), ("mallory", 0)):
            with as_client(any_database, {"sub": sub}, read_only=True) as client:
                assert len(rows(client, "select * from ingest.jobs")) == seen
                assert len(rows(client, "select * from ingest.usage")) == seen

    def test_the_partitions_are_no_way_around_the_policies(self, any_database: Database):
        watch_bucket(any_database)
        upload(any_database, "a.txt", ["one", "two"])
        with any_database.connect() as admin:
            # A project that grants everything, as some do.
            admin.execute("grant usage on schema ingest_private to authenticated")
            admin.execute("grant all on all tables in schema ingest_private to authenticated")
        for partition in ("chunks_1", "chunk_positions_1"):
            for sub in ("alice", "mallory"):
                with as_client(any_database, {"sub": sub}) as client:
                    assert rows(client, f"select * from ingest_private.{partition}") == []


class TestAccessInherit:
    def test_whoever_may_read_the_object_sees_everything_of_its_document(
        self, any_database: Database
    ):
        watch_bucket(any_database, access="inherit")
        readers_policy(
            any_database, "bucket_id = 'docs' and (auth.jwt() ->> 'sub') in ('bob', 'carol')"
        )
        upload(any_database, "a.txt", ["one", "two"])
        assert reads(any_database, {"sub": "alice"}) == EVERYTHING  # the owner sees all in any case
        assert reads(any_database, {"sub": "bob"}) == EVERYTHING
        assert reads(any_database, {"sub": "carol"}) == EVERYTHING
        assert reads(any_database, {"sub": "mallory"}) == NOTHING

    def test_a_document_without_owner_is_readable_by_those_who_may_read_the_object(
        self, any_database: Database
    ):
        watch_bucket(any_database, access="inherit")
        readers_policy(any_database, "true")
        upload(any_database, "a.txt", ["one", "two"], owner=None)
        assert reads(any_database, {"sub": "bob"}) == EVERYTHING
        # A token that the project itself makes may lack a subject.
        assert reads(any_database, {"role": "authenticated", "team": 1}) == EVERYTHING

    def test_without_a_policy_of_storage_only_the_owner_sees_it(self, any_database: Database):
        watch_bucket(any_database, access="inherit")
        upload(any_database, "a.txt", ["one", "two"])
        assert reads(any_database, {"sub": "alice"}) == EVERYTHING
        assert reads(any_database, {"sub": "bob"}) == NOTHING

    def test_a_policy_taken_back_takes_effect_with_the_next_query(self, any_database: Database):
        watch_bucket(any_database, access="inherit")
        readers_policy(any_database, "true")
        upload(any_database, "a.txt", ["one", "two"])
        assert reads(any_database, {"sub": "bob"}) == EVERYTHING
        with any_database.connect() as admin:
            admin.execute("drop policy readers on storage.objects")
        assert reads(any_database, {"sub": "bob"}) == NOTHING

    def test_jobs_and_spending_stay_the_owners(self, database: Database):
        watch_bucket(database, access="inherit")
        readers_policy(database, "true")
        upload(database, "a.txt", ["one", "two"])
        with as_client(database, {"sub": "bob"}, read_only=True) as client:
            assert rows(client, "select * from ingest.jobs") == []
            assert rows(client, "select * from ingest.usage") == []

    def test_own_and_inherited_hits_come_in_one_order_and_once(self, any_database: Database):
        watch_bucket(any_database, "shared", access="inherit")
        watch_bucket(any_database, "private")
        readers_policy(any_database, "bucket_id = 'shared'")
        upload(any_database, "bobs.txt", ["one", "two"], owner="bob", bucket="shared")
        upload(any_database, "alices.txt", ["one", "two"], owner="alice", bucket="shared")
        upload(any_database, "mine.txt", ["one", "two"], owner="bob", bucket="private")
        upload(any_database, "hers.txt", ["one", "two"], owner="alice", bucket="private")
        with as_client(any_database, {"sub": "bob"}, read_only=True) as client:
            hits = search(client, "two", metadata_filter=Jsonb({}), model=MODEL)
        assert [hit["content"] for hit in hits] == ["two"] * 3 + ["one"] * 3
        assert {hit["object_name"] for hit in hits} == {"bobs.txt", "alices.txt", "mine.txt"}
        assert len({hit["chunk_id"] for hit in hits}) == 6
