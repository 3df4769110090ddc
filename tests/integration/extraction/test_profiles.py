"""Documents that the base installation cannot read alone: pictures, and files for converters."""

import base64
import io
import os
import socket
import stat
import struct
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFont

from docmill.worker.errors import JobError
from docmill.worker.extraction import ExtractionLimits, GuardedExtractor
from docmill.worker.extraction.parent import supervisor
from docmill.worker.extraction.shared import profiles
from tests.integration.extraction import documents, ole
from tests.integration.extraction.conftest import (
    MIB,
    assert_nothing_left,
    code_of,
    condition_of,
    is_running,
    left_memory,
    limited,
    pid_of,
    read_document,
    running_extractor,
    state_of,
)

needs_ocr = pytest.mark.skipif(
    not profiles.is_available(profiles.OCR), reason="docmill[ocr] is not installed"
)
needs_pandoc = pytest.mark.skipif(
    not profiles.is_available(profiles.PANDOC), reason="pandoc is not installed"
)
WORDS = ("The harbour opens at seven", "and closes when the fog comes")


def picture(kind: str = "PNG", *, angle: int = 0) -> bytes:
    """Two lines of printed words."""
    image, out = Image.new("RGB", (900, 260), "white"), io.BytesIO()
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(size=44)
    for number, line in enumerate(WORDS):
        pen.text((40, 40 + 80 * number), line, fill="black", font=font)
    if angle:
        image = image.rotate(angle, expand=True)
    image.save(out, kind)
    return out.getvalue()


def scanned_pdf() -> bytes:
    """A page of text, then a picture of a page."""
    out = io.BytesIO()
    Image.open(io.BytesIO(picture())).save(out, "JPEG", quality=90)
    data = out.getvalue()
    drawing = b"q 450 0 0 130 60 500 cm /I Do Q"
    text = documents.draw((60, 700, "A page of ordinary text."))
    page = b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents %d 0 R /Resources %s >>"
    objects = (
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R 5 0 R 8 0 R] /Count 3 >>",
        page % (4, b"<< /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >>"),
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(text), text),
        page % (6, b"<< /XObject << /I 7 0 R >> >>"),
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(drawing), drawing),
        b"<< /Type /XObject /Subtype /Image /Width 900 /Height 260 /ColorSpace /DeviceRGB "
        b"/BitsPerComponent 8 /Filter /DCTDecode /Length %d >>\nstream\n%s\nendstream"
        % (len(data), data),
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] >>",
    )
    return documents.pdf_of(*objects)


@needs_ocr
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_the_text_of_a_picture_is_recognised(
    extractor: GuardedExtractor, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "picture.txt"
    path.write_bytes(picture(kind))
    document = read_document(extractor, path)
    assert (document.mime_type, document.page_count) == (f"image/{kind.lower()}", 1)
    assert " ".join(document.text.split()) == " ".join(WORDS)


@needs_ocr
def test_pages_that_are_pictures_are_recognised_among_others(
    extractor: GuardedExtractor, tmp_path: Path
) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(scanned_pdf())
    document = read_document(extractor, path)
    assert document.mime_type == "application/pdf"
    assert document.unread_pages == [3]
    pages = {page: [e.text for e in document.elements if e.page == page] for page in (1, 2)}
    assert pages[1] == ["A page of ordinary text."]
    assert " ".join(pages[2]) == " ".join(WORDS)
    assert_nothing_left(extractor)


@needs_ocr
def test_scans_in_a_message_are_recognised_however_it_was_forwarded(
    extractor: GuardedExtractor, tmp_path: Path
) -> None:
    path = tmp_path / "a.eml"
    mail = documents.make_mail_with(("scan.pdf", scanned_pdf()), ("photo.png", picture()))
    for content in (mail, documents.make_forwarded(mail, "Fwd")):
        path.write_bytes(content)
        document = read_document(extractor, path)
        assert document.mime_type == "message/rfc822"
        assert " ".join(document.text.split()).count(" ".join(WORDS)) == 2
    assert_nothing_left(extractor)


@needs_ocr
def test_a_picture_that_says_it_is_huge_is_refused(
    extractor: GuardedExtractor, tmp_path: Path
) -> None:
    def chunk(name: bytes, data: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + crc

    header = chunk(b"IHDR", struct.pack(">2I5B", 60_000, 60_000, 8, 2, 0, 0, 0))
    rows = chunk(b"IDAT", zlib.compress(bytes(10 * MIB)))
    path = tmp_path / "a.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + rows + chunk(b"IEND", b""))
    assert code_of(extractor, path) == "document_too_large"


@needs_ocr
def test_a_picture_without_text_and_a_broken_one(
    extractor: GuardedExtractor, tmp_path: Path
) -> None:
    path = tmp_path / "a.png"
    out = io.BytesIO()
    Image.new("RGB", (200, 200), "white").save(out, "PNG")
    path.write_bytes(out.getvalue())
    assert code_of(extractor, path) == "empty_document"
    path.write_bytes(picture()[:500])
    assert code_of(extractor, path) == "corrupt"


@needs_pandoc
def test_what_pandoc_reads(extractor: GuardedExtractor, tmp_path: Path) -> None:
    rst = tmp_path / "a.rst"
    rst.write_text("Title\n=====\n\n.. include:: /etc/passwd\n\nA paragraph of *text*.\n")
    document = read_document(extractor, rst)
    assert [(e.category, e.text) for e in document.elements] == [
        ("Title", "Title"),
        ("Text", "A paragraph of text."),
    ]
    assert_nothing_left(extractor)


@pytest.mark.parametrize(
    ("make", "mime_type"),
    [
        (documents.make_odt, "application/vnd.oasis.opendocument.text"),
        (documents.make_epub, "application/epub+zip"),
    ],
)
def test_books_and_texts_of_opendocument(
    extractor: GuardedExtractor, tmp_path: Path, make: Callable[[], bytes], mime_type: str
) -> None:
    path = tmp_path / "a"
    path.write_bytes(make())
    document = read_document(extractor, path)
    assert document.mime_type == mime_type
    assert [(e.category, e.text) for e in document.elements] == [
        ("Title", "Annual Report"),
        ("Text", "It was a good year for everybody."),
    ]


def test_a_book_or_text_without_its_parts_is_corrupt(
    extractor: GuardedExtractor, tmp_path: Path
) -> None:
    path = tmp_path / "a.odt"
    path.write_bytes(
        documents.zipped({"mimetype": b"application/vnd.oasis.opendocument.text", "x": b""})
    )
    assert code_of(extractor, path) == "corrupt"
    path.write_bytes(
        documents.zipped(
            {
                "mimetype": b"application/epub+zip",
                "META-INF/rights.xml": b"<x/>",
            }
        )
    )
    assert code_of(extractor, path) == "encrypted"


# -- programs, with a script instead of LibreOffice

DOC = {"WordDocument": b"x" * 5000}
PROGRAM = """#!/bin/bash
for argument; do [ "$last" = --outdir ] && out=$argument; last=$argument; done
{tries}
base64 -d > "$out/document.{ending}" <<'END'
{document}
END
"""


#: A zygote without PID namespaces, because the kernel grants none.
BARE_ZYGOTE = (
    *(sys.executable, "-I", "-c"),
    """
import sys
from docmill.worker.extraction.child import sandbox
sandbox.can_hide_processes = lambda: False
from docmill.worker.extraction.zygote.process import main
main(sys.argv[1:])
""",
)


@pytest.fixture(
    scope="module", params=[supervisor.ZYGOTE, BARE_ZYGOTE], ids=["all", "no namespaces"]
)
def own(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GuardedExtractor]:
    """An extractor whose PATH begins with a folder for programs."""
    if profiles.soffice():
        pytest.skip("LibreOffice is installed")
    folder = tmp_path_factory.mktemp("own")
    (folder / "programs").mkdir()
    limits = ExtractionLimits(children=2, timeout_seconds=30, memory_bytes=512 * MIB)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PATH", f"{folder / 'programs'}:/usr/bin:/bin")
        patched.setattr(supervisor, "ZYGOTE", request.param)
        with running_extractor(folder, limits) as made:
            yield made


@pytest.fixture
def programs(own: GuardedExtractor) -> Iterator[Path]:
    """The folder for programs: empty."""
    folder = own._folders.root.parent / "programs"
    yield folder
    for program in folder.iterdir():
        program.unlink()


@pytest.fixture
def doc(tmp_path: Path) -> Path:
    """A document of Word before 2007."""
    path = tmp_path / "a.doc"
    path.write_bytes(ole.make_ole(DOC))
    return path


def install(programs: Path, tries: str = "", made: bytes = b"", ending: str = "docx") -> None:
    document = base64.encodebytes(made or documents.make_docx()).decode()
    path = programs / "soffice"
    path.write_text(PROGRAM.format(tries=tries, document=document, ending=ending))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_what_is_missing_is_found_once_it_is_installed(
    own: GuardedExtractor, programs: Path, doc: Path
) -> None:
    assert code_of(own, doc) == "unsupported_type"
    install(programs)
    document = read_document(own, doc)
    assert document.mime_type == "application/msword"
    assert document.elements[0].text == "Annual Report"
    (programs / "soffice").unlink()
    assert code_of(own, doc) == "unsupported_type"


def test_a_large_workbook_that_a_program_made_is_read_once(
    own: GuardedExtractor, programs: Path, tmp_path: Path
) -> None:
    """It is as large as a workbook that would be read in several windows."""
    install(programs, made=documents.make_large_xlsx(3), ending="xlsx")
    path = tmp_path / "a.ods"
    kind = "application/vnd.oasis.opendocument.spreadsheet"
    path.write_bytes(documents.zipped({"mimetype": kind.encode(), "content.xml": b"<a/>"}))
    document = read_document(own, path)
    assert (document.mime_type, document.page_count) == (kind, 3)
    assert [e.text for e in document.elements if e.category == "Title"] == ["S0", "S1", "S2"]


def test_a_program_reaches_nothing_and_leaves_nothing(
    own: GuardedExtractor, programs: Path, tmp_path: Path, doc: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x")
    with socket.create_server(("127.0.0.1", 0)) as canary:
        port = canary.getsockname()[1]
        tries = [
            f"(exec 3<>/dev/tcp/127.0.0.1/{port}) 2>/dev/null && exit 9",
            f"cat {secret} && exit 8",
            f"touch {tmp_path}/made && exit 7",
            "cat /proc/$PPID/environ && exit 6",
            # Processes that try to outlive it, in its group and in their own.
            "sleep 600 & (setsid sleep 600 &)",
            "setsid true && exit 5",
        ]
        install(programs, "\n".join(tries))
        assert read_document(own, doc).elements[0].text == "Annual Report"
        canary.setblocking(False)
        with pytest.raises(BlockingIOError):
            canary.accept()
    assert_nothing_left(own)


needs_python = pytest.mark.skipif(
    not Path("/usr/bin/python3").exists(), reason="the system has no Python for the attacks"
)


def attacking(*attacks: str) -> str:
    """Lines of a program that runs each of these attacks in a Python process."""
    source = Path(__file__).with_name("attacks.py").read_text()
    source += "\nimport sys\nATTACKS[sys.argv[1]](*sys.argv[2:])\n"
    lines = [f"cat > attacks.py <<'ATTACKS'\n{source}ATTACKS"]
    return "\n".join([*lines, *(f"/usr/bin/python3 attacks.py {attack}" for attack in attacks)])


@needs_python
def test_a_program_changes_nothing_of_others(
    own: GuardedExtractor, programs: Path, tmp_path: Path, doc: Path, victim: int
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x")
    secret.chmod(0o600)
    attacks = [f"{name} {victim}" for name in ("limit", "slow_down", "look_into")]
    attacks += [f"{name} {own.zygote_pid}" for name in ("limit", "slow_down", "look_into")]
    attacks += [f"send_signals_by_files {victim}", f"change_files {secret} {programs / 'soffice'}"]
    attacks += ["leave_memory", f"write_elsewhere {tmp_path} /var/tmp /dev/shm", "stay"]
    install(programs, attacking(*attacks))
    files = [secret, programs / "soffice"]
    before = [*map(condition_of, (victim, pid_of(own))), *map(state_of, files)]
    assert read_document(own, doc).elements[0].text == "Annual Report"
    assert [*map(condition_of, (victim, pid_of(own))), *map(state_of, files)] == before
    assert not left_memory()
    for folder in (tmp_path, Path("/var/tmp"), Path("/dev/shm")):
        assert not (folder / "docmill-attack").exists()


@needs_python
def test_nobody_hears_a_signal_of_a_program(
    own: GuardedExtractor, programs: Path, doc: Path, victim: int
) -> None:
    """It may only end itself, its child, and the processes that it left."""
    zygote = pid_of(own)
    install(programs, attacking(f"send_signals {victim} {zygote} {os.getpid()} 1"))
    with suppress(JobError):
        read_document(own, doc)
    assert is_running(victim)
    assert is_running(zygote)
    assert_nothing_left(own)


@needs_python
@pytest.mark.parametrize("name", ["many_files", "nameless_files", "deep_files"])
def test_a_program_that_fills_the_disk_is_ended(
    own: GuardedExtractor, programs: Path, doc: Path, name: str
) -> None:
    install(programs, attacking(name))
    assert code_of(own, doc) == "parse_crashed"
    assert_nothing_left(own)


def test_a_program_sees_its_own_files_only(
    own: GuardedExtractor, programs: Path, tmp_path: Path, doc: Path
) -> None:
    with tempfile.TemporaryDirectory(dir=Path(sys.prefix, "lib")) as package:
        hidden = [Path(package, "secret"), programs / "secret", tmp_path / "secret"]
        hidden += [path for path in _SYSTEM if path.exists()]
        for path in hidden[:3]:
            path.write_text("x")
        tries = [f"cat {path} && exit {number}" for number, path in enumerate(hidden, start=100)]
        tries += ["ls /opt && exit 99", "ls /usr/local && exit 98", "ls /usr/share && exit 97"]
        install(programs, "\n".join(tries))
        assert read_document(own, doc).elements[0].text == "Annual Report"


#: Files that every user may read, and no program needs.
_SYSTEM = [Path(name) for name in ("/etc/passwd", "/etc/hostname", "/proc/1/cmdline", "/etc/hosts")]


@pytest.mark.parametrize(
    "bomb",
    [
        pytest.param("for n in {1..200}; do sleep 600 & done; wait", id="many children"),
        pytest.param("run() { run & run & }; run; sleep 600", id="without end"),
        pytest.param("run() { (sleep 600 & run) & }; run; sleep 600", id="whose parents are gone"),
    ],
)
def test_a_program_that_starts_too_many_processes_is_ended(
    own: GuardedExtractor, programs: Path, doc: Path, bomb: str
) -> None:
    install(programs, bomb)
    zygote, began = own.zygote_pid, time.monotonic()
    assert code_of(own, doc) == "parse_crashed"
    assert time.monotonic() - began < 20, "only the clock ended it"
    assert_nothing_left(own)
    # The same reader lives, and reads the next document.
    install(programs)
    assert read_document(own, doc).elements[0].text == "Annual Report"
    assert own.zygote_pid == zygote


def test_a_program_with_a_few_processes_is_left_alone(
    own: GuardedExtractor, programs: Path, doc: Path
) -> None:
    install(programs, "for n in {1..20}; do sleep 0.3 & done; wait")
    assert read_document(own, doc).elements[0].text == "Annual Report"


def test_a_program_that_hangs_or_fails(own: GuardedExtractor, programs: Path, doc: Path) -> None:
    install(programs, "exit 3")
    assert code_of(own, doc) == "corrupt"
    install(programs, "sleep 600")
    with limited(own, timeout_seconds=3, patience=1):
        assert code_of(own, doc) == "parse_timeout"
    assert_nothing_left(own)
