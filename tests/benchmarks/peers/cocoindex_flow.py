"""CocoIndex 1: a flow from a folder into Postgres, as its text embedding example has it.

python cocoindex_flow.py FOLDER BASE_URL POSTGRES_URL DIMENSIONS
"""

import base64
import os
import pathlib
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated

import asyncpg
import cocoindex as coco
import numpy as np
import openai
from cocoindex.connectors import localfs, postgres
from cocoindex.ops.text import RecursiveSplitter
from cocoindex.resources.chunk import Chunk
from cocoindex.resources.file import FileLike
from cocoindex.resources.id import IdGenerator
from cocoindex.resources.schema import VectorSchema
from numpy.typing import NDArray
from readers import text_of, wait_for_start

folder, base_url, url, dimensions = sys.argv[1:]
os.environ.setdefault("COCOINDEX_DB", tempfile.mkdtemp() + "/state")
DATABASE = coco.ContextKey[asyncpg.Pool]("database")
SHAPE = VectorSchema(dtype=np.dtype(np.float32), size=int(dimensions))
client = openai.AsyncOpenAI(base_url=base_url, api_key="k")
splitter = RecursiveSplitter()


@coco.lifespan
async def lifespan(builder: coco.EnvironmentBuilder) -> AsyncIterator[None]:
    async with asyncpg.create_pool(url) as pool:
        builder.provide(DATABASE, pool)
        yield


@dataclass
class Row:
    id: int
    filename: str
    text: str
    embedding: Annotated[NDArray, SHAPE]


@coco.fn.as_async(batching=True, max_batch_size=256)
async def embed(texts: list[str]) -> list[NDArray]:
    answer = await client.embeddings.create(
        model="fake-embedding", input=texts, encoding_format="base64"
    )
    return [np.frombuffer(base64.b64decode(one.embedding), dtype="<f4") for one in answer.data]


@coco.fn
async def process_chunk(chunk: Chunk, name: str, ids: IdGenerator, table) -> None:
    table.declare_row(
        row=Row(await ids.next_id(chunk.text), name, chunk.text, await embed(chunk.text))
    )


@coco.fn(memo=True)
async def process_file(file: FileLike, table) -> None:
    path = pathlib.Path(folder, file.file_path.path.name)
    chunks = splitter.split(text_of(path), chunk_size=1600, chunk_overlap=0)
    await coco.map(process_chunk, chunks, path.name, IdGenerator(), table)


@coco.fn
async def main(source: pathlib.Path) -> None:
    table = await postgres.mount_table_target(
        DATABASE,
        table_name="cocoindex",
        table_schema=await postgres.TableSchema.from_class(Row, primary_key=["id"]),
    )
    files = localfs.walk_dir(source, recursive=True)
    await coco.mount_each(process_file, files.items(), table)


app = coco.App(coco.AppConfig(name="Bench"), main, source=pathlib.Path(folder))

if __name__ == "__main__":
    wait_for_start()
    app.update_blocking()
