// POST {"question": text, "conversation_id": id or nothing} answers with server-sent events:
//   sources  {conversation_id, question_id, query, sources: [{number, content, ...}]}
//   delta    {text}, as the model writes it: not checked yet
//   result   {outcome, answer, cited, removed, is_cut, message_id}: shown instead of the deltas
//   error    {code, error}
// The function reads and writes the project as the caller. An error before the first event is a
// status and {"code": code, "error": text}.

import { bodyOf, complain, Refusal, serve, textOf } from "../_shared/http.ts";
import { call, embed, type Index, indexFor, isOutdated } from "../_shared/project.ts";
import * as grounding from "./grounding.ts";
import { completed, ranked, requireModels, written } from "./models.ts";

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

type Asked = { conversation: string; message_id: string; history: grounding.Message[] };
type Found = { query: string; passages: grounding.Passage[] };

serve(async (request, headers) => {
  const index = await indexFor(request);
  const body = await bodyOf(request);
  const question = textOf(body, "question", grounding.prompts.question_characters);
  const conversation = conversationOf(body);
  requireModels();
  const gone = new AbortController();
  request.signal.addEventListener("abort", () => gone.abort());
  const asked = await note(request, question, conversation);
  const found = await search(request, index, question, asked, gone.signal);
  headers.set("content-type", "text/event-stream");
  headers.set("cache-control", "no-store");
  headers.set("x-accel-buffering", "no");
  const events = answer(request, question, asked, found, gone.signal);
  return new Response(streamOf(events, gone), { headers });
}, ({ code, message }) => ({ code, error: message }));

function conversationOf(body: unknown): string | null {
  const id = (body as { conversation_id?: unknown }).conversation_id ?? null;
  if (id !== null && (typeof id !== "string" || !UUID.test(id))) {
    throw new Refusal(400, "conversation_id must be the id of a conversation");
  }
  return id;
}

/** Counts and stores the question. The function takes the subject from the caller's token. */
async function note(request: Request, question: string, id: string | null): Promise<Asked> {
  const answer = await call(request, "ask_question", { question, conversation_id: id });
  if (answer.ok) return (await answer.json())[0];
  const { details } = await answer.json().catch(() => ({}));
  switch (answer.status) {
    case 401:
    case 403:
      throw new Refusal(401, "sign in to ask", "sign_in");
    case 404:
      throw new Refusal(404, "there is no such conversation", "conversation_missing");
    case 409:
      throw new Refusal(409, "the conversation is full: begin another", "conversation_full");
    case 429: {
      const text = "you have asked too many questions: wait a little";
      throw new Refusal(429, text, "too_many_questions", details ?? undefined);
    }
  }
  console.error(`ask_question answered ${answer.status}`);
  throw new Refusal(503, "the question could not be stored", "data_api_unavailable");
}

/** Searches passages that the caller may read, for the question without its conversation. */
async function search(
  request: Request,
  index: Index,
  question: string,
  { history }: Asked,
  signal: AbortSignal,
): Promise<Found> {
  const query = history.length
    ? grounding.queryOf(
      await completed(grounding.rewriteMessages(question, history), signal),
      question,
    )
    : question;
  let passages = await passagesFor(request, index, query);
  const unquoted = grounding.unquoted(query);
  if (!passages.length && unquoted !== query) {
    passages = await passagesFor(request, index, unquoted);
  }
  return { query, passages: await ranked(query, passages, signal) };
}

async function passagesFor(
  request: Request,
  index: Index,
  query: string,
): Promise<grounding.Passage[]> {
  let answer = await searched(request, index, query);
  if (await isOutdated(answer)) {
    await answer.body?.cancel();
    answer = await searched(request, await indexFor(request, true), query);
  }
  if (!answer.ok) {
    await complain("hybrid_search", answer);
    throw new Refusal(502, "the search failed", "search_failed");
  }
  return await answer.json();
}

const searched = async (request: Request, index: Index, query: string) =>
  await call(request, "hybrid_search", {
    query_text: query,
    query_embedding: JSON.stringify(await embed(request, query, index)),
    model: index.model,
    index_version: index.id,
    match_count: grounding.prompts.passages_searched,
  });

type Event = [name: string, data: unknown];

async function* answer(
  request: Request,
  question: string,
  asked: Asked,
  { query, passages }: Found,
  signal: AbortSignal,
): AsyncGenerator<Event> {
  const nonce = grounding.makeNonce();
  const { sources, text } = grounding.contextOf(passages, nonce);
  yield ["sources", {
    conversation_id: asked.conversation,
    question_id: asked.message_id,
    query,
    sources,
  }];
  let said = "";
  let isCut = false;
  if (sources.length) {
    const messages = grounding.answerMessages(question, text, asked.history, nonce);
    const pieces = written(messages, signal);
    let piece = await pieces.next();
    for (; !piece.done; piece = await pieces.next()) {
      said += piece.value;
      yield ["delta", { text: piece.value }];
    }
    isCut = piece.value;
  }
  const result = grounding.checked(said, sources.length, nonce);
  const message_id = await record(request, asked, sources, result);
  yield ["result", { ...result, is_cut: isCut, message_id }];
}

/** Stores the answer; null if that fails, because the caller gets the answer anyway. */
async function record(
  request: Request,
  asked: Asked,
  sources: grounding.Source[],
  { answer, cited }: grounding.Checked,
): Promise<string | null> {
  const stored = await call(request, "record_answer", {
    message_id: asked.message_id,
    answer,
    source_chunks: sources.map((source) => source.chunk_id),
    source_documents: sources.map((source) => source.document_id),
    cited,
  }).catch(() => null);
  if (stored?.ok) return await stored.json();
  if (stored) await complain("record_answer", stored);
  return null;
}

/** Sends events. If the client goes away, the call of the model ends. */
function streamOf(events: AsyncGenerator<Event>, gone: AbortController): ReadableStream {
  const encoder = new TextEncoder();
  const encoded = ([name, data]: Event) =>
    encoder.encode(`event: ${name}\ndata: ${JSON.stringify(data)}\n\n`);
  return new ReadableStream({
    async pull(controller) {
      try {
        const { value, done } = await events.next();
        if (done) controller.close();
        else controller.enqueue(encoded(value));
      } catch (error) {
        if (gone.signal.aborted) return;
        const refusal = error instanceof Refusal
          ? error
          : new Refusal(500, "something went wrong", "internal_error");
        if (refusal !== error) console.error(error);
        controller.enqueue(encoded(["error", { code: refusal.code, error: refusal.message }]));
        controller.close();
      }
    },
    cancel() {
      gone.abort();
    },
  });
}
