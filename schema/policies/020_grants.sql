-- Who may do what. First all rights are revoked, because the project's default privileges may have
-- given more than row-level security can take back (TRUNCATE obeys no policy).

revoke all on schema ingest, ingest_private, ingest_search
    from public, anon, authenticated, service_role, docmill_worker;
revoke all on all tables in schema ingest, ingest_private, ingest_search
    from public, anon, authenticated, service_role, docmill_worker;
revoke all on all sequences in schema ingest, ingest_private, ingest_search
    from public, anon, authenticated, service_role, docmill_worker;
revoke all on all functions in schema ingest, ingest_private, ingest_search
    from public, anon, authenticated, service_role, docmill_worker;

-- Clients read.
grant usage on schema ingest to authenticated, service_role;
grant select on ingest.documents, ingest.jobs, ingest.usage, ingest.index_versions,
    ingest.chunks, ingest.chunk_positions, ingest.chunk_lexemes, ingest.conversations,
    ingest.messages to authenticated, service_role;
grant execute on function ingest.match_chunks, ingest.hybrid_search, ingest.match_documents,
    ingest.search_facets, ingest.similar, ingest.active_index,
    ingest.cancel_job, ingest.retry_job, ingest.explain_job
    to authenticated, service_role;
-- Asking. All but message_sources are definer functions: they take the subject from the token.
grant execute on function ingest.ask_question, ingest.record_answer, ingest.delete_conversation,
    ingest.message_sources
    to authenticated, service_role;
-- A definer function that takes the subject from the token, too.
grant execute on function ingest.record_query to authenticated, service_role;
-- Parts that the search functions call with their caller's rights. This schema is not exposed to
-- the Data API. Its definer functions are safe by themselves: they return only facts about the
-- caller's own rows.
grant usage on schema ingest_search to authenticated, service_role;
grant execute on all functions in schema ingest_search to authenticated, service_role;
-- Only policies can name this function: its schema is closed to clients.
grant execute on function ingest_private.withdrawn_of_caller to authenticated;
grant execute on function ingest.withdrawn_documents to service_role;
-- Only nearest_chunks and shared_documents can name these, for the same reason.
grant execute on function ingest_private.nearest_allowed, ingest_private.is_widely_shared,
    ingest_private.documents_of_objects
    to authenticated, service_role;

-- The worker calls functions, and COPYs into the one table that COPY needs.
grant usage on schema ingest_private, extensions to docmill_worker;
grant insert on ingest_private.staged_chunks to docmill_worker;
grant execute on function
    ingest_private.sync_object,
    ingest_private.sync_hints,
    ingest_private.drain_pending_events,
    ingest_private.drain_withdrawn,
    ingest_private.fill_chunks,
    ingest_private.fill_index_versions,
    ingest_private.embedding_of,
    ingest_private.reindex_source,
    ingest_private.reindex_chunks,
    ingest_private.read_again,
    ingest_private.take_ready_jobs,
    ingest_private.age_jobs,
    ingest_private.claim_job,
    ingest_private.trace_jobs,
    ingest_private.renew_leases,
    ingest_private.stop_flags,
    ingest_private.is_wanted,
    ingest_private.hints_wait,
    ingest_private.forget_worker,
    ingest_private.report_progress,
    ingest_private.begin_stage,
    ingest_private.keep_window,
    ingest_private.kept_windows,
    ingest_private.kept_window,
    ingest_private.record_spend,
    ingest_private.settle_spend,
    ingest_private.bulk_state,
    ingest_private.put_bulk_texts,
    ingest_private.direct_hashes,
    ingest_private.make_bulk_batch,
    ingest_private.claim_bulk_batch,
    ingest_private.bulk_batch_texts,
    ingest_private.note_bulk_batch,
    ingest_private.leave_bulk_batch,
    ingest_private.begin_bulk_page,
    ingest_private.collect_bulk_page,
    ingest_private.end_bulk_batch,
    ingest_private.wake_bulk_jobs,
    ingest_private.known_hashes,
    ingest_private.reusable_embeddings,
    ingest_private.publish_document,
    ingest_private.publish_unchanged,
    ingest_private.fail_job,
    ingest_private.release_job,
    ingest_private.cancel_run,
    ingest_private.rescue_jobs,
    ingest_private.probes_wanted,
    ingest_private.note_probe,
    ingest_private.begin_work,
    ingest_private.note_tick,
    ingest_private.forget_tick,
    ingest_private.end_stalled_sessions,
    ingest_private.apply_pauses,
    ingest_private.reconcile,
    ingest_private.forget_orphaned_chunks,
    ingest_private.put_schedules,
    ingest_private.claim_schedule,
    ingest_private.renew_schedule,
    ingest_private.finish_schedule,
    ingest_private.retry_failed,
    ingest_private.recall_sample,
    ingest_private.recall_of,
    ingest_private.note_recall,
    ingest_private.sample_bloat,
    ingest_private.gauges,
    ingest_private.note_prices,
    ingest_private.full_reconcile_due,
    ingest_private.note_full_reconcile,
    ingest_private.prune,
    ingest_private.end_due_versions,
    ingest_private.active_index_version
    to docmill_worker;

-- Bounds on everything that a worker waits for; a publish raises its own bound. They are set on the
-- role, because a transaction pooler keeps no session settings.
alter role docmill_worker set statement_timeout = '60s';
alter role docmill_worker set lock_timeout = '10s';
-- A worker does nothing between two statements of a transaction. If this takes so long, the worker
-- was suspended, and delays the rescue of its jobs and deletes of their documents.
alter role docmill_worker set idle_in_transaction_session_timeout = '5s';
-- All statements are short: compiling one takes longer than running it.
alter role docmill_worker set jit = off;
