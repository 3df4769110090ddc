"""A file whose age says whether a process does its work, for health checks without a network."""

import time
from pathlib import Path
from typing import Final

from docmill.worker.log import get_logger

log = get_logger(__name__)

#: A part that has not moved for this long stands still.
FRESH_SECONDS: Final = 3.0


class Heartbeat:
    """Touches the file as long as every part of the process moves. Safe to use from threads."""

    def __init__(self, path: Path | None, *parts: str) -> None:
        """Nothing is touched before every part has moved once, nor without a path."""
        self._path = path
        self._moved = dict.fromkeys(parts, float("-inf"))
        self._is_told = False

    def beat(self, part: str) -> None:
        """Say that this part has just moved."""
        now = time.monotonic()
        self._moved[part] = now
        if self._path is None or min(self._moved.values()) < now - FRESH_SECONDS:
            return
        try:
            self._path.touch()
        except OSError as error:
            # A disk that is full now may have room again: one line, and the next beat tries anew.
            if not self._is_told:
                log.warning("heartbeat_not_written", error=type(error).__name__)
            self._is_told = True
        else:
            self._is_told = False
