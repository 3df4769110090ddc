"""Impossible rows cannot be written: every constraint of the schema refuses one, by name."""

from collections.abc import Mapping

import psycopg
import pytest
from psycopg import errors as pg

from tests.schema.actors import Connection, rows, value
from tests.support.database import watch_bucket

DOCUMENT = "'d0000000-0000-4000-8000-000000000000'"
JOB = "'10000000-0000-4000-8000-000000000000'"
CONVERSATION = "'c0000000-0000-4000-8000-000000000000'"
ONE_DAY = "'2026-01-01'"
HASH = "sha256('x')"
VECTOR = "array_fill(0.1::real, array[256])::extensions.vector::extensions.halfvec"


def insert(table: str, defaults: Mapping[str, str], columns: Mapping[str, str]) -> str:
    """An insert of a row that is valid except for `columns`, which are SQL expressions."""
    row = {**defaults, **columns}
    return f"insert into {table} ({', '.join(row)}) values ({', '.join(row.values())})"


def document(**columns: str) -> str:
    return insert(
        "ingest.documents",
        {
            "object_id": "gen_random_uuid()",
            "bucket_id": "'docs'",
            "object_name": "gen_random_uuid()::text",
            "storage_version": "'v'",
        },
        columns,
    )


def job(**columns: str) -> str:
    return insert(
        "ingest.jobs",
        {
            "bucket_id": "'docs'",
            "object_name": "'a'",
            "storage_version": "'v'",
            "index_version": "1",
        },
        columns,
    )


def finished(**columns: str) -> str:
    return job(**{"finished_at": "now()", "stage": "'finished'", "state": "'succeeded'", **columns})


def source(**columns: str) -> str:
    return insert("ingest_private.sources", {"bucket_id": "'b'"}, columns)


def chunk(**columns: str) -> str:
    return insert(
        "ingest.chunks",
        {
            "index_version": "1",
            "document_id": DOCUMENT,
            "object_id": "gen_random_uuid()",
            "access": "'owner'",
            "content": "'x'",
            "token_count": "1",
            "content_hash": HASH,
            "embedding": VECTOR,
            "fts": "''",
        },
        columns,
    )


def sketch(**columns: str) -> str:
    return insert(
        "ingest_private.sketches",
        {
            "index_version": "1",
            "id": JOB,
            "document_id": DOCUMENT,
            "access": "'owner'",
            "embedding": VECTOR,
        },
        columns,
    )


def position(**columns: str) -> str:
    return insert(
        "ingest.chunk_positions",
        {
            "index_version": "1",
            "document_id": DOCUMENT,
            "ordinal": "0",
            "chunk_id": "gen_random_uuid()",
        },
        columns,
    )


def lexemes(**columns: str) -> str:
    return insert(
        "ingest.chunk_lexemes",
        {
            "chunk_id": "gen_random_uuid()",
            "index_version": "1",
            "document_id": DOCUMENT,
            "object_id": "gen_random_uuid()",
            "access": "'owner'",
            "stemmer": "''",
            "lexemes": "''",
        },
        columns,
    )


def conversation(**columns: str) -> str:
    return insert("ingest.conversations", {"owner_id": "'alice'", "title": "'Who?'"}, columns)


def message(**columns: str) -> str:
    return insert(
        "ingest.messages",
        {
            "conversation_id": CONVERSATION,
            "owner_id": "'alice'",
            "turn": "1",
            "role": "'user'",
            "content": "'Who?'",
        },
        columns,
    )


def answer(**columns: str) -> str:
    return message(**{"role": "'assistant'", "outcome": "'answered'", **columns})


def version_failure(version: int) -> str:
    return (
        "insert into ingest_private.version_failures values "
        f"({DOCUMENT}, {version}, 'v', 'corrupt', row(1, 1, '{{}}')::ingest_private.reading)"
    )


def index_version(**columns: str) -> str:
    return insert(
        "ingest.index_versions",
        {
            "model": "'m'",
            "dimensions": "1",
            "chunking": "'{}'",
            "provider": "'p'",
            "sends_dimensions": "false",
        },
        columns,
    )


def spend(**columns: str) -> str:
    return insert(
        "ingest_private.spend",
        {
            "day": ONE_DAY,
            "model": "'m'",
            "purpose": "'ingest'",
            "shard": "0",
            "tokens": "1",
            "usd": "1",
        },
        columns,
    )


def budget(**columns: str) -> str:
    return insert(
        "ingest_private.budgets", {"scope": "'everything'", "period": "'day'", "usd": "1"}, columns
    )


def queue(**columns: str) -> str:
    return insert(
        "ingest_private.job_queue",
        {
            "job_id": JOB,
            "provider": "'p'",
            "priority": "5",
            "rank": "1",
            "fairness_key": "'k'",
        },
        columns,
    )


def attempt(**columns: str) -> str:
    return insert(
        "ingest_private.attempts",
        {"job_id": JOB, "token": "1", "attempt": "1", "worker_id": "'w'", "isolated": "false"},
        columns,
    )


def staged(**columns: str) -> str:
    return insert(
        "ingest_private.staged_chunks",
        {
            "document_id": DOCUMENT,
            "index_version": "1",
            "content_hash": HASH,
            "content": "'x'",
            "headings": "'{}'",
            "token_count": "1",
            "metadata": "'{}'",
            "embedding": VECTOR,
        },
        columns,
    )


def lease(**columns: str) -> str:
    return insert(
        "ingest_private.leases",
        {"job_id": JOB, "token": "1", "worker_id": "'w'", "expires_at": "now()"},
        columns,
    )


def worker(**columns: str) -> str:
    return insert(
        "ingest_private.workers",
        {"id": "'w'", "slots": "1", "version": "'1'", "expires_at": "now()"},
        columns,
    )


def scheduled(**columns: str) -> str:
    return insert(
        "ingest_private.schedules",
        {
            "name": "'prune'",
            "expression": "'0 * * * *'",
            "time_zone": "'UTC'",
            "next_due_at": "now()",
        },
        columns,
    )


def sampled(**columns: str) -> str:
    return insert(
        "ingest_private.samples",
        {"schedule": "'sample_bloat'", "relation": "''", "is_bad": "false", "seen": "'x'"},
        columns,
    )


def batch(**columns: str) -> str:
    return insert(
        "ingest_private.bulk_batches",
        {
            "provider": "'openai'",
            "model": "'m'",
            "dimensions": "256",
            "sends_dimensions": "true",
            "purpose": "'ingest'",
            "texts": "1",
            "held_usd": "1",
        },
        columns,
    )


def bulk_held(**columns: str) -> str:
    return insert(
        "ingest_private.bulk_held", {"owner_id": "'alice'", "batch_id": JOB, "usd": "1"}, columns
    )


def bulk_text(**columns: str) -> str:
    return insert(
        "ingest_private.bulk_texts",
        {
            "job_id": JOB,
            "document_id": DOCUMENT,
            "index_version": "1",
            "content_hash": HASH,
            "content": "'x'",
            "headings": "'{}'",
            "token_count": "1",
            "metadata": "'{}'",
            "usd": "0",
        },
        columns,
    )


def twice(statement: str) -> str:
    return f"{statement}; {statement}"


UNSETTLED = (
    "insert into ingest_private.unsettled_spend (id, owner_id, day, model, purpose, tokens, usd)"
)

#: Constraint: statements, each of which it must refuse.
REFUSED: Mapping[str, list[str]] = {
    # documents
    "documents_pkey": [document(id=DOCUMENT)],
    "documents_object": [
        twice(
            document(object_id="gen_random_uuid()").replace(
                "gen_random_uuid(), 'docs'", f"{JOB}, 'docs'"
            )
        )
    ],
    "documents_name": [twice(document(object_name="'same'"))],
    "documents_access_check": [document(access="'public'")],
    "documents_status_check": [document(status="'done'")],
    "documents_content_sha256_check": [document(content_sha256="'x'")],
    "documents_failed_has_code": [
        document(status="'failed'"),
        document(status="'ready'", searchable="true", error_code="'corrupt'"),
    ],
    "documents_ready_is_searchable": [document(status="'ready'")],
    "documents_source_id_fkey": [document(source_id="99")],
    # jobs
    "jobs_pkey": [finished(id=JOB)],
    "jobs_state_check": [job(state="'retrying'", stage="'finished'")],
    "jobs_kind_check": [job(kind="'delete'")],
    "jobs_stage_check": [job(stage="'dreaming'")],
    "jobs_max_attempts_check": [job(max_attempts="0"), job(max_attempts="101")],
    "jobs_priority_check": [job(priority="-1"), job(priority="10")],
    "jobs_hold_reason_check": [job(hold_reason="'tired'")],
    "jobs_finished_iff_final": [
        job(finished_at="now()"),
        job(state="'running'", stage="'downloading'", finished_at="now()"),
        *(
            job(state=state, stage="'finished'", error_code="'corrupt'")
            for state in ("'succeeded'", "'failed'", "'superseded'", "'cancelled'")
        ),
    ],
    "jobs_stage_fits_state": [
        job(stage="'embedding'"),
        job(state="'running'", stage="'waiting'"),
        job(state="'running'", stage="'finished'"),
        *(
            finished(state=state, stage="'publishing'", error_code="'corrupt'")
            for state in ("'succeeded'", "'failed'", "'superseded'", "'cancelled'")
        ),
    ],
    "jobs_failed_has_code": [finished(state="'failed'")],
    "jobs_hold_only_queued": [
        job(state="'running'", stage="'downloading'", hold_reason="'paused'"),
        finished(hold_reason="'paused'"),
    ],
    "jobs_attempts_bounded": [
        job(attempt="-1"),
        job(attempt="6"),
        job(attempt="1", max_attempts="0 + 1") + "; " + job(attempt="2", max_attempts="1"),
    ],
    "jobs_chunks_bounded": [job(chunks_total="2", chunks_embedded="2", chunks_reused="1")],
    "jobs_index_version_fkey": [job(index_version="99")],
    "jobs_one_active": [twice(job(document_id=DOCUMENT))],
    # index versions
    "index_versions_pkey": [
        index_version(id="1").replace(") values", ") overriding system value values")
    ],
    "index_versions_dimensions_check": [
        index_version(dimensions="0"),
        index_version(dimensions="4001"),
    ],
    "index_versions_state_check": [index_version(state="'ready'")],
    "index_versions_one_active": [index_version(state="'active'")],
    # chunks
    "chunks_pkey": [twice(chunk(id=DOCUMENT)).replace(HASH, "sha256('1')", 1)],
    "chunks_document_id_index_version_content_hash_key": [twice(chunk())],
    "chunks_content_hash_check": [chunk(content_hash="'x'")],
    "chunks_1_dimensions": [chunk(embedding="'[1]'")],
    "chunk_lexemes_pkey": [twice(lexemes(chunk_id=DOCUMENT))],
    "chunk_positions_pkey": [twice(position())],
    "chunk_positions_ordinal_check": [position(ordinal="-1")],
    "chunk_positions_pages": [position(page_start="2", page_end="1")],
    "usage_pkey": [
        twice(f"insert into ingest.usage (owner_id, day, model) values ('o', {ONE_DAY}, 'm')")
    ],
    "usage_purpose_check": [
        f"""insert into ingest.usage (owner_id, day, model, purpose)
                values ('o', {ONE_DAY}, 'm', 'play')"""
    ],
    # machinery
    "spend_pkey": [twice(spend())],
    "spend_purpose_check": [spend(purpose="'play'")],
    "unsettled_spend_pkey": [
        twice(
            f"{UNSETTLED} overriding system value values (1, 'o', {ONE_DAY}, 'm', 'ingest', 1, 1)"
        )
    ],
    "unsettled_spend_purpose_check": [
        f"{UNSETTLED} overriding system value values (1, 'o', {ONE_DAY}, 'm', 'play', 1, 1)"
    ],
    "budgets_pkey": [twice(budget())],
    "budgets_key": [budget(scope="'owner'"), budget(key="'alice'")],
    "budgets_scope_check": [budget(scope="'bucket'")],
    "budgets_period_check": [budget(period="'week'")],
    "budgets_usd_check": [budget(usd="-1"), budget(usd="'NaN'")],
    "bulk_names_pkey": [
        twice("insert into ingest_private.bulk_names (bucket_id, object_name) values ('b', 'n')")
    ],
    "bulk_batches_pkey": [twice(batch(id=JOB))],
    "bulk_batches_purpose_check": [batch(purpose="'search'")],
    "bulk_batches_state_check": [batch(state="'lost'", remote_id="'r'")],
    "bulk_batches_texts_check": [batch(texts="0")],
    "bulk_batches_held_usd_check": [batch(held_usd="-1")],
    "bulk_batches_remote_id_key": [twice(batch(remote_id="'r'"))],
    "bulk_batches_read_lines_check": [batch(read_lines="-1")],
    "bulk_batches_known_once_submitted": [batch(state="'submitted'"), batch(state="'collecting'")],
    "bulk_held_pkey": [twice(bulk_held())],
    "bulk_held_usd_check": [bulk_held(usd="-1")],
    "bulk_batches_ended": [batch(state="'ended'"), batch(ended_at="now()")],
    "bulk_texts_pkey": [
        twice(bulk_text(id="1", document_id="null")).replace(
            ") values", ") overriding system value values"
        )
    ],
    "bulk_texts_document_id_index_version_content_hash_key": [twice(bulk_text())],
    "bulk_texts_content_hash_check": [bulk_text(content_hash="'x'")],
    "bulk_texts_usd_check": [bulk_text(usd="-1")],
    "bulk_texts_state_check": [bulk_text(state="'lost'")],
    "bulk_texts_batch_id_fkey": [bulk_text(state="'sent'", batch_id=JOB)],
    "bulk_texts_sent_in_a_batch": [
        bulk_text(state="'sent'"),
        batch(id=JOB) + "; " + bulk_text(batch_id=JOB),
    ],
    "kept_embeddings_pkey": [
        twice(
            """insert into ingest_private.kept_embeddings values
                   ('o', 1, sha256('x'), '[1]', now())"""
        )
    ],
    "sources_pkey": [source(id="1").replace(") values", ") overriding system value values")],
    "sources_bucket_id_prefix_key": [twice(source(prefix="'p'"))],
    "sources_owner_from_check": [
        source(owner_from=rule)
        for rule in (
            "''",
            "'folder'",
            "'folder:0'",
            "'folder:-1'",
            "'folder:100'",
            "'fixed:'",
            "'uploader '",
            "'Uploader'",
            "'folder:1x'",
        )
    ],
    "sources_access_check": [source(access="'public'")],
    "sources_priority_check": [source(priority="-1"), source(priority="10")],
    "sources_weight_check": [
        source(weight=weight) for weight in ("0", "-1", "1001", "'nan'", "'infinity'")
    ],
    "sources_max_bytes_check": [source(max_bytes="0")],
    "job_queue_pkey": [twice(queue())],
    "job_queue_job_id_fkey": [queue(job_id="gen_random_uuid()")],
    "job_queue_phase_check": [queue(phase="'asleep'", due_at="null")],
    "job_queue_due": [
        queue(phase="'waiting'"),
        queue(phase="'dispatched'"),
        queue(phase="'ready'", due_at="now()"),
        queue(phase="'running'", due_at="now()"),
    ],
    "job_queue_traceparent": [
        queue(traceparent=f"'{given}'")
        for given in (
            *("", "a text", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7"),
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\n",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        )
    ],
    "job_queue_isolated_crashes_check": [
        queue(isolated_crashes="3"),
        queue(isolated_crashes="-1"),
    ],
    "workers_pkey": [
        twice(worker()),
    ],
    "workers_slots_check": [worker(slots="-1")],
    "leases_pkey": [f"{lease()}; {lease(token='2')}"],
    "leases_token_key": [f"{lease()}; {lease(job_id='gen_random_uuid()')}"],
    "leases_job_id_fkey": [lease(job_id="gen_random_uuid()")],
    "attempts_pkey": [
        (attempt(id="1") + "; " + attempt(id="1", token="2")).replace(
            ") values", ") overriding system value values"
        )
    ],
    "attempts_token_key": [twice(attempt())],
    "attempts_job_id_fkey": [attempt(job_id="gen_random_uuid()")],
    "attempts_outcome_check": [attempt(outcome="'lost'", finished_at="now()")],
    "attempts_outcome_iff_finished": [
        attempt(outcome="'failed'"),
        attempt(finished_at="now()"),
    ],
    "staged_chunks_pkey": [twice(staged())],
    "staged_chunks_content_hash_check": [staged(content_hash="'x'")],
    "published_versions_pkey": [
        twice(
            f"insert into ingest_private.published_versions "
            f"values ({DOCUMENT}, 1, 'v', {HASH}, '1')"
        )
    ],
    "published_versions_index_version_fkey": [
        f"insert into ingest_private.published_versions values ({DOCUMENT}, 9, 'v', {HASH}, '1')"
    ],
    "version_failures_pkey": [twice(version_failure(1))],
    "version_failures_index_version_fkey": [version_failure(9)],
    "document_windows_pkey": [
        twice(
            f"insert into ingest_private.document_windows values ({DOCUMENT}, {HASH}, '1', 1, 'x')"
        )
    ],
    "document_windows_content_sha256_check": [
        f"insert into ingest_private.document_windows values ({DOCUMENT}, 'x', '1', 1, 'x')"
    ],
    "document_windows_number_check": [
        f"insert into ingest_private.document_windows values ({DOCUMENT}, {HASH}, '1', 0, 'x')"
    ],
    "sketches_pkey": [twice(sketch())],
    "sketches_one_form": [sketch(bits="'1'"), sketch(embedding="null")],
    "chunk_fills_pkey": ["insert into ingest_private.chunk_fills values ('lexemes', 1)"],
    "chunk_fills_copy_check": ["insert into ingest_private.chunk_fills values ('images', 1)"],
    "chunk_fills_index_version_fkey": [
        "insert into ingest_private.chunk_fills values ('lexemes', 9)"
    ],
    "quarantine_pkey": [
        twice(f"insert into ingest_private.quarantine values ({DOCUMENT}, 1, {HASH}, 0, 'c')")
    ],
    "quarantine_index_version_fkey": [
        f"insert into ingest_private.quarantine values ({DOCUMENT}, 9, {HASH}, 0, 'c')"
    ],
    "withdrawn_pkey": [
        twice(f"insert into ingest_private.withdrawn (document_id, access) values ({JOB}, 'owner')")
    ],
    "withdrawn_access_check": [
        f"insert into ingest_private.withdrawn (document_id, access) values ({JOB}, 'all')"
    ],
    "erased_objects_pkey": [
        twice(f"insert into ingest_private.erased_objects values ({JOB}, 'v')")
    ],
    "former_documents_pkey": [
        twice(f"insert into ingest_private.former_documents values ({JOB}, {DOCUMENT})")
    ],
    "pending_events_pkey": [
        twice(
            "insert into ingest_private.pending_events (id, object_id, reason) "
            "overriding system value values (1, gen_random_uuid(), 'x')"
        )
    ],
    "probes_pkey": [
        twice("insert into ingest_private.probes values ('storage', '2026-01-01', true)")
    ],
    "schedules_pkey": [twice(scheduled())],
    "schedules_last_outcome_check": [scheduled(last_outcome="'perhaps'")],
    "schedules_due": [
        scheduled(next_due_at="null"),
        scheduled(time_zone="null"),
        scheduled(expression="null"),
    ],
    "schedules_lease": [scheduled(token="1"), scheduled(leased_until="now()")],
    "samples_pkey": [twice(sampled())],
    "samples_schedule_check": [sampled(schedule="'prune'")],
    "samples_remedy": [sampled(is_bad="true"), sampled(remedy="'x'")],
    "works_pkey": [
        twice("insert into ingest_private.works (work, period) values ('dispatch', '1 s')")
    ],
    "works_period_check": [
        "insert into ingest_private.works (work, period) values ('dispatch', '0 s')"
    ],
    "ticks_pkey": [twice("insert into ingest_private.ticks (work) values ('dispatch')")],
    "probes_dependency_check": [
        "insert into ingest_private.probes (dependency, served) values ('moon', true)"
    ],
    "breakers_pkey": [
        twice(
            "insert into ingest_private.breakers (provider, error_code, open_until) "
            "values ('p', 'b', now())"
        )
    ],
    "pauses_pkey": [twice("insert into ingest_private.pauses values ('owner', 'b')")],
    "pauses_scope_check": ["insert into ingest_private.pauses values ('bucket', 'b')"],
    "pauses_key": [
        "insert into ingest_private.pauses values ('everything', 'b')",
        "insert into ingest_private.pauses values ('source', '')",
    ],
    "settings_pkey": [twice("insert into ingest_private.settings values ('s', '1')")],
    "migrations_pkey": [twice("insert into ingest_private.migrations values ('m', 'c')")],
    "conversations_pkey": [conversation(id=CONVERSATION)],
    "conversations_title_check": [conversation(title="repeat('x', 201)")],
    "conversations_turns_check": [conversation(turns="-1"), conversation(turns="101")],
    "messages_pkey": [message(id=CONVERSATION, turn="2")],
    "messages_conversation_id_fkey": [message(conversation_id="gen_random_uuid()")],
    "messages_turn_check": [message(turn="0")],
    "messages_role_check": [answer(role="'system'")],
    "messages_content_check": [
        message(turn="2", content="''"),
        answer(content="repeat('x', 40001)"),
    ],
    "messages_outcome_check": [answer(outcome="'other'")],
    "messages_turns": [message()],
    "messages_question_length": [message(turn="2", content="repeat('x', 4001)")],
    "messages_answers": [
        message(turn="2", outcome="'answered'"),
        message(turn="2", role="'assistant'"),
    ],
    "messages_sources": [
        answer(source_chunks="array[gen_random_uuid()]"),
        answer(cited="array[1]::smallint[]"),
        answer(
            source_chunks="array_fill(gen_random_uuid(), array[21])",
            source_documents="array_fill(gen_random_uuid(), array[21])",
        ),
    ],
    "question_counts_pkey": [
        """insert into ingest_private.question_counts
           select 'alice', 'day', now(), 1 from generate_series(1, 2)"""
    ],
    "question_counts_period_check": [
        "insert into ingest_private.question_counts values ('alice', 'year', now(), 1)"
    ],
    "question_counts_kind_check": [
        "insert into ingest_private.question_counts values ('alice', 'day', now(), 1, 'guess')"
    ],
    "question_counts_questions_check": [
        "insert into ingest_private.question_counts values ('alice', 'day', now(), 0)"
    ],
    "error_codes_pkey": [
        "insert into ingest_private.error_codes values ('corrupt', 'permanent', '', '')"
    ],
    "error_codes_kind_check": [
        "insert into ingest_private.error_codes values ('new', 'fatal', '', '')"
    ],
}


@pytest.fixture(scope="module")
def watched(shared_database):
    watch_bucket(shared_database)


@pytest.fixture
def connection(watched: None, shared: Connection) -> Connection:
    """One document without a job, one finished job, one question; all else is empty."""
    shared.execute(document(id=DOCUMENT).encode())
    shared.execute(finished(id=JOB).encode())
    shared.execute(conversation(id=CONVERSATION).encode())
    shared.execute(message(id=CONVERSATION).encode())
    return shared


def test_every_constraint_of_the_catalog_is_tested_here(shared: Connection):
    named = rows(
        shared,
        """select conname as name from pg_constraint
            where connamespace::regnamespace::text in ('ingest', 'ingest_private', 'ingest_search')
              and contype in ('c', 'p', 'u', 'x', 'f')
              and conrelid not in (select oid from pg_class where relispartition)
           union
           select indexrelid::regclass::oid::regclass::text from pg_index
             join pg_class as c on c.oid = indrelid
            where indisunique and not c.relispartition
              and c.relnamespace::regnamespace::text like 'ingest%'
              and not exists (select from pg_constraint where conindid = indexrelid)""",
    )
    names = {row["name"].split(".")[-1] for row in named}
    assert names == set(REFUSED) - {"chunks_1_dimensions"}


@pytest.mark.parametrize(
    ("constraint", "statement"),
    [
        pytest.param(name, statement, id=f"{name}-{number}")
        for name, statements in REFUSED.items()
        for number, statement in enumerate(statements)
    ],
)
def test_an_impossible_row_is_refused(connection: Connection, constraint: str, statement: str):
    with pytest.raises(psycopg.errors.IntegrityError) as raised:
        connection.execute(statement.encode())
    # A partition's unique index has its own name.
    name = (raised.value.diag.constraint_name or "").replace("_1_", "_")
    if constraint == "chunks_1_dimensions":
        constraint = "chunks_dimensions"
    assert name.startswith(constraint[:30]), raised.value


def test_the_row_that_all_others_differ_from_is_possible(connection: Connection):
    for statement in (
        document(),
        job(),
        finished(state="'failed'", error_code="'corrupt'"),
        source(owner_from="'fixed:a b\nc'"),
        source(prefix="'p/'", owner_from="'folder:99'"),
        chunk(),
        position(page_start="1", page_end="1"),
        index_version(),
        queue(),
        attempt(),
        staged(),
        conversation(),
        message(turn="2", content="repeat('x', 4000)"),
        answer(content="repeat('x', 40000)"),
    ):
        connection.execute(statement.encode())


STOP_RUNNING = "update ingest.jobs set state = 'queued', stage = 'waiting' where state = 'running'"
DROP_LEASE = "delete from ingest_private.leases"
COMMIT = "set constraints all immediate"


class TestRunningIffLeased:
    @staticmethod
    def refused(connection: Connection, statement: str) -> None:
        connection.execute(statement.encode())
        with pytest.raises(pg.CheckViolation, match="if and only if it is leased"):
            connection.execute(COMMIT)

    def test_a_running_job_without_a_lease_is_refused_at_commit(self, connection: Connection):
        self.refused(connection, job(state="'running'", stage="'downloading'"))

    def test_a_lease_on_a_job_that_does_not_run_is_refused_at_commit(self, connection: Connection):
        self.refused(connection, lease())

    def test_a_lease_taken_from_a_running_job_is_refused_at_commit(self, connection: Connection):
        self.start(connection)
        self.refused(connection, DROP_LEASE)

    def test_a_job_that_stops_running_but_keeps_its_lease_is_refused_at_commit(
        self, connection: Connection
    ):
        self.start(connection)
        self.refused(connection, STOP_RUNNING)

    def test_both_may_change_one_after_the_other(self, connection: Connection):
        self.start(connection)
        connection.execute(STOP_RUNNING)
        connection.execute(DROP_LEASE)
        connection.execute(COMMIT)

    @staticmethod
    def start(connection: Connection) -> None:
        job_id = value(connection, job(state="'running'", stage="'downloading'") + " returning id")
        connection.execute(lease(job_id=f"'{job_id}'").encode())
        connection.execute(COMMIT)
        connection.execute("set constraints all deferred")


FINAL = ("succeeded", "failed", "superseded", "cancelled")


class TestFinalStates:
    @pytest.mark.parametrize("final", FINAL)
    def test_absorb(self, connection: Connection, final: str):
        job_id = value(
            connection,
            finished(state=f"'{final}'", error_code="'corrupt'") + " returning id",
        )
        for state, stage in (
            ("queued", "waiting"),
            ("running", "downloading"),
            *((other, "finished") for other in FINAL if other != final),
        ):
            with (
                pytest.raises(pg.CheckViolation, match="a finished job does not change its state"),
                connection.transaction(),
            ):
                connection.execute(
                    """update ingest.jobs set state = %s, stage = %s, finished_at =
                              case when %s then now() end where id = %s""",
                    [state, stage, stage == "finished", job_id],
                )

    @pytest.mark.parametrize("final", FINAL)
    def test_are_not_ended_again(self, connection: Connection, final: str):
        job_id = value(
            connection, finished(state=f"'{final}'", error_code="'corrupt'") + " returning id"
        )
        before = rows(connection, "select * from ingest.jobs where id = %s", job_id)
        connection.execute("select ingest_private.end_job(%s, 'superseded')", [job_id])
        assert rows(connection, "select * from ingest.jobs where id = %s", job_id) == before
