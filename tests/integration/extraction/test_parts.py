"""Files attached to mail: each is read by its own type, and a failure affects only its file."""

from pathlib import Path

from docmill.worker.extraction import GuardedExtractor
from docmill.worker.models import Element
from tests.integration.extraction import documents, ole
from tests.integration.extraction.conftest import MIB, read_document


def read_mail(extractor: GuardedExtractor, tmp_path: Path, content: bytes):
    path = tmp_path / "a.eml"
    path.write_bytes(content)
    return read_document(extractor, path)


def test_each_attachment_is_read_by_its_own_kind(extractor: GuardedExtractor, tmp_path: Path):
    mail = documents.make_mail_with(
        ("plan.docx", documents.make_docx()),
        ("cups.xlsx", documents.make_xlsx()),
        ("notes.pdf", documents.make_pdf(["One.", "Two."])),
        # The name decides among text formats.
        ("f.py", b"def f():\n    return 1\n"),
    )
    document = read_mail(extractor, tmp_path, mail)
    assert (document.page_count, document.unread_pages) == (5, [])
    assert "Attachments: plan.docx, cups.xlsx, notes.pdf, f.py" in document.elements[1].text
    by_part = {page: [e for e in document.elements if e.page == page] for page in range(1, 6)}
    assert by_part[1][0] == Element("Title", "The papers", page=1, depth=0)
    name, title, _body, table = by_part[2]
    assert (name.text, name.depth) == ("plan.docx", 1)
    assert (title.text, title.depth) == ("Annual Report", 2)
    assert (table.text, table.metadata["page_name"]) == ("Team | Wins\nBlues | 1", "plan.docx")
    assert by_part[3][-1].metadata["page_name"] == "cups.xlsx, Cups"
    assert [e.metadata.get("page_name") for e in by_part[4]] == [
        None,
        "notes.pdf, page 1",
        "notes.pdf, page 2",
    ]
    assert by_part[5][-1].text == "def f():\n    return 1"


def test_what_cannot_be_read_is_named_and_counted(extractor: GuardedExtractor, tmp_path: Path):
    mail = documents.make_mail_with(
        ("photo.xcf", b"\x89PNX" + bytes(range(256))),
        ("broken.pdf", b"%PDF-1.7\nnothing of one"),
        ("bomb.docx", documents.make_bomb()),
        ("empty.txt", b""),
        ("half.pdf", documents.make_pdf(["One.", ""])),
        ("../../etc/good.txt", b"The last of them."),
    )
    document = read_mail(extractor, tmp_path, mail)
    assert document.unread_pages == [2, 3, 4, 6]
    assert "photo.xcf, broken.pdf, bomb.docx, empty.txt, half.pdf, good.txt" in document.text
    assert document.elements[-1].text == "The last of them."


def test_mail_in_mail_is_read_to_a_depth(extractor: GuardedExtractor, tmp_path: Path):
    mail = documents.make_eml()
    for number in range(50):
        mail = documents.make_forwarded(mail, f"level {number}")
    document = read_mail(extractor, tmp_path, mail)
    assert document.unread_pages == [2]
    assert "About level 49" in document.text
    assert "About level 46" in document.text
    assert "About level 45" not in document.text


def test_no_more_than_so_many_attachments(extractor: GuardedExtractor, tmp_path: Path):
    files = [(f"{number}.txt", f"Text number {number}.".encode()) for number in range(250)]
    document = read_mail(extractor, tmp_path, documents.make_mail_with(*files))
    assert document.page_count == 251
    assert document.unread_pages == list(range(202, 252))
    assert "Text number 199." in document.text


def test_pictures_within_the_text_are_no_attachments(extractor: GuardedExtractor, tmp_path: Path):
    mail = (
        b"Subject: Greetings\nMIME-Version: 1.0\n"
        b'Content-Type: multipart/related; boundary="b"\n\n'
        b"--b\nContent-Type: text/html; charset=windows-1252\n\n<p>Gr\xfc\xdfe aus K\xf6ln</p>\n"
        b"--b\nContent-Type: image/png\nContent-ID: <logo>\n\nxx\n--b--\n"
    )
    document = read_mail(extractor, tmp_path, mail)
    assert document.page_count is None
    assert "Grüße aus Köln" in document.text


def test_a_large_attachment_is_read_within_the_limits(extractor: GuardedExtractor, tmp_path: Path):
    words = b"All of these words were attached to a message. " * (4 * MIB // 47)
    document = read_mail(extractor, tmp_path, documents.make_mail_with(("long.txt", words)))
    assert sum(len(e.text) for e in document.elements if e.page == 2) > 4 * MIB - 100


def test_attachments_of_an_outlook_message(extractor: GuardedExtractor, tmp_path: Path):
    path = tmp_path / "message"
    notes = documents.make_pdf(["A page of notes."])
    path.write_bytes(ole.make_msg("Papers", "See below.", {"notes.pdf": notes, "x.bin": b"\xfe\0"}))
    document = read_document(extractor, path)
    assert (document.mime_type, document.title) == ("application/vnd.ms-outlook", "Papers")
    assert (document.page_count, document.unread_pages) == (3, [3])
    assert [(e.text, e.page) for e in document.elements[-2:]] == [
        ("notes.pdf", 2),
        ("A page of notes.", 2),
    ]
