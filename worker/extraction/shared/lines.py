"""The lines that a child writes, and that are kept.

See parent.results for how they are read, and why none is trusted.
"""

from docmill.worker.extraction.shared.parts import PageEnd, RawLines, Summary, WindowPart
from docmill.worker.extraction.shared.protocol import encode
from docmill.worker.models import Chunk, JsonObject

END = encode({"end": True}) + b"\n"


def header_line(header: JsonObject) -> bytes:
    """Facts about a document or a window that come before its elements."""
    return encode({"header": header}) + b"\n"


def part_line(part: WindowPart) -> bytes:
    """One part."""
    if isinstance(part, RawLines):
        return part.data
    if isinstance(part, Chunk):
        chunk = {name: value for name, value in vars(part).items() if name != "ordinal"}
        return encode({"chunk": chunk}) + b"\n"
    if isinstance(part, Summary):
        return encode({"summary": vars(part)}) + b"\n"
    if isinstance(part, PageEnd):
        message: JsonObject = {"page": part.number, "read": part.has_text}
        if part.problem:
            message["problem"] = part.problem
        if part.uncomputed_formulas:
            message["uncomputed"] = part.uncomputed_formulas
        return encode(message) + b"\n"
    element = {
        "category": part.category,
        "text": part.text,
        "page": part.page,
        "depth": part.depth,
        "metadata": part.metadata,
    }
    return encode({"element": element}) + b"\n"
