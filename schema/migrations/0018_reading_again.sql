-- How a document was read, in columns: what workers offer now is compared with it.

-- The rules of the reader and of the chunks, and what is installed beside the base.
create type ingest_private.reading as (
    reader_rules integer, chunk_rules integer, extras text[]);

-- Taken from `pipeline_version`, which a worker writes: 5+ocr+pandoc+text/csv.2.400.local is read by
-- rules 5 with two extras, as the type that its name stands for, and cut by rules 2.
alter table ingest_private.published_versions
    add column reader_rules integer generated always as (
        coalesce(substring(pipeline_version from '^[0-9]{1,9}')::integer, 0)) stored,
    add column chunk_rules integer generated always as (
        coalesce(substring(pipeline_version from '\.([0-9]{1,9})')::integer, 0)) stored,
    add column extras text[] generated always as (
        string_to_array(
            regexp_replace(split_part(pipeline_version, '.', 1),
                           '^[^+]*\+?|\+?[^+]*/[^+]*$', '', 'g'), '+')) stored,
    add column named_type text generated always as (
        coalesce(substring(split_part(pipeline_version, '.', 1) from '\+([^+]*/[^+]*)$'),
                 '')) stored,
    -- By whom the same version of the file was read again last, under which name: what has failed,
    -- or changed nothing, is not tried again by workers that read no better.
    add column tried ingest_private.reading,
    add column tried_named_type text,
    add column tried_at timestamptz;

alter table ingest_private.workers
    add column reader_rules integer,
    add column chunk_rules integer,
    add column extras text[];
comment on column ingest_private.workers.extras is
    'What is installed beside the base; null: of a former release, which does not say.';

alter table ingest_private.job_queue
    add column in_full boolean not null default false;
comment on column ingest_private.job_queue.in_full is
    'The file is read although the same bytes were read by the same rules.';

-- It takes more now; both forms side by side would be one too many.
drop function if exists ingest_private.renew_leases(
    text, integer, boolean, boolean, text, interval, uuid[], bigint[], text[]);
