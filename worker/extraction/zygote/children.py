"""The children that run, each under the pid that the zygote forked for it."""

import json
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from docmill.worker.extraction.shared import protocol
from docmill.worker.extraction.shared.protocol import Request
from docmill.worker.models import JsonObject


@dataclass
class Running:
    """A child and its pipe for reports, of which its keeper holds the other end."""

    request: Request
    report: int
    alone: "Alone | None" = None  #: of a child without a keeper above it
    _lines: bytearray = field(default_factory=bytearray)

    def hear(self) -> None:
        """Read what was reported since."""
        with suppress(BlockingIOError):  # somebody still has the other end
            while said := os.read(self.report, protocol.CONTROL_BYTES):
                self._lines.extend(said)

    def reports(self) -> list[JsonObject]:
        """The reports that are complete."""
        return [json.loads(line) for line in bytes(self._lines).split(b"\n")[:-1]]

    def close(self) -> None:
        """Close both ends that the zygote may have."""
        os.close(self.report)
        if self.alone is not None:
            os.close(self.alone.report)


@dataclass
class Alone:
    """What a keeper beside a child gets."""

    report: int  #: the end of the pipe to write to
    document: os.stat_result
    due: float  #: monotonic time from which the child may need it
    keeper: int | None = None  #: its pid


def due(children: Iterable[Running]) -> float | None:
    """Seconds until one of them needs a keeper; None: none does."""
    times = [child.alone.due for child in children if child.alone and child.alone.keeper is None]
    return max(0.0, min(times) - time.monotonic()) if times else None
