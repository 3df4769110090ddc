-- Formulas of a workbook that was saved without their values: the chunks hold the formulas instead.
alter table ingest.documents add column uncomputed_formulas integer not null default 0;
comment on column ingest.documents.uncomputed_formulas is
    'Formulas that the file has no value for; the formulas themselves were read.';

-- They take or return a count more; both forms side by side would be one too many.
drop function if exists ingest_private.publish_document(
    uuid, bigint, bytea, text, text, text, integer, integer, bytea[], integer[], integer[],
    jsonb[], integer, integer[], jsonb);
drop function if exists ingest_private.finish_publish(
    uuid, bytea, text, text, text, integer, integer, integer[], integer, jsonb);
drop function if exists ingest_private.reindex_source(uuid);
