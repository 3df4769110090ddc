-- end_stalled_sessions: ends sessions of workers that have been silent for this long in the middle
-- of a COPY. Such a session holds locks on its job and lease, so rescue skips them. Neither
-- statement_timeout nor idle_in_transaction_session_timeout ends it while the server waits for the
-- client. So a suspended worker, or a broken network, would keep the job for hours. Returns how
-- many were ended. It runs with its caller's rights: the worker's role may end only its own
-- sessions.
create or replace function ingest_private.end_stalled_sessions(
    p_silent_for interval default '60 seconds')
returns integer
language sql security invoker set search_path = pg_catalog, pg_temp as $$
    select count(*) filter (where pg_terminate_backend(session.pid))::integer
      from pg_stat_activity as session
     where session.usename = current_user and session.datname = current_database()
       and session.pid <> pg_backend_pid()
       and session.state = 'active' and session.wait_event = 'ClientRead'
       and session.query_start < clock_timestamp() - p_silent_for
$$;
