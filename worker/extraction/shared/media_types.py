"""Names of media types, and the type that the name of a file suggests."""

from pathlib import PurePosixPath

DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
PPTX = "application/vnd.openxmlformats-officedocument.presentationml.presentation"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
#: Documents with macros, and templates, are read like documents. Macros are neither run nor read.
WORD_TYPES = frozenset(
    {
        DOCX,
        "application/vnd.ms-word.document.macroenabled.12",
        "application/vnd.ms-word.template.macroenabled.12",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.template",
    }
)
SLIDE_TYPES = frozenset(
    {
        PPTX,
        "application/vnd.ms-powerpoint.presentation.macroenabled.12",
        "application/vnd.ms-powerpoint.slideshow.macroenabled.12",
        "application/vnd.ms-powerpoint.template.macroenabled.12",
        "application/vnd.openxmlformats-officedocument.presentationml.slideshow",
        "application/vnd.openxmlformats-officedocument.presentationml.template",
    }
)
XLSB = "application/vnd.ms-excel.sheet.binary.macroenabled.12"
XLS = "application/vnd.ms-excel"
PDF = "application/pdf"
EML, MSG = "message/rfc822", "application/vnd.ms-outlook"
EPUB, ODT = "application/epub+zip", "application/vnd.oasis.opendocument.text"
MBOX, CALENDAR = "application/mbox", "text/calendar"

_TEXT_NAMES = {
    "csv": "text/csv",
    "eml": EML,
    "htm": "text/html",
    "html": "text/html",
    "ics": CALENDAR,
    "json": "application/json",
    "jsonl": "application/x-ndjson",
    "markdown": "text/markdown",
    "mbox": MBOX,
    "md": "text/markdown",
    "mdx": "text/markdown",
    "ndjson": "application/x-ndjson",
    "org": "text/x-org",
    "rst": "text/x-rst",
    "tab": "text/tab-separated-values",
    "tsv": "text/tab-separated-values",
    "xhtml": "text/html",
    "xml": "application/xml",
}
#: Source files without an ending.
_SOURCE_FILES = {"dockerfile": "dockerfile", "makefile": "mk", "gnumakefile": "mk"}
#: Text whose indentation matters, by the ending of its name.
_SOURCE_NAMES = frozenset(
    """bash c cc cfg clj conf cpp cs css cxx dart ex exs go gradle graphql h hpp hs ini ipynb java
    jl js jsx kt kts less lua m mjs mk ml nix pas php pl proto ps1 py pyi r rb rs scala scss sh sol
    sql svelte swift tcl tf toml ts tsx vb vue yaml yml zig zsh""".split()  # noqa: SIM905 -- literals would take a page
)


def named_text_type(file_name: str) -> str | None:
    """The text type that the ending of a name stands for, or None."""
    path = PurePosixPath(file_name.lower())
    if path.name in _SOURCE_FILES:
        return f"text/x-{_SOURCE_FILES[path.name]}"
    ending = path.suffix.removeprefix(".")
    if ending in _SOURCE_NAMES:
        return f"text/x-{ending}"
    return _TEXT_NAMES.get(ending)


def name_hint(file_name: str) -> str:
    """The part of a name that matters: files with equal bytes and equal hints are read alike."""
    return named_text_type(file_name) or ""
