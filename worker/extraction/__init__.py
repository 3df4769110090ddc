"""Files of unknown kind and intent become elements, in child processes that may die of it."""

from worker.extraction.guard import ExtractionLimits, GuardedExtractor
from worker.extraction.sanitize import sanitize

__all__ = ["ExtractionLimits", "GuardedExtractor", "sanitize"]
