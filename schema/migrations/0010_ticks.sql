-- What keeps an installation going is heard of, so that its silence can be seen.

create table ingest_private.ticks (
    work text primary key,
    ticked_at timestamptz not null default clock_timestamp(),
    -- How long it took from the tick before; null after the first.
    usual_gap interval
);
comment on table ingest_private.ticks is
    'When each work of the schedule was done last, and when the receiver was last heard of.';

-- It returns the request's id now.
drop function if exists ingest_private.ring_doorbell(text, jsonb, jsonb);
