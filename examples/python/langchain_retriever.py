"""A LangChain retriever: hybrid search with the user's token. Copy what you need."""

from collections.abc import Callable, Sequence
from typing import Any

from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from pydantic import Field
from supabase import Client

Embed = Callable[[str], tuple[Sequence[float], str]]


class DocmillRetriever(BaseRetriever):
    """Passages that answer a question, of documents that the client's user may read.

    `embed` returns the embedding of a text and the model that made it; the default calls the Edge
    Function `embed`. `options` are parameters of hybrid_search.
    """

    client: Client
    embed: Embed | None = None
    options: dict[str, Any] = Field(default_factory=dict)

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,  # noqa: ARG002
    ) -> list[Document]:
        embedding, model = (self.embed or self._embed)(query)
        arguments = {"query_text": query, "query_embedding": str(list(embedding)), "model": model}
        call = self.client.schema("ingest").rpc("hybrid_search", arguments | self.options)
        return [_document(hit) for hit in call.execute().data]

    def _embed(self, text: str) -> tuple[Sequence[float], str]:
        body = {"body": {"input": text}, "responseType": "json"}
        answer = self.client.functions.invoke("embed", body)
        return answer["embedding"], answer["model"]


def _document(hit: dict[str, Any]) -> Document:
    text = hit.pop("context") or hit["content"]  # with_context: the passage with the text around it
    return Document(id=hit["chunk_id"], page_content=text, metadata=hit)
