// Google's Gemini API. worker/providers/gemini.py has the sources.

import { type Access, type Provider, type Query, withoutSlash } from "./form.ts";

export const gemini: Provider = {
  variables: {
    api_key: { names: ["DOCMILL_GEMINI_API_KEY", "GEMINI_API_KEY"] },
    base_url: {
      names: ["DOCMILL_GEMINI_BASE_URL"],
      fallback: "https://generativelanguage.googleapis.com/v1beta",
    },
  },
  request(access: Access, { model, dimensions, sends_dimensions, text }: Query) {
    const isToldByText = model.startsWith("gemini-embedding-2");
    const name = `models/${encodeURIComponent(model)}`;
    const said = isToldByText ? `task: search result | query: ${text}` : text;
    const request = {
      model: name,
      content: { parts: [{ text: said }] },
      ...(!isToldByText && { taskType: "RETRIEVAL_QUERY" }),
      ...(sends_dimensions && { outputDimensionality: dimensions }),
    };
    return {
      url: `${withoutSlash(access.base_url)}/${name}:batchEmbedContents`,
      headers: { "x-goog-api-key": access.api_key },
      body: { requests: [request] },
    };
  },
  // A shortened embedding does not have length 1. That is fine: distances compare directions.
  embedding: (answer) => answer?.embeddings?.[0]?.values,
  tokens: (answer) => answer?.usageMetadata?.promptTokenCount,
};
