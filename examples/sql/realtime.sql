-- Lets Realtime send changes of jobs. `docmill schema apply` does this when it finds the
-- publication; run it when Realtime was set up later.
alter publication supabase_realtime add table ingest.jobs;
