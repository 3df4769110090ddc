"""How documents are read and cut by these settings: by a worker and by `docmill extract` alike."""

from docmill.worker.embedding.tokens import splitter_for
from docmill.worker.extraction import ExtractionLimits
from docmill.worker.ports import TokenSplitter
from docmill.worker.settings.parts import EmbedderSettings, ExtractionSettings


def extraction_limits(settings: ExtractionSettings, *, children: int) -> ExtractionLimits:
    """What reading so many documents at a time may take."""
    return ExtractionLimits(
        children=children,
        timeout_seconds=settings.parse_timeout_seconds,
        ocr_timeout_seconds=settings.ocr_timeout_seconds,
        memory_bytes=settings.parse_memory_bytes,
        max_characters=settings.max_document_characters,
    )


def build_splitter(settings: EmbedderSettings, *, chunk_tokens: int) -> TokenSplitter:
    """What cuts and counts for the model. Raises SettingsError when it cannot be built."""
    return splitter_for(settings.model, chunk_tokens, local=settings.embedder == "local")
