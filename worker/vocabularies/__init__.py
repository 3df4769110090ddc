"""The vocabularies of embedding models, without a download.

The vocabulary of OpenAI's models is here (`cl100k_base.tiktoken.gz`, published by OpenAI with
tiktoken, MIT licence), because tiktoken itself would download it. That of the local model comes
with its wheel.
"""

import base64
import gzip
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from docmill.worker.errors import SettingsError

if TYPE_CHECKING:  # a process that counts no tokens loads neither
    from tiktoken import Encoding
    from tokenizers import Tokenizer

#: The same bytes that tiktoken downloads, packed. A unit test compares the checksum with
#: tiktoken's.
OPENAI_FILE: Final = Path(__file__).with_name("cl100k_base.tiktoken.gz")
#: The pattern that splits text before merging, exactly as in tiktoken. A unit test compares.
_OPENAI_PATTERN: Final = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+"
    r"|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
)


@lru_cache(maxsize=1)
def openai_encoding() -> "Encoding":
    """The encoding of OpenAI's embedding models, text-embedding-3-small and -large and ada-002.

    It has no special tokens: if a document contains one, it is ordinary text.
    """
    from tiktoken import Encoding

    lines = gzip.decompress(OPENAI_FILE.read_bytes()).splitlines()
    ranks = {base64.b64decode(token): int(rank) for token, rank in map(bytes.split, lines)}
    return Encoding(
        "cl100k_base", pat_str=_OPENAI_PATTERN, mergeable_ranks=ranks, special_tokens={}
    )


def wordllama_folder() -> Path:
    """The folder of the wheel with the local model; nothing of it is imported."""
    spec = find_spec("wordllama")
    if spec is None or spec.origin is None:
        raise SettingsError(
            "the local embedding model is not installed: install docmill with the extra local, "
            "or set DOCMILL_EMBEDDER=openai"
        )
    return Path(spec.origin).parent


@lru_cache(maxsize=1)
def wordllama_tokenizer() -> "Tokenizer":
    """Tokenizer of the local model."""
    from tokenizers import Tokenizer

    path = wordllama_folder() / "tokenizers" / "l2_supercat_tokenizer_config.json"
    tokenizer: Tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
