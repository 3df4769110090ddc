-- The trace that the runs of a job continue, in the form of the W3C's header traceparent. Ids alone;
-- it goes with the job's place in the queue.

alter table ingest_private.job_queue
    add column traceparent text
        constraint job_queue_traceparent
        check (traceparent ~ '^00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]$'
               and traceparent !~ '^00-(0{32}|[0-9a-f]{32}-0{16})-');
