// Azure OpenAI. worker/providers/azure.py has the sources.

import { type Access, type Provider, type Query, withoutSlash } from "./form.ts";
import { openai } from "./openai.ts";

export const azure: Provider = {
  ...openai,
  variables: {
    api_key: { names: ["DOCMILL_AZURE_API_KEY", "AZURE_OPENAI_API_KEY"] },
    base_url: { names: ["DOCMILL_AZURE_BASE_URL", "AZURE_OPENAI_ENDPOINT"] },
    api_version: {
      names: ["DOCMILL_AZURE_API_VERSION", "AZURE_OPENAI_API_VERSION", "OPENAI_API_VERSION"],
      fallback: "2024-10-21",
    },
  },
  request(access: Access, query: Query) {
    const root = `${withoutSlash(access.base_url)}/openai`;
    const version = encodeURIComponent(access.api_version);
    const url = version === "v1"
      ? `${root}/v1/embeddings`
      : `${root}/deployments/${encodeURIComponent(query.model)}/embeddings?api-version=${version}`;
    return {
      url,
      headers: { "api-key": access.api_key },
      body: openai.request(access, query).body,
    };
  },
};
