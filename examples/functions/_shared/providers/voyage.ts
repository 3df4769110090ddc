// Voyage AI. worker/providers/voyage.py has the sources.

import { type Access, bearer, type Provider, type Query, withoutSlash } from "./form.ts";
import { openai } from "./openai.ts";

export const voyage: Provider = {
  ...openai,
  variables: {
    api_key: { names: ["DOCMILL_VOYAGE_API_KEY", "VOYAGE_API_KEY"] },
    base_url: { names: ["DOCMILL_VOYAGE_BASE_URL"], fallback: "https://api.voyageai.com/v1" },
  },
  request: (access: Access, { model, dimensions, sends_dimensions, text }: Query) => ({
    url: `${withoutSlash(access.base_url)}/embeddings`,
    headers: bearer(access),
    body: {
      model,
      input: [text],
      input_type: "query",
      truncation: false,
      ...(sends_dimensions && { output_dimension: dimensions }),
    },
  }),
};
