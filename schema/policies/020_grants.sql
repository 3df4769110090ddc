-- Who may do what. First everything is taken away, because the project's default privileges may
-- have handed out more than row-level security can take back (TRUNCATE obeys no policy).

revoke all on schema ingest, ingest_private from public, anon, authenticated, service_role,
    docmill_worker;
revoke all on all tables in schema ingest, ingest_private
    from public, anon, authenticated, service_role, docmill_worker;
revoke all on all sequences in schema ingest, ingest_private
    from public, anon, authenticated, service_role, docmill_worker;
revoke all on all functions in schema ingest, ingest_private
    from public, anon, authenticated, service_role, docmill_worker;

-- Clients read.
grant usage on schema ingest to authenticated, service_role;
grant select on ingest.documents, ingest.jobs, ingest.usage, ingest.index_versions,
    ingest.chunks, ingest.chunk_positions to authenticated, service_role;
grant execute on function ingest.match_chunks, ingest.nearest_in_branch,
    ingest.cancel_job, ingest.retry_job, ingest.explain_job
    to authenticated, service_role;

-- The worker calls functions, and COPYs into the one table that COPY needs.
grant usage on schema ingest_private, extensions to docmill_worker;
grant insert on ingest_private.staged_chunks to docmill_worker;
grant execute on function
    ingest_private.sync_object,
    ingest_private.sync_hints,
    ingest_private.drain_pending_events,
    ingest_private.take_ready_jobs,
    ingest_private.age_jobs,
    ingest_private.claim_job,
    ingest_private.renew_leases,
    ingest_private.stop_flags,
    ingest_private.hints_wait,
    ingest_private.forget_worker,
    ingest_private.report_progress,
    ingest_private.begin_stage,
    ingest_private.keep_window,
    ingest_private.kept_windows,
    ingest_private.kept_window,
    ingest_private.record_spend,
    ingest_private.known_hashes,
    ingest_private.publish_document,
    ingest_private.publish_unchanged,
    ingest_private.fail_job,
    ingest_private.release_job,
    ingest_private.cancel_run,
    ingest_private.rescue_jobs,
    ingest_private.probes_wanted,
    ingest_private.note_probe,
    ingest_private.end_stalled_sessions,
    ingest_private.apply_pauses,
    ingest_private.reconcile,
    ingest_private.forget_orphaned_chunks,
    ingest_private.full_reconcile_due,
    ingest_private.note_full_reconcile,
    ingest_private.prune,
    ingest_private.active_index_version
    to docmill_worker;

-- Bounds on everything a worker waits for; a publish raises its own. Set on the role, because a
-- transaction pooler keeps no session settings.
alter role docmill_worker set statement_timeout = '60s';
alter role docmill_worker set lock_timeout = '10s';
-- Nothing is done between two statements of a transaction. Whoever takes so long was suspended, and
-- holds up the rescue of its jobs and whoever deletes their documents.
alter role docmill_worker set idle_in_transaction_session_timeout = '5s';
-- Short statements all: compiling one takes longer than running it.
alter role docmill_worker set jit = off;
