// What a provider of embeddings says of itself: how it is reached and asked, and what it answers.

/** What is asked for: the embedding of one query, as an index wants it. */
export type Query = { model: string; dimensions: number; sends_dimensions: boolean; text: string };

/** How a provider is reached, by the names of its variables. */
export type Access = Record<string, string>;

/** A secret: the names that it may have, its own first. Without a default it has to be set. */
export type Variable = { names: string[]; fallback?: string };

export type Provider = {
  variables: Record<string, Variable>;
  request(access: Access, query: Query): {
    url: string;
    headers: Record<string, string>;
    body: unknown;
  };
  /** The embedding in an answer of any form: anything but the right numbers is refused later. */
  // deno-lint-ignore no-explicit-any
  embedding(answer: any): unknown;
};

export function withoutSlash(url: string): string {
  return url.replace(/\/+$/, "");
}

/** The key as most providers want it; nothing where there is none. */
export function bearer({ api_key }: Access): Record<string, string> {
  return api_key ? { authorization: `Bearer ${api_key}` } : {};
}
