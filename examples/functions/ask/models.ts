// Calls any server with OpenAI's chat API, and any with the usual rerank API.

import { complain, Refusal } from "../_shared/http.ts";
import { type Message, type Passage, prompts } from "./grounding.ts";

const CHAT = Deno.env.get("DOCMILL_CHAT_BASE_URL") ?? "https://api.openai.com/v1";
const CHAT_KEY = Deno.env.get("DOCMILL_CHAT_API_KEY");
const CHAT_MODEL = Deno.env.get("DOCMILL_CHAT_MODEL");
const RERANK_URL = Deno.env.get("DOCMILL_RERANK_URL");
const RERANK_KEY = Deno.env.get("DOCMILL_RERANK_API_KEY");
const RERANK_MODEL = Deno.env.get("DOCMILL_RERANK_MODEL");

const ANSWER_MS = Number(Deno.env.get("DOCMILL_CHAT_TIMEOUT_SECONDS") ?? 100) * 1000;
const STEP_MS = 15_000; // for rewriting a question or ordering passages

export function requireModels() {
  if (!CHAT_MODEL) {
    throw new Refusal(503, "the secret DOCMILL_CHAT_MODEL is not set", "not_configured");
  }
}

/** Yields the model's text in pieces; returns whether it was cut at the limit. */
export async function* written(
  messages: Message[],
  signal: AbortSignal,
): AsyncGenerator<string, boolean> {
  const limited = AbortSignal.any([signal, AbortSignal.timeout(ANSWER_MS)]);
  let hasBegun = false;
  try {
    const answer = await chat(messages, true, limited);
    hasBegun = true;
    return yield* read(answer);
  } catch (error) {
    throw refusalFor(error, limited, hasBegun);
  }
}

/** The whole text, for a short step before the answer; empty if the model fails. */
export async function completed(messages: Message[], signal: AbortSignal): Promise<string> {
  const limited = AbortSignal.any([signal, AbortSignal.timeout(STEP_MS)]);
  try {
    const answer = await (await chat(messages, false, limited)).json();
    const text = answer?.choices?.[0]?.message?.content;
    return typeof text === "string" ? text : "";
  } catch (error) {
    signal.throwIfAborted();
    console.error(`the question was not rewritten: ${(error as Error).name}`);
    return "";
  }
}

async function chat(messages: Message[], stream: boolean, signal: AbortSignal) {
  // OpenAI's newer models refuse the field name that all other models accept.
  const limit = new URL(CHAT).hostname === "api.openai.com" ? "max_completion_tokens" : "max_tokens";
  const answer = await fetch(`${CHAT}/chat/completions`, {
    method: "POST",
    headers: {
      "content-type": "application/json",
      ...(CHAT_KEY && { authorization: `Bearer ${CHAT_KEY}` }),
    },
    body: JSON.stringify({ model: CHAT_MODEL, messages, stream, [limit]: prompts.answer_tokens }),
    signal,
  });
  if (answer.ok && answer.body) return answer;
  await complain("the chat server", answer);
  if (answer.status === 429) throw new Refusal(429, "the chat server is busy: try again", "chat_busy");
  throw new Refusal(502, `the chat server answered ${answer.status}`, "chat_refused");
}

async function* read(answer: Response): AsyncGenerator<string, boolean> {
  let length = 0;
  let finish: string | null = null;
  for await (const line of linesOf(answer.body!)) {
    if (!line.startsWith("data:")) continue;
    const data = line.slice(5).trim();
    if (data === "[DONE]") break;
    const { text, finished } = deltaOf(JSON.parse(data));
    if (text) {
      length += text.length;
      if (length > prompts.answer_characters) return true;
      yield text;
    }
    finish = finished ?? finish;
  }
  if (finish === null) throw new Refusal(502, "the chat server broke off", "chat_interrupted");
  return finish === "length";
}

type Delta = { text: string; finished: string | null };

/** The text of an event, and the reason if the answer ends with it. */
function deltaOf(event: unknown): Delta {
  const { error, choices } = objectOf(event);
  if (error) throw new Refusal(502, "the chat server broke off", "chat_interrupted");
  if (choices !== undefined && !Array.isArray(choices)) throw new SyntaxError("choices is no list");
  if (!choices?.length) return { text: "", finished: null };
  const { delta, finish_reason } = objectOf(choices[0]);
  const text = objectOf(delta ?? {}).content;
  return {
    text: typeof text === "string" ? text : "",
    finished: typeof finish_reason === "string" ? finish_reason || null : null,
  };
}

function objectOf(value: unknown): Record<string, unknown> {
  if (!(value instanceof Object) || Array.isArray(value)) throw new SyntaxError("not an object");
  return value as Record<string, unknown>;
}

async function* linesOf(body: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  let rest = "";
  const decoder = new TextDecoder("utf-8", { fatal: true });
  for await (const bytes of body) {
    const text = decodedBy(decoder, bytes);
    const lines = text.includes("\n") ? (rest + text).split(/\r?\n/) : [rest + text];
    rest = lines.pop()!;
    if (rest.length > 1_000_000) throw new SyntaxError("an endless line");
    yield* lines;
  }
  if (rest) yield rest;
}

function decodedBy(decoder: TextDecoder, bytes: Uint8Array): string {
  try {
    return decoder.decode(bytes, { stream: true });
  } catch {
    throw new SyntaxError("not UTF-8");
  }
}

function refusalFor(error: unknown, signal: AbortSignal, hasBegun: boolean): unknown {
  if (error instanceof Refusal) return error;
  if (signal.aborted && (signal.reason as Error)?.name === "TimeoutError") {
    return new Refusal(504, "the chat server took too long", "chat_timeout");
  }
  if (signal.aborted) return error; // the client is gone: report nothing
  console.error(`the chat server: ${(error as Error).name}`);
  if (error instanceof SyntaxError) {
    return new Refusal(502, "the chat server did not answer as OpenAI does", "chat_invalid");
  }
  if (hasBegun) return new Refusal(502, "the chat server broke off", "chat_interrupted");
  return new Refusal(502, "the chat server did not answer", "chat_unavailable");
}

/** The passages, best first; in the order of the search without a reranker or if it fails. */
export async function ranked(
  query: string,
  passages: Passage[],
  signal: AbortSignal,
): Promise<Passage[]> {
  if (!RERANK_URL || passages.length < 2) return passages;
  const texts = passages.map(({ content }) => content);
  try {
    const answer = await fetch(RERANK_URL, {
      method: "POST",
      headers: {
        "content-type": "application/json",
        ...(RERANK_KEY && { authorization: `Bearer ${RERANK_KEY}` }),
      },
      // Cohere, Jina and vLLM need a model; TEI has only one, and another field for documents.
      body: JSON.stringify(
        RERANK_MODEL
          ? { model: RERANK_MODEL, query, documents: texts, top_n: texts.length }
          : { query, texts, truncate: true },
      ),
      signal: AbortSignal.any([signal, AbortSignal.timeout(STEP_MS)]),
    });
    if (!answer.ok) {
      await complain("the reranker", answer);
      return passages;
    }
    return inOrder(passages, await answer.json());
  } catch (error) {
    signal.throwIfAborted();
    console.error(`the reranker: ${(error as Error).name}`);
    return passages;
  }
}

type Rank = { index: number; relevance_score?: number; score?: number };

// Passages that the reranker does not name come last.
function inOrder(passages: Passage[], said: { results?: Rank[] } | Rank[]): Passage[] {
  const ranks = Array.isArray(said) ? said : said.results ?? [];
  const scoreOf = (rank: Rank) => rank.relevance_score ?? rank.score ?? 0;
  const named = [...ranks].sort((a, b) => scoreOf(b) - scoreOf(a)).map(({ index }) => passages[index]);
  return [...new Set([...named.filter(Boolean), ...passages])];
}
