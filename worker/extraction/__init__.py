"""Files of unknown kind and intent become elements, in child processes that may die of it."""

from docmill.worker.extraction.guard import ExtractionLimits, GuardedExtractor
from docmill.worker.extraction.sanitize import sanitize

__all__ = ["ExtractionLimits", "GuardedExtractor", "sanitize"]
