// POST {"input": text} answers {"model": name, "embedding": [numbers]}: the embedding of a query,
// made here because here is the provider's key. Whoever may search may ask.

import { bodyOf, serve, textOf } from "../_shared/http.ts";
import { embed, indexFor } from "../_shared/project.ts";

const MAX_CHARACTERS = 8000; // a query, not a document

serve(async (request, headers) => {
  const index = await indexFor(request);
  const input = textOf(await bodyOf(request), "input", MAX_CHARACTERS);
  const embedding = await embed(input, index);
  return Response.json({ model: index.model, embedding }, { headers });
}, (refusal) => ({ error: refusal.message }));
