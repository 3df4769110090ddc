"""Finds the media type of a file from its bytes.

The type that the uploader declared is ignored: clients send text/plain for everything. The file
name is only a hint among text formats.
"""

import csv
import json
import re
import zipfile
from collections.abc import Callable
from typing import BinaryIO

import olefile  # type: ignore[import-untyped]  # ships no types

from docmill.worker.extraction.child.compound import CompoundFile
from docmill.worker.extraction.child.encodings import (
    decode_start,
    looks_like_text,
    plain_newlines,
)
from docmill.worker.extraction.shared.media_types import (
    CALENDAR,
    DOCX,
    EML,
    MBOX,
    MSG,
    PDF,
    PPTX,
    XLS,
    XLSB,
    XLSX,
    named_text_type,
)

EMPTY = "application/x-empty"
UNKNOWN = "application/octet-stream"
#: An Office document in an encrypted envelope; its kind cannot be known without the password.
ENCRYPTED_OFFICE = "application/x-ole-storage"
#: Begins like a container but cannot be listed; mostly such files are cut off.
BROKEN = "application/x-broken-container"

#: How much of a file is looked at to find a text format.
START_BYTES = 64 * 1024

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"BM", "image/bmp"),
    (b"{\\rtf", "application/rtf"),
    (b"-----BEGIN PGP MESSAGE-----", ENCRYPTED_OFFICE),
    (b"\x1f\x8b", "application/gzip"),
    (b"BZh", "application/x-bzip2"),
    (b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
    (b"\xfd7zXZ\x00", "application/x-xz"),
    (b"Rar!\x1a\x07", "application/vnd.rar"),
    (b"\x7fELF", "application/x-executable"),
    (b"MZ", "application/x-dosexec"),
    (b"SQLite format 3\x00", "application/vnd.sqlite3"),
    (b"PAR1", "application/vnd.apache.parquet"),
    (b"OggS", "audio/ogg"),
    (b"ID3", "audio/mpeg"),
    (b"fLaC", "audio/flac"),
    (b"\x1aE\xdf\xa3", "video/webm"),
)
#: Short signatures that a text may begin with too.
_SHORT_MAGIC = (b"BM", b"MZ", b"ID3", b"PAR1", b"BZh", b"OggS")

_CONTENT_TYPES = "[Content_Types].xml"
_OOXML = {"word/": DOCX, "ppt/": PPTX, "xl/": XLSX}
#: Office types and their variants, by the type of the main part.
_OOXML_MAIN_PARTS = (
    (b"word.document.macroEnabled.main", "application/vnd.ms-word.document.macroenabled.12"),
    (b"word.template.macroEnabled", "application/vnd.ms-word.template.macroenabled.12"),
    (
        b"wordprocessingml.template.main",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.template",
    ),
    (
        b"presentationml.slideshow.main",
        "application/vnd.openxmlformats-officedocument.presentationml.slideshow",
    ),
    (
        b"presentationml.template.main",
        "application/vnd.openxmlformats-officedocument.presentationml.template",
    ),
    (
        b"powerpoint.presentation.macroEnabled",
        "application/vnd.ms-powerpoint.presentation.macroenabled.12",
    ),
    (
        b"powerpoint.slideshow.macroEnabled",
        "application/vnd.ms-powerpoint.slideshow.macroenabled.12",
    ),
    (b"powerpoint.template.macroEnabled", "application/vnd.ms-powerpoint.template.macroenabled.12"),
    (b"sheet.binary.macroEnabled.main", XLSB),
    (b"wordprocessingml.document.main", DOCX),
    (b"presentationml.presentation.main", PPTX),
    (b"spreadsheetml.sheet.main", XLSX),
)
_MAX_TYPES_BYTES = 1024 * 1024
_OLE_STREAMS = (
    ("EncryptedPackage", ENCRYPTED_OFFICE),
    ("__properties_version1.0", MSG),
    ("WordDocument", "application/msword"),
    ("Workbook", XLS),
    ("Book", XLS),
    ("PowerPoint Document", "application/vnd.ms-powerpoint"),
)

#: Types of scripts, by the interpreter in the first line.
_INTERPRETERS = {"python": "py", "bash": "sh", "sh": "sh", "zsh": "zsh", "node": "js", "perl": "pl"}
_SHEBANG = re.compile(r"#!\s*\S*/(?:env\s+(?:-\S+\s+)*)?([a-z]+)[\d.]*(?:\s|$)")
_PDF_HEADER = re.compile(rb"(?<![A-Za-z0-9 `\"'(])%PDF-\d\.\d")
_PDF_OBJECT = re.compile(rb"\s*\d{1,9} \d{1,5} obj\s*<<")
_HTML_START = re.compile(r"<(!doctype\s+html|html|head|body)\b", re.IGNORECASE)
_XML_START = re.compile(r"<\?xml\b", re.IGNORECASE)
_XHTML_ROOT = re.compile(r"<html\b", re.IGNORECASE)
_MAIL_HEADER = re.compile(
    r"^(received|message-id|mime-version|return-path|delivered-to|date|subject|from|to):\s",
    re.IGNORECASE | re.MULTILINE,
)
_CALENDAR_START = re.compile(r"\s*BEGIN:VCALENDAR\s", re.IGNORECASE)
_MBOX_LINE = re.compile(r"From \S[^\n]*\d{4}[^\n]*\n")
_HEADER_LINE = re.compile(r"[!-9;-~]+:|[ \t]")


def sniff(file: BinaryIO, file_name: str = "") -> str:
    """The media type of a seekable file. Never raises, whatever the bytes are.

    Source code and configuration are `text/x-` plus the ending of the name.
    """
    file.seek(0)
    start = file.read(START_BYTES)
    if not start:
        return EMPTY
    return _binary_type(file, start) or _text_type(start, file_name)


def _binary_type(file: BinaryIO, start: bytes) -> str | None:
    # Containers come first: a PDF inside one may begin within the first kilobyte.
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _container_type(_zip_type, file)
    if start.startswith(olefile.MAGIC):
        return _container_type(_ole_type, file)
    if _is_pdf(start):
        return PDF
    for magic, media_type in _MAGIC:
        if start.startswith(magic) and not (magic in _SHORT_MAGIC and looks_like_text(start)):
            return media_type
    return _riff_or_iso_type(start)


def _is_pdf(start: bytes) -> bool:
    """Readers accept a PDF's header after some other bytes, within the first kilobyte.

    A text that only mentions such a header has it not at the beginning of a line, or has no
    objects.
    """
    # Some files begin with their first object, and no reader opens them; their source is no text.
    if start.startswith(b"%PDF-") or _PDF_OBJECT.match(start):
        return True
    found = _PDF_HEADER.search(start[:1024])
    if found is None:
        return False
    rubbish = not re.search(rb"[A-Za-z]", start[: found.start()])
    return rubbish or b" obj" in start or not looks_like_text(start)


def _riff_or_iso_type(start: bytes) -> str | None:
    if start[:4] == b"RIFF":
        return {b"WEBP": "image/webp", b"WAVE": "audio/wav"}.get(start[8:12], UNKNOWN)
    if start[4:8] == b"ftyp":
        return "image/heic" if start[8:11] in (b"hei", b"mif") else "video/mp4"
    return None


def _container_type(look: Callable[[BinaryIO], str], file: BinaryIO) -> str:
    try:
        file.seek(0)
        return look(file)
    except MemoryError:
        raise
    except Exception:  # readers of broken containers raise whatever they like
        return BROKEN


def _zip_type(file: BinaryIO) -> str:
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        if _CONTENT_TYPES in names:
            return _ooxml_type(archive, names)
        if "mimetype" in names and archive.getinfo("mimetype").file_size < 200:
            return archive.read("mimetype").decode("ascii").strip()
    return "application/zip"


def _ooxml_type(archive: zipfile.ZipFile, names: list[str]) -> str:
    if archive.getinfo(_CONTENT_TYPES).file_size <= _MAX_TYPES_BYTES:
        types = archive.read(_CONTENT_TYPES)
        for main_part, media_type in _OOXML_MAIN_PARTS:
            if main_part in types:
                return media_type
    for folder, media_type in _OOXML.items():
        # Some programs write names with backslashes.
        if any(name.replace("\\", "/").startswith(folder) for name in names):
            return media_type
    return "application/zip"


def _ole_type(file: BinaryIO) -> str:
    with CompoundFile(file) as storage:
        # Streams of the root only: a message may carry a Word document as an attachment.
        root = {entry[0].lower() for entry in storage.listdir() if len(entry) == 1}
    return next((kind for stream, kind in _OLE_STREAMS if stream.lower() in root), UNKNOWN)


def _text_type(start: bytes, file_name: str) -> str:
    if not looks_like_text(start):
        return UNKNOWN
    text = decode_start(start)
    if not text.strip() and len(start) < START_BYTES:
        return EMPTY
    # The first line of a file counts more than its name.
    if _CALENDAR_START.match(text):
        return CALENDAR
    beginning = _without_comments(text)
    if _HTML_START.match(beginning):
        return "text/html"
    if _XML_START.match(beginning):
        return _xml_type(text)
    named = named_text_type(file_name)
    if named == MBOX and not _is_mailbox(text):
        named = None
    return named or _guessed_text_type(text)


def _without_comments(text: str) -> str:
    text = text.lstrip()
    while text.startswith("<!--") and "-->" in text:
        text = text.partition("-->")[2].lstrip()
    return text


def _xml_type(text: str) -> str:
    if "<svg" in text[:2000]:
        return "image/svg+xml"
    return "text/html" if _XHTML_ROOT.search(text[:2000]) else "application/xml"


def _guessed_text_type(text: str) -> str:
    if _is_mailbox(text):
        return MBOX
    if _looks_like_mail(text):
        return EML
    script = _SHEBANG.match(text)
    if script and script[1] in _INTERPRETERS:
        return f"text/x-{_INTERPRETERS[script[1]]}"
    stripped = text.strip()
    if stripped.startswith(("{", "[{", '["')) and '"' in stripped:
        return "application/x-ndjson" if _looks_like_json_lines(stripped) else "application/json"
    return _delimited_type(stripped) or "text/plain"


def _looks_like_json_lines(text: str) -> bool:
    """Whether each of the first lines is an object. The last line may be cut."""
    lines = [line.strip() for line in text.splitlines() if line.strip()][:5]
    whole = lines[:-1] if len(lines) > 1 else []
    return bool(whole) and all(
        line.startswith("{") and line.endswith("}") and _is_json(line) for line in whole
    )


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _delimited_type(text: str) -> str | None:
    """The type of a table whose name does not tell: all lines have as many tabs or commas.

    Commas are common in prose and lists, so a table with commas needs more columns and short cells.
    """
    lines = [line for line in text[:16_384].splitlines() if line.strip()][:20]
    if len(text) > 16_384:
        lines = lines[:-1]
    if len(lines) < 3:
        return None
    tabs = {line.count("\t") for line in lines}
    if len(tabs) == 1 and tabs != {0}:
        return "text/tab-separated-values"
    rows = _csv_rows(lines)
    widths = {len(row) for row in rows}
    cells = [cell for row in rows for cell in row]
    spaced = sum(1 for cell in cells if cell.startswith(" ") or len(cell) > 80)
    if len(widths) == 1 and max(widths) >= 3 and spaced <= len(cells) // 20:
        return "text/csv"
    return None


def _csv_rows(lines: list[str]) -> list[list[str]]:
    try:
        return list(csv.reader(lines))
    except csv.Error:
        return []


def _is_mailbox(text: str) -> bool:
    """Whether a message follows the line that mailboxes put before each message."""
    text = plain_newlines(text)
    first = _MBOX_LINE.match(text)
    return first is not None and _looks_like_mail(text[first.end() :])


def _looks_like_mail(text: str) -> bool:
    headers = text.replace("\r\n", "\n").lstrip("\n").partition("\n\n")[0]
    lines = headers.split("\n")
    if not all(_HEADER_LINE.match(line) for line in lines[:10]):
        return False
    # A part of a message, as programs that sign mail store it, has only the headers of MIME.
    is_part = lines[0].lower().startswith("mime-version:") and "\ncontent-type:" in headers.lower()
    return is_part or len({name.lower() for name in _MAIL_HEADER.findall(headers)}) >= 3
