"""Token counts and token-sized pieces, without a download.

The vocabulary of the local model comes with its wheel, that of OpenAI's models with
semantic-text-splitter (tiktoken itself would fetch it).
"""

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from semantic_text_splitter import TextSplitter
from tokenizers import Tokenizer

from docmill.worker.errors import SettingsError

#: For models whose vocabulary is not at hand. About right for English under every BPE of the last
#: years; texts are cut by the real vocabulary of this model, which stands for them.
FALLBACK_MODEL: Final = "text-embedding-3-small"
#: English under OpenAI's vocabularies; other scripts need about a token for each character.
_LATIN_CHARACTERS_PER_TOKEN: Final = 4


def wordllama_folder() -> Path:
    """Folder of the wheel that carries the local model; nothing of it is imported."""
    spec = find_spec("wordllama")
    if spec is None or spec.origin is None:
        raise SettingsError(
            "the local embedding model is not installed: install docmill with the extra local, "
            "or set DOCMILL_EMBEDDER=openai"
        )
    return Path(spec.origin).parent


@lru_cache(maxsize=1)
def wordllama_tokenizer() -> Tokenizer:
    """Tokenizer of the local model."""
    path = wordllama_folder() / "tokenizers" / "l2_supercat_tokenizer_config.json"
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


class _Splitter:
    """Cuts by characters first: by tokens alone, odd text takes time that grows with its square.

    50,000 times the same Hangul syllable: 6.7 s in one piece, 0.2 s in pieces of this size.
    """

    _PIECE_CHARACTERS: Final = 4000

    def __init__(self, by_tokens: TextSplitter) -> None:
        self._by_characters = TextSplitter(self._PIECE_CHARACTERS)
        self._by_tokens = by_tokens

    def split(self, text: str) -> list[tuple[int, str]]:
        """Pieces of at most the chunk size, each with its character offset."""
        if len(text) <= self._PIECE_CHARACTERS:
            return self._by_tokens.chunk_indices(text)
        return [
            (start + offset, piece)
            for start, part in self._by_characters.chunk_indices(text)
            for offset, piece in self._by_tokens.chunk_indices(part)
        ]


class LocalSplitter(_Splitter):
    """Splits and counts by the local model's vocabulary, exactly."""

    def __init__(self, max_tokens: int) -> None:
        self._tokenizer = wordllama_tokenizer()
        super().__init__(TextSplitter.from_huggingface_tokenizer(self._tokenizer, max_tokens))

    def count(self, text: str) -> int:
        """Number of tokens."""
        return len(self._tokenizer.encode(text, add_special_tokens=False).ids)


class TiktokenSplitter(_Splitter):
    """Splits by an OpenAI vocabulary, exactly; counts by an estimate from the characters."""

    def __init__(self, model: str, max_tokens: int) -> None:
        try:
            splitter = TextSplitter.from_tiktoken_model(model, max_tokens)
        except Exception:  # the binding raises a bare Exception for a model it does not know
            splitter = TextSplitter.from_tiktoken_model(FALLBACK_MODEL, max_tokens)
        super().__init__(splitter)

    def count(self, text: str) -> int:
        """Estimated number of tokens."""
        latin = len(text.encode("ascii", "ignore"))
        return max(1, -(-latin // _LATIN_CHARACTERS_PER_TOKEN) + len(text) - latin)


@lru_cache(maxsize=8)
def splitter_for(model: str, max_tokens: int, *, local: bool) -> LocalSplitter | TiktokenSplitter:
    """The splitter for a model and a chunk size; shared, and safe to use from several threads."""
    return LocalSplitter(max_tokens) if local else TiktokenSplitter(model, max_tokens)
