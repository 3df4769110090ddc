// Upload, follow, search: copy what you need. `client` is a supabase-js client with a user who is
// signed in; works in browsers, Node, Deno and Bun.

// Uploads a file, or replaces it, and returns what names the job that this makes. The file is a
// File of a form, a Blob or bytes; docmill looks at its content, whatever type it claims to be.
export async function upload(client, bucket, path, file) {
  const storage = client.storage.from(bucket);
  const contentType = file.type || "application/octet-stream";
  need(await storage.upload(path, file, { upsert: true, contentType }));
  const { version } = need(await storage.info(path));
  return { bucket_id: bucket, object_name: path, storage_version: version };
}

// The job of an upload as it stands; null while there is none. A retry is a job of its own.
export async function readJob(client, uploaded) {
  return need(await client.schema("ingest").from("jobs").select().match(uploaded)
    .order("created_at", { ascending: false }).limit(1).maybeSingle());
}

// Yields the job whenever it has changed, until it is finished. Waits longer and longer while
// nothing happens: a quarter of a second at first, five seconds at last. When a reading fails it
// throws; follow again, and it goes on from where the job stands then.
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

// Where a job stands, in a few words for its user.
export async function describe(client, job) {
  if (job.state === "failed") {
    const [{ explanation }] = need(
      await client.schema("ingest").rpc("explain_job", { job_id: job.id }));
    return `${job.error_code}: ${explanation}`; // what happened, and what to do about it
  }
  if (job.finished_at) return job.state;
  if (job.hold_reason) return `held: ${job.hold_reason}`;
  if (job.chunks_total) {
    return `${job.stage}: ${job.chunks_embedded + job.chunks_reused} of ${job.chunks_total} chunks`;
  }
  if (job.pages_total) return `${job.stage}: ${job.pages_done} of ${job.pages_total} pages`;
  return job.stage;
}

// Asks for a job's end: it is cancelled at once, or within about a second when a worker has it.
export async function cancel(client, job) {
  return need(await client.schema("ingest").rpc("cancel_job", { job_id: job.id }));
}

// Makes a new job after one that failed or was cancelled; returns its id. The same upload is
// followed on.
export async function retry(client, job) {
  return need(await client.schema("ingest").rpc("retry_job", { job_id: job.id }));
}

// The user's documents, newest first.
export async function documents(client) {
  return need(await client.schema("ingest").from("documents")
    .select("id, object_name, title, status, searchable, page_count, chunk_count, error_code")
    .order("created_at", { ascending: false }).limit(100));
}

// The passages nearest to a question among those that the user may read. The function `embed` says
// which model it embedded with, and match_chunks answers from the index of that model.
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
