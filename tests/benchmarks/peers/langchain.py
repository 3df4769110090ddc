"""LangChain: load, split, and add all documents to a PGVectorStore.

python langchain.py FOLDER BASE_URL POSTGRES_URL DIMENSIONS
"""

import sys
from pathlib import Path

from langchain_core.documents import Document
from langchain_openai import OpenAIEmbeddings
from langchain_postgres import PGEngine, PGVectorStore
from langchain_text_splitters import RecursiveCharacterTextSplitter
from readers import text_of, wait_for_start

folder, base_url, url, dimensions = sys.argv[1:]
wait_for_start()
documents = [
    Document(page_content=text_of(path), metadata={"source": path.name})
    for path in sorted(Path(folder).iterdir())
]
splitter = RecursiveCharacterTextSplitter(chunk_size=1600, chunk_overlap=0)
engine = PGEngine.from_connection_string(url.replace("postgresql://", "postgresql+psycopg://"))
engine.init_vectorstore_table("langchain", int(dimensions))
store = PGVectorStore.create_sync(
    engine=engine,
    table_name="langchain",
    embedding_service=OpenAIEmbeddings(
        model="fake-embedding",
        base_url=base_url,
        api_key="k",
        # Otherwise it downloads a vocabulary and sends tokens instead of text.
        check_embedding_ctx_length=False,
    ),
)
store.add_documents(splitter.split_documents(documents))
