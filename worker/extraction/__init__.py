"""Files of unknown kind and intent become elements, in child processes that may die of it.

Each folder is what runs in one process: `parent` in the worker, `zygote` in the process that forks
children, `child` in a child. `shared` is for all of them.
"""

from docmill.worker.extraction.parent.guard import ExtractionLimits, GuardedExtractor
from docmill.worker.extraction.parent.strays import adopt_orphans
from docmill.worker.extraction.shared.sanitize import sanitize

__all__ = ["ExtractionLimits", "GuardedExtractor", "adopt_orphans", "sanitize"]
