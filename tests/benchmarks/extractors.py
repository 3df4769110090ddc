"""Extractors like a worker's, ready, and ended in order."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from docmill.worker.extraction import ExtractionLimits, GuardedExtractor
from docmill.worker.processes.reading import extraction_limits
from docmill.worker.settings.processes import Settings

READY_SECONDS = 60


@contextmanager
def extractor(folder: Path, limits: ExtractionLimits) -> Iterator[GuardedExtractor]:
    """An extractor whose zygote is ready; its files are in the folder."""
    made = GuardedExtractor(limits, temp_dir=folder)
    try:
        assert made.ready(READY_SECONDS)
        yield made
    finally:
        made.close()


@contextmanager
def extractor_of(settings: Settings) -> Iterator[GuardedExtractor]:
    """An extractor with a single child, under the limits of these settings."""
    with (
        tempfile.TemporaryDirectory(prefix="docmill-bench-") as name,
        extractor(Path(name), extraction_limits(settings, children=1)) as ready,
    ):
        yield ready
