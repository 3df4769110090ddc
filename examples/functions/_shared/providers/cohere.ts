// Cohere. worker/providers/cohere.py has the sources.

import { type Access, bearer, type Provider, type Query, withoutSlash } from "./form.ts";

export const cohere: Provider = {
  variables: {
    api_key: { names: ["DOCMILL_COHERE_API_KEY", "COHERE_API_KEY", "CO_API_KEY"] },
    base_url: { names: ["DOCMILL_COHERE_BASE_URL"], fallback: "https://api.cohere.com" },
  },
  request: (access: Access, { model, dimensions, sends_dimensions, text }: Query) => ({
    url: `${withoutSlash(access.base_url)}/v2/embed`,
    headers: bearer(access),
    body: {
      model,
      texts: [text],
      input_type: "search_query",
      embedding_types: ["float"],
      truncate: "NONE",
      ...(sends_dimensions && { output_dimension: dimensions }),
    },
  }),
  embedding: (answer) => answer?.embeddings?.float?.[0],
  tokens: (answer) => answer?.meta?.billed_units?.input_tokens,
};
