// OpenAI, and any server that speaks its API. worker/providers/openai.py has the sources.

import { type Access, bearer, type Provider, type Query, withoutSlash } from "./form.ts";

export const openai: Provider = {
  variables: {
    api_key: { names: ["OPENAI_API_KEY"] },
    base_url: { names: ["OPENAI_BASE_URL"], fallback: "https://api.openai.com/v1" },
  },
  request: (access: Access, { model, dimensions, sends_dimensions, text }: Query) => ({
    url: `${withoutSlash(access.base_url)}/embeddings`,
    headers: bearer(access),
    body: { model, input: text, encoding_format: "float", ...(sends_dimensions && { dimensions }) },
  }),
  embedding: (answer) => answer?.data?.[0]?.embedding,
  tokens: (answer) => answer?.usage?.total_tokens,
};

export const compatible: Provider = {
  ...openai,
  variables: {
    base_url: { names: ["DOCMILL_COMPATIBLE_BASE_URL"] },
    api_key: { names: ["DOCMILL_COMPATIBLE_API_KEY"], fallback: "" },
  },
};
