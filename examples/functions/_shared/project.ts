// Calls of the project's Data API as the caller, and embeddings of queries.

import { complain, reach, Refusal, TIMEOUT_MS } from "./http.ts";
import { reached } from "./providers/registry.ts";

const PROJECT = Deno.env.get("SUPABASE_URL"); // Supabase sets it
const REMEMBERED_MS = 60_000;
const MOST_REMEMBERED = 1000;

/** How to embed a query for the active index version. */
export type Index = {
  id: number;
  model: string;
  dimensions: number;
  sends_dimensions: boolean;
  query_prefix: string;
  provider: string;
};

// Cached answers by the headers of the caller: the cache lets in only callers that were let in
// before.
const remembered = new Map<string, { index: Index; until: number }>();

/** Headers for a call of the Data API as this caller. */
function headersFor(request: Request): Headers {
  const headers = new Headers({ "accept-profile": "ingest", "content-profile": "ingest" });
  for (const name of ["apikey", "authorization"]) {
    const value = request.headers.get(name);
    if (value) headers.set(name, value);
  }
  return headers;
}

/**
 * The active index. It is read once a minute for each caller, or again for a request with the
 * header cache-control: no-cache (`anew`). Every user who may search may read it: the Data API
 * verifies every kind of token that the project accepts, and refuses all others.
 */
export async function indexFor(request: Request, anew = false): Promise<Index> {
  const headers = headersFor(request);
  const caller = `${headers.get("apikey")}\n${headers.get("authorization")}`;
  const told = remembered.get(caller);
  anew ||= request.headers.get("cache-control")?.includes("no-cache") ?? false;
  if (told && !anew && Date.now() < told.until) return told.index;
  remembered.delete(caller);
  const index = await readIndex(request);
  if (remembered.size >= MOST_REMEMBERED) remembered.clear();
  remembered.set(caller, { index, until: Date.now() + REMEMBERED_MS });
  return index;
}

async function readIndex(request: Request): Promise<Index> {
  const answer = await call(request, "active_index", {});
  if (answer.status === 401 || answer.status === 403) {
    await answer.body?.cancel();
    throw new Refusal(401, "sign in to search", "sign_in");
  }
  if (!answer.ok) {
    await complain("the Data API", answer);
    const text = "the Data API does not serve docmill's schema ingest, or an older one: expose it, " +
      "and run docmill schema apply";
    throw new Refusal(503, text, "data_api_unavailable");
  }
  const [index] = await answer.json();
  if (!index) {
    throw new Refusal(503, "there is no active index: run docmill schema apply", "no_index");
  }
  return index;
}

/** Whether a search was refused because its index version is not searchable any more. */
export async function isOutdated(answer: Response): Promise<boolean> {
  if (answer.status !== 400) return false;
  const { code } = await answer.clone().json().catch(() => ({}));
  return code === "22023";
}

/** Calls a function of the schema ingest as the caller; its answer may be an error. */
export function call(
  request: Request,
  name: string,
  parameters: Record<string, unknown>,
): Promise<Response> {
  const headers = headersFor(request);
  headers.set("content-type", "application/json");
  return reach("the Data API", 503, "data_api_unavailable", () =>
    fetch(`${PROJECT}/rest/v1/rpc/${name}`, {
      method: "POST",
      headers,
      body: JSON.stringify(parameters),
      signal: AbortSignal.timeout(TIMEOUT_MS),
    }));
}

// Supabase's runtime; without it a server in Deno goes on by itself.
declare const EdgeRuntime: { waitUntil(promise: Promise<unknown>): void } | undefined;

/** Books tokens on the caller. The search does not wait for it, and goes on if it fails. */
function book(request: Request, index: Index, tokens: number) {
  const booked = call(request, "record_query", { index_version: index.id, tokens })
    .then((answer) => answer.ok ? answer.body?.cancel() : complain("record_query", answer))
    .catch(() => {}); // `reach` has logged why
  if (typeof EdgeRuntime !== "undefined") EdgeRuntime.waitUntil(booked);
}

/** Embeds a query for the index, and books what it cost on the caller. */
export async function embed(request: Request, query: string, index: Index): Promise<number[]> {
  const { dimensions } = index;
  const { provider, access } = reached(index.provider);
  const text = index.query_prefix + query;
  const asked = provider.request(access, { ...index, text });
  const answer = await reach("the provider", 502, "embedding_failed", () =>
    fetch(asked.url, {
      method: "POST",
      headers: { ...asked.headers, "content-type": "application/json" },
      body: JSON.stringify(asked.body),
      redirect: "error", // a redirect would send the key to another server
      signal: AbortSignal.timeout(TIMEOUT_MS),
    }));
  if (!answer.ok) {
    await complain("the provider", answer);
    if (answer.status === 429) {
      const text = "the provider takes no more queries for now: try again later";
      throw new Refusal(429, text, "embedding_busy");
    }
    throw new Refusal(502, "the provider did not embed the query", "embedding_failed");
  }
  const said = await answer.json().catch(() => null);
  const told = provider.tokens(said);
  // Gemini may not say: it counts about four characters as a token.
  book(request, index, typeof told === "number" ? told : Math.ceil([...text].length / 4));
  const embedding = provider.embedding(said);
  const isRight = Array.isArray(embedding) && embedding.length === dimensions &&
    embedding.every((value) => typeof value === "number");
  if (!isRight) {
    const text = `the provider did not answer with ${dimensions} numbers`;
    throw new Refusal(502, text, "embedding_failed");
  }
  return embedding;
}
