"""The local embedder: static token embeddings, averaged. No key, no network, no GPU.

The model is WordLlama's l2_supercat with 256 dimensions (MIT), read from its wheel. Its library
is not imported: it configures logging for the whole process, and what it would do here is the
average below.
"""

from collections.abc import Sequence

import numpy as np

from docmill.worker.ports import Vectors
from docmill.worker.providers.base import Kind
from docmill.worker.providers.local import Local
from docmill.worker.vocabularies import wordllama_folder, wordllama_tokenizer

MODEL = "wordllama-l2-supercat-256"
DIMENSIONS = 256


class LocalEmbedder:
    """Mean of the token embeddings of a text, scaled to length 1."""

    model = MODEL
    dimensions = DIMENSIONS
    request_limits = Local.limits

    def __init__(self, kind: Kind = Kind.DOCUMENT) -> None:
        del kind  # to this model all texts are alike
        folder = wordllama_folder()
        # With the model, and not before: whoever lacks both is told by the line above.
        from safetensors import safe_open

        path = folder / "weights" / "l2_supercat_256.safetensors"
        with safe_open(path, framework="np") as weights:
            table = weights.get_tensor("embedding.weight")
        self._table: Vectors = np.ascontiguousarray(table, dtype=np.float32)
        self._tokenizer = wordllama_tokenizer()

    def embed(self, texts: Sequence[str]) -> tuple[Vectors, int]:
        """Vectors of shape (len(texts), 256), each of length 1, and the number of tokens."""
        encoded = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        vectors = np.empty((len(texts), self.dimensions), dtype=np.float32)
        for row, encoding in enumerate(encoded):
            # A text without a known token gets the first one's vector: a zero vector has no
            # direction, and cosine distance to it is undefined.
            ids = encoding.ids or [0]
            mean = self._table[ids].mean(axis=0)
            vectors[row] = mean / np.linalg.norm(mean)
        return vectors, sum(len(encoding.ids) for encoding in encoded)
