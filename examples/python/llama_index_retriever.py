"""A LlamaIndex retriever: hybrid search with the user's token. Copy what you need."""

from collections.abc import Callable, Sequence
from typing import Any

from llama_index.core.retrievers import BaseRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from supabase import Client

Embed = Callable[[str], tuple[Sequence[float], str]]


class DocmillRetriever(BaseRetriever):
    """Passages that answer a question, of documents that the client's user may read.

    `embed` returns the embedding of a text and the model that made it; the default calls the Edge
    Function `embed`. `options` are parameters of hybrid_search.
    """

    def __init__(self, client: Client, embed: Embed | None = None, **options: Any) -> None:
        super().__init__()
        self._client, self._embed, self._options = client, embed or self._ask, options

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        query = query_bundle.query_str
        embedding, model = self._embed(query)
        arguments = {"query_text": query, "query_embedding": str(list(embedding)), "model": model}
        call = self._client.schema("ingest").rpc("hybrid_search", arguments | self._options)
        return [_node(hit) for hit in call.execute().data]

    def _ask(self, text: str) -> tuple[Sequence[float], str]:
        body = {"body": {"input": text}, "responseType": "json"}
        answer = self._client.functions.invoke("embed", body)
        return answer["embedding"], answer["model"]


def _node(hit: dict[str, Any]) -> NodeWithScore:
    text = hit.pop("context") or hit["content"]  # with_context: the passage with the text around it
    place = {name: hit[name] for name in ("object_name", "title", "headings", "page_start")}
    node = TextNode(id_=hit["chunk_id"], text=text, metadata=place)
    return NodeWithScore(node=node, score=hit["score"])
