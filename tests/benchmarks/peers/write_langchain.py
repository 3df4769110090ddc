"""LangChain's PGVectorStore writes texts and embeddings that are there; prints the seconds.

python write_langchain.py FILE POSTGRES_URL INDEX
"""

import sys
import time
from typing import Any

import numpy as np
from langchain_core.embeddings import Embeddings
from langchain_postgres import PGEngine, PGVectorStore
from langchain_postgres.v2.indexes import HNSWIndex
from readers import wait_for_start


class Given(Embeddings):
    """Embeds nothing: the embeddings are given."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        raise NotImplementedError

    def embed_query(self, text: str) -> list[float]:
        raise NotImplementedError


file, url, index = sys.argv[1:]
rows: Any = np.load(file)
texts = [str(text) for text in rows["texts"]]
vectors = [[float(value) for value in vector] for vector in rows["vectors"]]
engine = PGEngine.from_connection_string(url.replace("postgresql://", "postgresql+psycopg://"))
engine.init_vectorstore_table("written", len(vectors[0]))
store = PGVectorStore.create_sync(engine=engine, table_name="written", embedding_service=Given())
if index == "hnsw":
    store.apply_vector_index(HNSWIndex())
wait_for_start()
began = time.perf_counter()
store.add_embeddings(texts, vectors, metadatas=[{"place": place} for place in range(len(texts))])
print(time.perf_counter() - began)
