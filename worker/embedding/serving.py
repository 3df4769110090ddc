"""Does the embedding provider serve at all? Asked with a text that nobody can object to."""

from typing import Final

from docmill.worker.errors import JobError
from docmill.worker.log import get_logger
from docmill.worker.ports import Embedder

log = get_logger(__name__)

HARMLESS_TEXT: Final = "docmill"


def serves(embedder: Embedder) -> bool:
    """Whether a harmless text is embedded now. Never raises."""
    try:
        embedder.embed([HARMLESS_TEXT])
    except JobError:
        return False
    except Exception:
        log.exception("embedding_crashed")
        return False
    return True
