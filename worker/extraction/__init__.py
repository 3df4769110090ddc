"""Files of unknown kind and intent become elements, in child processes that may die of it."""

from worker.extraction.guard import ExtractionLimits, GuardedExtractor
from worker.extraction.sanitize import sanitize

#: Bump when the elements of an unchanged file change: documents are then extracted again.
EXTRACTION_VERSION = "3"

__all__ = ["EXTRACTION_VERSION", "ExtractionLimits", "GuardedExtractor", "sanitize"]
