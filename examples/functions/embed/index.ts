// POST {"input": text} answers {"model": name, "embedding": [numbers]}: the embedding of a query.
// It runs here because the provider's key is here. Every user who may search may call it.

import { bodyOf, serve, textOf } from "../_shared/http.ts";
import { embed, indexFor } from "../_shared/project.ts";

const MAX_CHARACTERS = 8000; // enough for a query, not for a document

serve(async (request, headers) => {
  const index = await indexFor(request);
  const input = textOf(await bodyOf(request), "input", MAX_CHARACTERS);
  const embedding = await embed(request, input, index);
  return Response.json({ model: index.model, embedding }, { headers });
}, (refusal) => ({ error: refusal.message }));
