-- Lets Realtime send changes of jobs. `docmill schema apply` does this if the publication exists;
-- run this file if Realtime was set up later.
alter publication supabase_realtime add table ingest.jobs;
