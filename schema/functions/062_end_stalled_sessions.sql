-- end_stalled_sessions: end the sessions of workers that were silent for so long in the middle of a
-- COPY. Such a session holds its job and its lease, so rescue leaves them alone, and neither
-- statement_timeout nor idle_in_transaction_session_timeout ends it while the server waits for
-- the client: a suspended worker, or a network that was cut, would keep the job for hours. Returns
-- how many were ended. Invoker: the worker's role may end its own sessions, and no other.
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
