// `follow` of docmill.mjs without polling, for projects with Realtime on `ingest.jobs`.
import { readJob } from "./docmill.mjs";

const RECHECK_MS = 5_000; // how late a lost event is noticed

export async function* followLive(client, uploaded) {
  const arrived = [];
  let failure;
  let wake = () => {};
  const arrive = (job) => { arrived.push(job); wake(); };
  const fail = (error) => { failure = error; wake(); };
  const read = () => readJob(client, uploaded).then((job) => job && arrive(job)).catch(fail);

  // Realtime sends each change that the user may read once, and may lose it. Changes from before it
  // began, or while the connection was lost, are read from the table: it sends `system` when it
  // begins.
  const channel = client.channel(`job-${uploaded.storage_version}`)
    .on("postgres_changes", {
      event: "*", schema: "ingest", table: "jobs",
      filter: `storage_version=eq.${uploaded.storage_version}`,
    }, (change) => arrive(change.new))
    .on("system", {}, read)
    .subscribe();
  read();
  const timer = setInterval(read, RECHECK_MS);
  let seen = 0;
  try {
    for (;;) {
      while (arrived.length) {
        const job = arrived.shift();
        const changed = Date.parse(job.updated_at);
        if (changed > seen || job.finished_at) yield job;
        if (job.finished_at) return;
        seen = Math.max(seen, changed); // the row that was read may be older than an event
      }
      if (failure) throw failure;
      await new Promise((resolve) => { wake = resolve; });
    }
  } finally {
    clearInterval(timer);
    client.removeChannel(channel);
  }
}
