"""The life of one child: give up all rights, read one document, write its elements, end.

Runs in a fork of the zygote. No exception may leave it: `run` returns an exit status.
"""

import errno
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from fcntl import F_DUPFD, fcntl
from pathlib import Path
from typing import BinaryIO

from docmill.worker.errors import NO_SPACE, JobError
from docmill.worker.extraction.child import convert, sandbox, seccomp
from docmill.worker.extraction.child.chunking.window import chunked, parts_of_lines
from docmill.worker.extraction.child.graphemes import before_grapheme
from docmill.worker.extraction.child.kinds.base import ProfileNeededError, Reading, Source
from docmill.worker.extraction.child.kinds.registry import open_reading
from docmill.worker.extraction.child.places import place_of
from docmill.worker.extraction.shared import protocol
from docmill.worker.extraction.shared.lines import END, header_line, part_line
from docmill.worker.extraction.shared.parts import ReadPart, WindowPart
from docmill.worker.extraction.shared.protocol import MAX_ELEMENT_CHARACTERS, STATE_FILE, Request
from docmill.worker.extraction.shared.sanitize import sanitize
from docmill.worker.models import Element, JsonObject

_DOCUMENT, _RESULT = 3, 4
_OUT_OF_THE_WAY = 16
_BUFFER_BYTES = 64 * 1024
#: The plan of a document that is read in one go.
_NO_PLAN: JsonObject = {"starts": [], "context": ""}
#: Made in advance, because there may be no memory left when it is needed.
_OUT_OF_MEMORY = protocol.encode({"error": {"code": "parse_memory", "detail": ""}}) + b"\n"


def run(
    request: Request,
    document: int,
    result: int,
    *,
    parent_pid: int,
    readable: Sequence[str],
    alone: bool = False,
) -> int:
    """Read the document behind one descriptor, write its lines to the other.

    `alone`: nobody ends what it would start, so it reads only where it can start nothing. Returns
    the exit status: 0 if the last line says how it ended.
    """
    os.setsid()  # also a group of its own, which the keeper ends as one
    sandbox.die_with_parent(parent_pid)
    _keep_only(document, result)
    writer = _Writer(_RESULT)
    try:
        _give_up(request, readable, alone=alone)
    except OSError as error:
        # An error of docmill, not of the document: it is tried again.
        writer.error("internal_error", place_of(error))
        return 0
    try:
        _read(request, writer, readable)
    except BrokenPipeError:
        return 1  # the worker has closed the pipe
    except ProfileNeededError as error:
        writer.wanted(error.profile, error.media_type)
    except MemoryError:
        writer.write_raw(_OUT_OF_MEMORY)
    except JobError as error:
        writer.error(error.code, str(error))
    except Exception as error:  # parsers raise whatever they like
        writer.error(_code_of(error), place_of(error))
    return 0


def _keep_only(document: int, result: int) -> None:
    """Keep only the two descriptors, at fixed numbers, and /dev/null as standard streams."""
    null = os.open(os.devnull, os.O_RDWR)
    # First move them away from the fixed numbers: one of the three may have the number of another.
    null, document, result = (
        fcntl(fd, F_DUPFD, _OUT_OF_THE_WAY) for fd in (null, document, result)
    )
    fixed = (null, null, null, document, result)
    for number, descriptor in enumerate(fixed):
        os.dup2(descriptor, number)
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 -- a Path per descriptor costs more
        if int(name) >= len(fixed):
            with suppress(OSError):  # the descriptor of the listing itself
                os.close(int(name))


def _give_up(request: Request, readable: Sequence[str], *, alone: bool) -> None:
    sandbox.volunteer_for_oom_killer()
    _move_into(request.folder)
    sandbox.limit_resources(request.limits)
    if request.limits.may_start_program:
        convert.confine_for(request.profile, list(readable), request.folder)
        return
    sandbox.confine(readable, request.folder)
    if not seccomp.refuse_system_calls() and alone:
        raise OSError(errno.ENOSYS, "no filter of system calls")


def _move_into(folder: str) -> None:
    os.chdir(folder)
    os.environ["TMPDIR"] = folder
    tempfile.tempdir = folder


def _read(request: Request, writer: "_Writer", readable: Sequence[str]) -> None:
    with os.fdopen(_DOCUMENT, "rb") as file:
        if request.chunking is not None and request.chunking.of_lines:
            parts = parts_of_lines(file)
            _write(request, writer, request.media_type, parts, last=request.chunking.last)
            return
        source = _source(request, file, readable)
        media_type, reading = open_reading(source)
        if request.limits.may_start_program:
            media_type = request.media_type  # of the document, not of a program's output
        plan = _plan(reading) if source.first_only else _NO_PLAN
        writer.header(media_type, reading, plan)
        is_whole = request.window is None and not plan["starts"]
        last = is_whole or (request.chunking is not None and request.chunking.last)
        _write(request, writer, media_type, _shown(reading.parts), last=last)


def _shown(parts: Iterable[ReadPart]) -> Iterator[ReadPart]:
    for part in parts:
        if isinstance(part, Element):
            yield from _presentable(part)
        else:
            yield part


def _write(
    request: Request, writer: "_Writer", media_type: str, parts: Iterator[ReadPart], *, last: bool
) -> None:
    """Write the parts, chunked if requested, and the last line."""
    shown: Iterator[WindowPart] = parts
    if request.chunking is not None:
        state_file = Path(request.folder, STATE_FILE)
        state = state_file.read_text() if state_file.exists() else ""
        rules = request.chunking.rules
        shown = chunked(parts, rules, state, media_type=media_type, last=last)
    for part in shown:
        writer.line(part_line(part))
    writer.end()


def _source(request: Request, file: BinaryIO, readable: Sequence[str]) -> Source:
    if request.limits.may_start_program:
        source = convert.converted(request, file, list(readable))
        return replace(source, word_comments=request.word_comments)
    return Source(
        file=file,
        file_name=request.file_name,
        profile=request.profile,
        first_only=request.window is None,
        window=request.window,
        context=json.loads(request.context) if request.context else {},
        media_type=request.media_type if request.window is not None else "",
        word_comments=request.word_comments,
    )


def _plan(reading: Reading) -> JsonObject:
    """Where the windows begin, and what the children of the other windows need to know."""
    if len(reading.starts) < 2:
        return _NO_PLAN
    if len(reading.starts) > protocol.MAX_WINDOWS:
        raise JobError("document_too_large", "too many windows")
    context = json.dumps(reading.context, ensure_ascii=False)
    # Only the context of a PDF may be too long, and its windows can work it out themselves.
    fits = len(context.encode(errors="replace")) <= protocol.MAX_CONTEXT_BYTES
    return {"starts": list(reading.starts), "context": context if fits else ""}


def _presentable(element: Element) -> Iterator[Element]:
    """The element in a form that may be shown: sanitized, allow-listed, cut; nothing if blank."""
    text = sanitize(element.text).strip("\n")
    if element.category != "CodeSnippet":
        text = text.strip()
    if not text.strip():
        return
    known = element.category in protocol.CATEGORIES
    clean = replace(
        element,
        category=element.category if known else "Text",
        metadata=_allowed(sanitize(element.metadata)),
    )
    for number, piece in enumerate(_pieces(text)):
        # If a table was cut, its HTML fits none of the pieces.
        yield replace(clean, text=piece, metadata={} if number else clean.metadata)


def _allowed(metadata: JsonObject) -> JsonObject:
    return {
        name: metadata[name]
        for name, limit in protocol.METADATA_LIMITS.items()
        if isinstance(metadata.get(name), str) and 0 < len(metadata[name]) <= limit
    }


def _pieces(text: str) -> Iterator[str]:
    """Cut a text that is too long for one element, at a line end or space if possible."""
    start = 0
    while len(text) - start > MAX_ELEMENT_CHARACTERS:
        limit = start + MAX_ELEMENT_CHARACTERS
        half = start + MAX_ELEMENT_CHARACTERS // 2
        cut = max(text.rfind("\n", half, limit), text.rfind(" ", half, limit))
        end = cut + 1 if cut != -1 else before_grapheme(text, limit)
        yield text[start:end]
        start = end
    yield text[start:]


def _code_of(error: Exception) -> str:
    """The error code for a parser's exception on a faulty file."""
    if isinstance(error, OSError) and error.errno in NO_SPACE:
        return "no_space"
    # libxml2 and the kernel report missing memory in their own words.
    if getattr(error, "errno", None) == errno.ENOMEM or "memory alloc" in str(error).lower():
        return "parse_memory"
    return "corrupt"


class _Writer:
    """Writes lines to the pipe, in large pieces."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._buffer = bytearray()

    def header(self, media_type: str, reading: Reading, plan: JsonObject) -> None:
        title = sanitize(reading.title or "").strip()[: protocol.MAX_NAME_CHARACTERS]
        header = {
            "mime_type": media_type,
            "page_count": reading.page_count,
            "title": title or None,
            **plan,
        }
        self.line(header_line(header))
        self._flush()

    def wanted(self, profile: str, media_type: str) -> None:
        self._last_word({"wanted": {"profile": profile, "mime_type": media_type}})

    def end(self) -> None:
        self.line(END)
        self._flush()

    def error(self, code: str, detail: str) -> None:
        self._last_word({"error": {"code": code, "detail": detail}})

    def write_raw(self, line: bytes) -> None:
        self._buffer.clear()
        with suppress(BrokenPipeError):
            os.write(self._descriptor, line)

    def line(self, line: bytes) -> None:
        self._buffer += line
        if len(self._buffer) >= _BUFFER_BYTES:
            self._flush()

    def _last_word(self, message: JsonObject) -> None:
        with suppress(BrokenPipeError):
            self.line(protocol.encode(message) + b"\n")
            self._flush()

    def _flush(self) -> None:
        while self._buffer:
            written = os.write(self._descriptor, self._buffer)
            del self._buffer[:written]
