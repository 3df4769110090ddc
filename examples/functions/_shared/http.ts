// Code that all functions share: it reads requests, refuses them, and calls other servers.

export const TIMEOUT_MS = 15_000;
const MAX_BODY_BYTES = 64 * 1024;

/** Why a request is refused. `code` is stable; the text is for people. */
export class Refusal extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly code = "bad_request",
    readonly retryAfter?: string,
  ) {
    super(message);
  }
}

/** Serves POST requests from pages of any origin. A thrown Refusal becomes `refused(it)`. */
export function serve(
  answer: (request: Request, headers: Headers) => Promise<Response>,
  refused: (refusal: Refusal) => unknown,
) {
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
      if (request.method !== "POST") {
        throw new Refusal(405, "send a POST request", "method_not_allowed");
      }
      return await answer(request, headers);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error; // a bug: status 500, text in the log only
      if (error.retryAfter) headers.set("retry-after", error.retryAfter);
      return Response.json(refused(error), { status: error.status, headers });
    }
  });
}

export async function bodyOf(request: Request): Promise<unknown> {
  const blocks: BlobPart[] = [];
  let size = 0;
  for await (const block of request.body ?? []) {
    size += block.length;
    if (size > MAX_BODY_BYTES) throw new Refusal(413, "the body is too large", "too_large");
    blocks.push(block);
  }
  try {
    const bytes = await new Blob(blocks).arrayBuffer();
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    throw new Refusal(400, "the body is not JSON");
  }
}

/** The text in a field of a body. */
export function textOf(body: unknown, name: string, maxCharacters: number): string {
  const text = body instanceof Object ? (body as Record<string, unknown>)[name] : undefined;
  if (typeof text !== "string" || !text.trim() || [...text].length > maxCharacters) {
    throw new Refusal(400, `${name} must be a text of 1 to ${maxCharacters} characters`);
  }
  if (!text.isWellFormed()) throw new Refusal(400, `${name} is not valid Unicode`);
  // PostgreSQL stores no such text.
  if (text.includes("\0")) throw new Refusal(400, `${name} holds the character NUL`);
  return text;
}

/** Sends a request. Throws a Refusal with this status if there is no answer. */
export async function reach(
  whom: string,
  status: number,
  code: string,
  request: () => Promise<Response>,
): Promise<Response> {
  try {
    return await request();
  } catch (error) {
    console.error(`${whom}: ${(error as Error).name}`);
    throw new Refusal(status, `${whom} did not answer`, code);
  }
}

// Never log the text of an answer: providers quote keys and queries in it.
export async function complain(whom: string, answer: Response) {
  await answer.body?.cancel();
  console.error(`${whom} answered ${answer.status}`);
}
