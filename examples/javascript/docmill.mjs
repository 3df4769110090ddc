// Upload, follow, search: copy what you need. `client` is a supabase-js client of a signed-in user.
// Works in browsers, Node, Deno and Bun.

// Uploads or replaces a file, and returns the keys of the job that this makes. The file is a File
// of a form, a Blob or bytes; docmill looks at its content and ignores its declared type.
export async function upload(client, bucket, path, file) {
  const storage = client.storage.from(bucket);
  const contentType = file.type || "application/octet-stream";
  need(await storage.upload(path, file, { upsert: true, contentType }));
  const { version } = need(await storage.info(path));
  return { bucket_id: bucket, object_name: path, storage_version: version };
}

// The current state of an upload's job; null while there is none. A retry is another job.
export async function readJob(client, uploaded) {
  return need(await client.schema("ingest").from("jobs").select().match(uploaded)
    .order("created_at", { ascending: false }).limit(1).maybeSingle());
}

// Yields the job at each change, until it is finished. While nothing changes, the waits grow from a
// quarter of a second to five seconds. Throws if a request fails; call it again to continue from
// the current state.
export async function* follow(client, uploaded, patienceMs = 30_000) {
  const started = Date.now();
  let seen;
  for (let pause = 250; ; pause = Math.min(1.5 * pause, 5000)) {
    const job = await readJob(client, uploaded);
    if (job && job.updated_at !== seen) {
      yield job;
      if (job.finished_at) return;
      seen = job.updated_at;
      pause = 250;
    }
    if (!job && Date.now() - started > patienceMs) {
      throw new Error("no job was made: is the bucket a source (docmill sources list)?");
    }
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}

// The state of a job in a few words for its user.
export async function describe(client, job) {
  if (job.state === "failed") {
    const [{ explanation }] = need(
      await client.schema("ingest").rpc("explain_job", { job_id: job.id }));
    return `${job.error_code}: ${explanation}`; // what happened, and what to do
  }
  if (job.finished_at) return job.state;
  if (job.hold_reason) return `held: ${job.hold_reason}`;
  if (job.chunks_total) {
    return `${job.stage}: ${job.chunks_embedded + job.chunks_reused} of ${job.chunks_total} chunks`;
  }
  if (job.pages_total) return `${job.stage}: ${job.pages_done} of ${job.pages_total} pages`;
  return job.stage;
}

// Cancels a job: at once, or within about a second if a worker runs it.
export async function cancel(client, job) {
  return need(await client.schema("ingest").rpc("cancel_job", { job_id: job.id }));
}

// Makes a new job after one that failed or was cancelled; returns its id. Follow it with the same
// upload.
export async function retry(client, job) {
  return need(await client.schema("ingest").rpc("retry_job", { job_id: job.id }));
}

// The user's documents, newest first.
export async function documents(client) {
  return need(await client.schema("ingest").from("documents")
    .select("id, object_name, title, status, searchable, page_count, chunk_count, error_code")
    .order("created_at", { ascending: false }).limit(100));
}

// The passages nearest to a question, of documents that the user may read. The function `embed`
// names its model, and match_chunks answers from the index of that model.
export async function search(client, question, options = { match_count: 5 }) {
  const { embedding, model } = need(
    await client.functions.invoke("embed", { body: { input: question } }));
  return need(await client.schema("ingest").rpc(
    "match_chunks", { query_embedding: JSON.stringify(embedding), model, ...options }));
}

function need({ data, error }) {
  if (error) throw error;
  return data;
}
