// POST {"input": text} answers {"model": name, "embedding": [numbers]}: the embedding of a query,
// made here because here is the provider's key.
//
// Whoever may search may ask. The Data API is asked for the model of the index in the caller's
// name: it verifies every kind of token that the project accepts, and refuses all others.

const MAX_CHARACTERS = 8000; // a query, not a document
const MAX_BODY_BYTES = 64 * 1024;
const TIMEOUT_MS = 15_000;

const PROJECT = Deno.env.get("SUPABASE_URL"); // Supabase sets it
const PROVIDER = Deno.env.get("OPENAI_BASE_URL") ?? "https://api.openai.com/v1";
const KEY = Deno.env.get("OPENAI_API_KEY");

class Refusal extends Error {
  constructor(readonly status: number, message: string) {
    super(message);
  }
}

Deno.serve(async (request) => {
  const headers = new Headers({ "access-control-allow-origin": "*" });
  if (request.method === "OPTIONS") {
    headers.set("access-control-allow-methods", "POST");
    headers.set(
      "access-control-allow-headers",
      request.headers.get("access-control-request-headers") ?? "",
    );
    return new Response(null, { headers });
  }
  try {
    if (request.method !== "POST") throw new Refusal(405, "send a POST request");
    const index = await indexFor(request);
    const embedding = await embed(await inputOf(request), index);
    return Response.json({ model: index.model, embedding }, { headers });
  } catch (error) {
    if (error instanceof Refusal) {
      return Response.json({ error: error.message }, { status: error.status, headers });
    }
    throw error; // a mistake of ours: answered with 500, its text only logged
  }
});

type Index = { model: string; dimensions: number };

async function indexFor(request: Request): Promise<Index> {
  const headers = new Headers({ "accept-profile": "ingest" });
  for (const name of ["apikey", "authorization"]) {
    const value = request.headers.get(name);
    if (value) headers.set(name, value);
  }
  const answer = await ask("the Data API", 503, () =>
    fetch(`${PROJECT}/rest/v1/index_versions?select=model,dimensions&state=eq.active`, {
      headers,
      signal: AbortSignal.timeout(TIMEOUT_MS),
    }));
  if (answer.status === 401 || answer.status === 403) throw new Refusal(401, "sign in to search");
  if (!answer.ok) {
    await complain("the Data API", answer);
    throw new Refusal(503, "the Data API does not serve the schema ingest: expose it");
  }
  const [index] = await answer.json();
  if (!index) throw new Refusal(503, "there is no active index: run docmill schema apply");
  return index;
}

async function inputOf(request: Request): Promise<string> {
  const body = await bodyOf(request);
  const input = body instanceof Object ? (body as { input?: unknown }).input : undefined;
  if (typeof input !== "string" || !input.trim() || [...input].length > MAX_CHARACTERS) {
    throw new Refusal(400, `input is a text of 1 to ${MAX_CHARACTERS} characters`);
  }
  if (!input.isWellFormed()) throw new Refusal(400, "input is not valid Unicode");
  return input;
}

async function bodyOf(request: Request): Promise<unknown> {
  const blocks: BlobPart[] = [];
  let size = 0;
  for await (const block of request.body ?? []) {
    size += block.length;
    if (size > MAX_BODY_BYTES) throw new Refusal(413, "the body is too large");
    blocks.push(block);
  }
  try {
    const bytes = await new Blob(blocks).arrayBuffer();
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    throw new Refusal(400, "the body is not JSON");
  }
}

async function embed(input: string, { model, dimensions }: Index): Promise<number[]> {
  if (!KEY) throw new Refusal(503, "the secret OPENAI_API_KEY is not set");
  const answer = await ask("the provider", 502, () =>
    fetch(`${PROVIDER}/embeddings`, {
      method: "POST",
      headers: { authorization: `Bearer ${KEY}`, "content-type": "application/json" },
      body: JSON.stringify({
        model,
        input,
        encoding_format: "float",
        // Other models have one size, and refuse to be asked for it.
        ...(model.startsWith("text-embedding-3") && { dimensions }),
      }),
      signal: AbortSignal.timeout(TIMEOUT_MS),
    }));
  if (!answer.ok) {
    await complain("the provider", answer);
    if (answer.status === 429) {
      throw new Refusal(429, "the provider takes no more queries for now: try again later");
    }
    throw new Refusal(502, "the provider did not embed the query");
  }
  const embedding = (await answer.json().catch(() => null))?.data?.[0]?.embedding;
  if (!Array.isArray(embedding) || embedding.length !== dimensions) {
    throw new Refusal(502, `the provider did not answer with ${dimensions} numbers`);
  }
  return embedding;
}

async function ask(whom: string, status: number, request: () => Promise<Response>) {
  try {
    return await request();
  } catch (error) {
    console.error(`${whom}: ${(error as Error).name}`);
    throw new Refusal(status, `${whom} did not answer`);
  }
}

// The text of an answer stays out of the log: providers quote keys and queries.
async function complain(whom: string, answer: Response) {
  await answer.body?.cancel();
  console.error(`${whom} answered ${answer.status}`);
}
