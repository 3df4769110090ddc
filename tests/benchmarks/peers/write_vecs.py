"""vecs writes embeddings that are there, with their texts as metadata; prints the seconds.

python write_vecs.py FILE POSTGRES_URL INDEX
"""

import sys
import time
from typing import Any

import numpy as np
import vecs
from readers import wait_for_start
from vecs import IndexMeasure, IndexMethod

file, url, index = sys.argv[1:]
rows: Any = np.load(file)
vectors = rows["vectors"]
client = vecs.create_client(url.replace("postgresql://", "postgresql+psycopg2://"))
collection = client.get_or_create_collection("written", dimension=vectors.shape[1])
if index == "hnsw":
    collection.create_index(IndexMeasure.cosine_distance, IndexMethod.hnsw)
records = [
    (str(place), vector, {"text": str(text)})
    for place, (text, vector) in enumerate(zip(rows["texts"], vectors, strict=True))
]
wait_for_start()
began = time.perf_counter()
collection.upsert(records)
print(time.perf_counter() - began)
