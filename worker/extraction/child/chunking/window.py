"""`chunk(state, window) -> (chunks, state)`, as it runs in a child."""

import json
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from docmill.worker.extraction.child.chunking.chunker import Chunker
from docmill.worker.extraction.child.chunking.state import packed, unpacked
from docmill.worker.extraction.child.chunking.tokens import counter_for
from docmill.worker.extraction.shared import media_types
from docmill.worker.extraction.shared.parts import PageEnd, ReadPart, Summary, WindowPart
from docmill.worker.extraction.shared.running import RunningLines
from docmill.worker.extraction.shared.sanitize import count_hidden
from docmill.worker.models import ChunkRules, Element

MAX_TITLE_CHARACTERS = 300


def chunked(
    parts: Iterable[ReadPart], rules: ChunkRules, state: str, *, media_type: str, last: bool
) -> Iterator[WindowPart]:
    """The chunks of a window with the ends of its pages, and at the end the state left open.

    Raises JobError.
    """
    found, shown = unpacked(state)
    chunker = Chunker(
        counter_for(rules.counter), max_tokens=rules.max_tokens, overlap=rules.overlap, state=found
    )
    running = RunningLines(shown)
    if media_type == media_types.PDF:
        parts = running.without_repeats(parts)
    title, hidden = None, 0
    for part in parts:
        if isinstance(part, PageEnd):
            yield part
        elif isinstance(part, Element):
            hidden += count_hidden(part.text)
            if title is None and part.category == "Title":
                title = " ".join(part.text.split())[:MAX_TITLE_CHARACTERS] or None
            yield from chunker.add(part)
    if last:
        yield from chunker.finish()
    yield Summary(title, hidden, "" if last else packed(chunker.state, running.shown))


def parts_of_lines(file: BinaryIO) -> Iterator[ReadPart]:
    """The parts that another child wrote."""
    file.seek(0)
    for line in file:
        message = json.loads(line)
        if "element" in message:
            yield Element(**message["element"])
        else:
            yield PageEnd(
                message["page"],
                message["read"],
                message.get("problem", ""),
                message.get("uncomputed", 0),
            )
