"""The state that chunking a window leaves open for the next one, as text that can be passed on.

The worker passes it on without reading it; only a child of the same document reads it.
"""

import base64
import json
import zlib
from dataclasses import asdict
from typing import Any

from docmill.worker.errors import JobError
from docmill.worker.extraction.child.chunking.blocks import Block, Blocks
from docmill.worker.extraction.child.chunking.chunker import ChunkState, Heading, Section
from docmill.worker.extraction.shared.protocol import MAX_STATE_CHARACTERS
from docmill.worker.models import JsonObject

#: Largest unpacked state: a section is passed on before it is larger.
_MOST_BYTES = 16 * 1024 * 1024


def packed(state: ChunkState, shown: list[str]) -> str:
    """The packed state of the chunker and the running lines. Raises JobError if it is too long."""
    body = {
        "path": [asdict(heading) for heading in state.path],
        "section": _section_json(state.section),
        "has_content": state.has_content,
        "is_begun": state.is_begun,
        "held": state.held and _section_json(state.held),
        "open": [asdict(block) for block in state.open],
        "tail": [asdict(block) for block in state.tail],
        "shown": shown,
    }
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    found = base64.b64encode(zlib.compress(text.encode(), 1)).decode()
    if len(found) > MAX_STATE_CHARACTERS:
        raise JobError("document_too_large", "too much is open at the end of a window")
    return found


def unpacked(text: str) -> tuple[ChunkState, list[str]]:
    """The unpacked state; an empty one for the first window. Raises JobError."""
    if not text:
        return ChunkState(), []
    unpacker = zlib.decompressobj()
    data = unpacker.decompress(base64.b64decode(text), _MOST_BYTES)
    if unpacker.unconsumed_tail:
        raise JobError("corrupt", "state")
    body = json.loads(data)
    # The former release kept states without overlap: what `get` asks for is not in them.
    state = ChunkState(
        path=[Heading(**heading) for heading in body["path"]],
        section=_section(body["section"]),
        has_content=body["has_content"],
        is_begun=body.get("is_begun", False),
        held=body["held"] and _section(body["held"]),
        open=_blocks(body["open"]).all,
        tail=_blocks(body.get("tail", [])).all,
    )
    return state, body["shown"]


def _section_json(section: Section) -> JsonObject:
    return {
        "headings": section.headings,
        "blocks": _blocks_json(section.blocks),
        "goes_on": section.goes_on,
        "continues": section.continues,
    }


def _section(body: dict[str, Any]) -> Section:
    return Section(
        tuple(body["headings"]),
        _blocks(body["blocks"]),
        goes_on=body["goes_on"],
        continues=body.get("continues", False),
    )


def _blocks_json(blocks: Blocks) -> list[JsonObject]:
    return [asdict(block) for block in blocks.all]


def _blocks(body: list[dict[str, Any]]) -> Blocks:
    return Blocks(Block(**block) for block in body)
