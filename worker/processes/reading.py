"""How documents are read and cut by these settings: by a worker and by `docmill extract` alike."""

from docmill.worker.extraction import ExtractionLimits
from docmill.worker.models import ChunkRules
from docmill.worker.settings.parts import EmbedderSettings, ExtractionSettings


def extraction_limits(settings: ExtractionSettings, *, children: int) -> ExtractionLimits:
    """What reading so many documents at a time may take, and what is read."""
    return ExtractionLimits(
        children=children,
        timeout_seconds=settings.parse_timeout_seconds,
        ocr_timeout_seconds=settings.ocr_timeout_seconds,
        memory_bytes=settings.parse_memory_bytes,
        max_characters=settings.max_document_characters,
        word_comments=settings.word_comments,
    )


def chunk_rules(settings: EmbedderSettings, *, chunk_tokens: int) -> ChunkRules:
    """How text is cut for the model of these settings."""
    return ChunkRules(chunk_tokens, settings.provider_of(settings.embedder).counter)
