"""Which kind reads which media type."""

from collections.abc import Callable

from worker.errors import JobError
from worker.extraction import sniff
from worker.extraction.kinds import data, mail, office, pdf, text, web
from worker.extraction.kinds.base import Reading, Source

Reader = Callable[[Source], Reading]

READERS: dict[str, Reader] = {
    "application/pdf": pdf.read_pdf,
    sniff.DOCX: office.read_docx,
    sniff.PPTX: office.read_pptx,
    sniff.XLSX: office.read_xlsx,
    sniff.XLS: office.read_xls,
    "text/html": web.read_html,
    "text/markdown": web.read_markdown,
    "text/csv": data.read_delimited,
    "text/tab-separated-values": data.read_delimited,
    "application/json": data.read_json,
    "application/x-ndjson": data.read_json_lines,
    "application/xml": data.read_xml,
    sniff.EML: mail.read_eml,
    sniff.MSG: mail.read_msg,
    "text/plain": text.read_text,
}

#: What can be told of a file before anything reads it.
_REFUSED = {
    sniff.EMPTY: "empty_document",
    sniff.ENCRYPTED_OFFICE: "encrypted",
    sniff.BROKEN: "corrupt",
}


def open_reading(source: Source) -> tuple[str, Reading]:
    """Sniff the file and begin to read it as what it is. Raises JobError, or anything at all."""
    media_type = sniff.sniff(source.file, source.file_name)
    if media_type in _REFUSED:
        raise JobError(_REFUSED[media_type])
    reader = READERS.get(media_type)
    if reader is None and media_type.startswith("text/x-"):
        reader = text.read_source
    if reader is None:
        raise JobError("unsupported_type", media_type)
    source.file.seek(0)
    return media_type, reader(source)
