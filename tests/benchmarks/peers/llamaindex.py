"""LlamaIndex: an IngestionPipeline into a PGVectorStore.

python llamaindex.py FOLDER BASE_URL POSTGRES_URL DIMENSIONS
"""

import sys
from pathlib import Path
from urllib.parse import urlsplit

from llama_index.core import Document
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from llama_index.embeddings.openai import OpenAIEmbedding
from llama_index.vector_stores.postgres import PGVectorStore
from readers import text_of, wait_for_start

folder, base_url, url, dimensions = sys.argv[1:]
wait_for_start()
documents = [
    Document(text=text_of(path), metadata={"source": path.name})
    for path in sorted(Path(folder).iterdir())
]
parts = urlsplit(url)
store = PGVectorStore.from_params(
    host=parts.hostname,
    port=str(parts.port),
    user=parts.username,
    password=parts.password or "",
    database=parts.path[1:],
    table_name="llamaindex",
    embed_dim=int(dimensions),
)
pipeline = IngestionPipeline(
    transformations=[
        # Counts words, because its own counter downloads a vocabulary.
        SentenceSplitter(chunk_size=300, chunk_overlap=0, tokenizer=str.split),
        OpenAIEmbedding(
            model_name="fake-embedding", api_base=base_url, api_key="k", embed_batch_size=256
        ),
    ],
    vector_store=store,
)
pipeline.run(documents=documents)
