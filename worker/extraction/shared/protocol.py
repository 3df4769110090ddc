"""The messages between worker, zygote and child.

Control messages travel as JSON datagrams between worker and zygote; a request carries two file
descriptors, the document to read and the pipe to write to. The result comes through that pipe as
JSON lines: `header`, then `element` and `page` lines in reading order, then one `end` or `error`. A
child that chunks writes `chunk` lines instead of `element` lines, and a `summary` before the end. A
child that cannot read the document alone writes only one line, `wanted`, with another kind of
child. The first child of a document reads its first window, and says in the header where the others
begin.
"""

import json
from dataclasses import asdict, dataclass
from typing import Any, Final

from docmill.worker.extraction.shared import profiles
from docmill.worker.models import ChunkRules, JsonObject

#: A control message is one datagram; the longest holds a file name and a folder.
CONTROL_BYTES = 32 * 1024
MAX_FILE_NAME_CHARACTERS = 255

#: Longest text of one element. The child cuts longer texts; the worker refuses them.
MAX_ELEMENT_CHARACTERS = 100_000
MAX_HTML_CHARACTERS = 20_000
MAX_NAME_CHARACTERS = 500
MAX_LINKS_CHARACTERS = 2_000
MAX_PAGES = 1_000_000
MAX_WINDOWS = 300
#: The most formulas without a value that are counted on one sheet.
MAX_FORMULAS = 1_000_000
#: Longest context that the first child may pass on to the children that read the other windows.
MAX_CONTEXT_BYTES = 8_000
#: Longest text of one chunk. OpenAI's longest token has 128 characters, all of them blanks.
MAX_CHUNK_CHARACTERS = 100_000
MAX_HEADINGS, MAX_HEADING_CHARACTERS = 6, 200
MAX_CHUNK_LINKS = 50
#: Longest state that one window leaves open for the next one: some sections, packed. See
#: child.chunking.state.
MAX_STATE_CHARACTERS = 1_000_000
#: The file in a child's folder with what the previous window left open: see Summary.state.
STATE_FILE = "state"
#: Longest line of the pipe. Text and HTML with four bytes for each character, all escaped, are
#: shorter.
MAX_LINE_BYTES = 1024 * 1024 + 4096

#: Categories that an element may have; other categories of unstructured become Text.
CATEGORIES = frozenset(
    {
        "Address",
        "CodeSnippet",
        "EmailAddress",
        "FigureCaption",
        "Footer",
        "Footnote",
        "Formula",
        "Header",
        "Image",
        "ListItem",
        "NarrativeText",
        "Table",
        "Text",
        "Title",
    }
)
#: The metadata that a parser may give an element, and how long each may be.
METADATA_LIMITS = {
    "text_as_html": MAX_HTML_CHARACTERS,
    "page_name": MAX_NAME_CHARACTERS,
    "links": MAX_LINKS_CHARACTERS,
    "rows": 20,
}
#: Values of the metadata `rows`, of the elements of a table that has several: its first rows, under
#: the names of its columns; more rows, with the names above them again; more rows alone, because
#: the names are too long to be repeated.
ROWS_FIRST: Final = "first"
ROWS_MORE: Final = "more"
ROWS_WITHOUT_NAMES: Final = "more without names"


@dataclass(frozen=True)
class Limits:
    """What one child may use."""

    memory_bytes: int  #: address space in addition to the zygote's at the fork
    cpu_seconds: int
    file_bytes: int = 256 * 1024 * 1024
    open_files: int = 64
    may_start_program: bool = False


@dataclass(frozen=True)
class Chunking:
    """Tells a child to chunk what it reads. Its folder has what the previous window left open."""

    rules: ChunkRules
    last: bool = False  #: no window follows; the first child of a document finds this out itself
    of_lines: bool = False  #: the input is lines that another child has read from the file


@dataclass(frozen=True)
class Request:
    """One document to read."""

    id: int
    file_name: str  #: a hint for text formats; never opened
    folder: str  #: the child's private folder, made and removed by the worker
    limits: Limits
    profile: str = profiles.PLAIN  #: what the child may do in addition to reading: see profiles
    media_type: str = ""  #: the type that an earlier child found
    window: tuple[int, int | None] | None = None  #: where it begins and ends; None: the first one
    context: str = ""  #: with a window: facts about the whole document from the first child
    chunking: Chunking | None = None  #: None: return elements
    word_comments: bool = False  #: comments of Word documents are read


def encode(message: JsonObject) -> bytes:
    """One control message or one line without its newline."""
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()


def encode_request(request: Request) -> bytes:
    """The datagram of a request."""
    return encode({"request": asdict(request)})


def decode_request(body: dict[str, Any]) -> Request:
    """The request in a datagram's body. Nothing is checked, because the worker is trusted."""
    window = body["window"] and tuple(body["window"])
    chunking = body["chunking"] and _decoded_chunking(body["chunking"])
    limits = Limits(**body["limits"])
    return Request(**{**body, "limits": limits, "window": window, "chunking": chunking})


def _decoded_chunking(body: dict[str, Any]) -> Chunking:
    return Chunking(**{**body, "rules": ChunkRules(**body["rules"])})
