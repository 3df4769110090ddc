// The form of a provider of embeddings: its address, its requests, and its answers.

/** A request: the embedding of one query for an index. */
export type Query = { model: string; dimensions: number; sends_dimensions: boolean; text: string };

/** The environment variables that say how to reach a provider. */
export type Access = Record<string, string>;

/** A variable: its possible names, its own first. Without a default it must be set. */
export type Variable = { names: string[]; fallback?: string };

export type Provider = {
  variables: Record<string, Variable>;
  request(access: Access, query: Query): {
    url: string;
    headers: Record<string, string>;
    body: unknown;
  };
  /** Takes the embedding out of an answer. The caller checks the numbers later. */
  // deno-lint-ignore no-explicit-any
  embedding(answer: any): unknown;
  /** The tokens that the answer says were billed; undefined if it does not say. */
  // deno-lint-ignore no-explicit-any
  tokens(answer: any): unknown;
};

export function withoutSlash(url: string): string {
  return url.replace(/\/+$/, "");
}

/** The key in the header that most providers want; no header if there is no key. */
export function bearer({ api_key }: Access): Record<string, string> {
  return api_key ? { authorization: `Bearer ${api_key}` } : {};
}
