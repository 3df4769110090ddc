-- The title of a document is found with its first chunk. Documents that are here already get it
-- from the schedule, document by document.

alter table ingest_private.chunk_fills drop constraint chunk_fills_copy_check;
alter table ingest_private.chunk_fills add constraint chunk_fills_copy_check
    check (copy in ('sketches', 'lexemes', 'titles'));
comment on column ingest_private.chunk_fills.filled_to is
    'Chunks up to this id have their copy, for titles documents up to this id; newer ones too.';
comment on column ingest.chunk_lexemes.lexemes is
    'Words as written, and stems: A of headings and title, B of content; one of version and owner.';

insert into ingest_private.chunk_fills (copy, index_version)
select 'titles', id from ingest.index_versions;
