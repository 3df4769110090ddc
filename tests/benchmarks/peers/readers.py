"""Code that the peers' programs share: the start signal, and reading a file."""

import sys
from pathlib import Path


def wait_for_start() -> None:
    """Report that everything is imported, and wait until the clock runs."""
    print("ready", flush=True)
    sys.stdin.readline()


def text_of(path: Path) -> str:
    """The text of a PDF, DOCX, HTML or text file, read with the libraries of their own loaders."""
    if path.suffix == ".pdf":
        from pypdf import PdfReader

        return "\n".join(page.extract_text() for page in PdfReader(path).pages)
    if path.suffix == ".docx":
        import docx2txt

        return str(docx2txt.process(path))
    text = path.read_text()
    if path.suffix == ".html":
        from bs4 import BeautifulSoup

        return BeautifulSoup(text, "html.parser").get_text("\n")
    return text
