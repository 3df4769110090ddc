-- reusable_embeddings: of the texts that a run is about to buy embeddings of, those that the owner
-- has in another document already, with their embeddings in the binary form of halfvec. By content_hash,
-- which names model, dimensions and text. Never of another owner: the time and the bill would tell
-- what others have. No row for a document without an owner, nor once the lease is lost.
-- The embeddings of a document that is withdrawn and not yet drained are the owner's too, and so are
-- those that are kept of files that the owner has deleted, and those that another run has staged for
-- a document of the owner: two copies may be ingested at the same time.
create or replace function ingest_private.reusable_embeddings(
    p_job_id uuid, p_token bigint, p_hashes bytea[])
returns table (content_hash bytea, embedding bytea)
language sql stable security definer set search_path = pg_catalog, pg_temp
-- A row of its own for each text, by the index: a plan for all at once could read every chunk.
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_hashjoin = off
set enable_mergejoin = off set jit = off as $$
    with run as materialized (
        select document.id, document.owner_id, ingest_private.versions_alike(job.index_version) as versions
          from ingest.jobs as job
               join ingest.documents as document on document.id = job.document_id
               join ingest_private.leases as lease on lease.job_id = job.id
         where job.id = p_job_id and lease.token = p_token and document.owner_id is not null),
    running as materialized (
        select other.id
          from run
               cross join ingest_private.leases as lease
               join ingest.jobs as job on job.id = lease.job_id
               join ingest.documents as other on other.id = job.document_id
         where other.owner_id = run.owner_id and other.id <> run.id)
    select wanted.content_hash, found.embedding
      from run
           cross join unnest(p_hashes) as wanted (content_hash)
           cross join lateral (
               (select extensions.halfvec_send(chunk.embedding) as embedding
                 from ingest.chunks as chunk
                where hashtextextended(
                          chunk.owner_id || encode(chunk.content_hash, 'hex'), 0)
                      = hashtextextended(run.owner_id || encode(wanted.content_hash, 'hex'), 0)
                  and chunk.owner_id = run.owner_id
                  and chunk.content_hash = wanted.content_hash
                  and chunk.index_version = any(run.versions)
                limit 1)
               union all
               (select extensions.halfvec_send(kept.embedding)
                  from ingest_private.kept_embeddings as kept
                 where kept.owner_id = run.owner_id
                   and kept.content_hash = wanted.content_hash
                   and kept.index_version = any(run.versions)
                   and kept.kept_until > clock_timestamp()
                 limit 1)
               union all
               (select extensions.halfvec_send(staged.embedding)
                  from running
                       join ingest_private.staged_chunks as staged
                         on staged.document_id = running.id
                        and staged.content_hash = wanted.content_hash
                        and staged.index_version = any(run.versions)
                 limit 1)
                limit 1) as found
$$;
