"""How the peers' programs read a file: with the libraries that their own loaders use."""

from pathlib import Path


def text_of(path: Path) -> str:
    """The text of a PDF, DOCX, HTML or text file."""
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
