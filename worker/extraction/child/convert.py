"""Formats that only a program reads: it turns the file into one that a parser of ours reads.

Happens in a child that has met nothing of the document yet. While the program runs, the child may
start it, and nothing else: it has no network, the same limits, its own folder to write to, and its
keeper counts what it starts. The program sees its own files, libraries and fonts. Then the child
gives that up too, and reads what the program wrote like any document.
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from docmill.worker.errors import JobError
from docmill.worker.extraction.child import program_view, sandbox, seccomp
from docmill.worker.extraction.child.kinds.base import Source
from docmill.worker.extraction.shared import office_traces, profiles
from docmill.worker.extraction.shared.protocol import Request

#: Title and body, and nothing of pandoc's own.
_TEMPLATE = "<title>$title$</title>\n$body$\n"
#: Of these pandoc takes the first heading for the title, and out of the body.
_TITLE_IN_TEXT = frozenset({"rst", "org"})
_TEMPLATE_WITH_TITLE = "$if(title)$<h1>$title$</h1>$endif$\n$body$\n"
_OFFICE_TARGETS = {"doc": "docx", "ppt": "pptx", "odp": "pptx", "ods": "xlsx"}
_OFFICE_RESTART = 81
#: pandoc's code for a heap that may grow no more.
_PANDOC_OUT_OF_MEMORY = 251


def confine_for(profile: str, readable: list[str], folder: str) -> None:
    """As a plain child is confined, but for what the program needs."""
    # What the program leaves behind stays below us, where the keeper counts it.
    sandbox.adopt_orphans()
    sandbox.give_way()
    view = program_view.of(profile)
    is_office = profile == profiles.OFFICE
    sockets = [office_traces.SOCKET_FOLDER] if is_office else []
    # The child goes on to read as a plain one does: the program itself sees `view` only.
    sandbox.confine([*readable, *view.readable], folder, runnable=view.runnable, sockets=sockets)
    seccomp.refuse_system_calls(
        program=True, local_sockets=is_office, others_hidden=sandbox.others_are_out_of_reach()
    )


def converted(request: Request, document: BinaryIO, readable: list[str]) -> Source:
    """Let the program convert the document. Raises JobError. Running ends here for good."""
    if request.profile == profiles.PANDOC:
        path = _with_pandoc(request, document)
    else:
        path = _with_office(request, document)
    sandbox.confine(readable, request.folder)
    seccomp.refuse_system_calls()
    if not path.exists():
        raise JobError("corrupt", f"{request.profile} wrote nothing")
    return Source(file=path.open("rb"), file_name=path.name)


def _with_pandoc(request: Request, document: BinaryIO) -> Path:
    program = profiles.pandoc()
    if program is None:
        raise JobError("unsupported_type", request.media_type)
    source, target = Path(request.folder, "document"), Path(request.folder, "document.html")
    template = Path(request.folder, "template.html")
    reader = profiles.PANDOC_FORMATS[request.media_type]
    template.write_text(_TEMPLATE_WITH_TITLE if reader in _TITLE_IN_TEXT else _TEMPLATE)
    _copy(document, source)
    # Its own sandbox lets its readers open no other file.
    arguments = ["--sandbox", "--standalone", f"--template={template}", "--wrap=none", "--quiet"]
    arguments += [f"--from={reader}", "--to=html", f"--output={target}", str(source)]
    _run([program, *arguments], request)
    return target


def _with_office(request: Request, document: BinaryIO) -> Path:
    program = profiles.soffice()
    if program is None:
        raise JobError("unsupported_type", request.media_type)
    ending = profiles.OFFICE_ENDINGS[request.media_type]
    target = _OFFICE_TARGETS[ending]
    source = Path(request.folder, f"document.{ending}")
    out = Path(request.folder, "out")
    out.mkdir()
    _copy(document, source)
    # The script of that name starts it as a grandchild, which would outlive us if we are killed.
    binary = Path(program).resolve().with_name("soffice.bin")
    arguments = ["--headless", "--norestore", "--nologo", "--nolockcheck"]
    arguments += ["--convert-to", target, "--outdir", str(out), str(source)]
    command = [str(binary) if binary.exists() else program, *arguments]
    for profile in _profiles(Path(request.folder)):
        # With a new profile it starts, makes itself at home, and asks to be started again.
        if _run([*command, f"-env:UserInstallation={profile.as_uri()}"], request) == 0:
            break
    return out / f"document.{target}"


def _profiles(folder: Path) -> Iterator[Path]:
    """A profile in which nothing of another document is, then copies of what became of it.

    The socket is named after the profile's place, and that of the start before is still there.
    """
    first, *others = office_traces.profile_folders(folder)
    first.mkdir()
    yield first
    for copy in others:
        _copy_folder(first, copy)
        yield copy


def _copy_folder(source: Path, target: Path) -> None:
    """Copy names and contents, which is all that may be set here. Links stay links."""
    target.mkdir()
    for entry in list(os.scandir(source)):
        if entry.is_symlink():
            (target / entry.name).symlink_to(Path(entry).readlink())
        elif entry.is_dir():
            _copy_folder(Path(entry), target / entry.name)
        elif entry.is_file():
            shutil.copyfile(entry, target / entry.name)


def _copy(document: BinaryIO, target: Path) -> None:
    document.seek(0)
    with target.open("wb") as file:
        shutil.copyfileobj(document, file)


def _run(command: list[str], request: Request) -> int:
    """Run the program to its end and return its code. Raises JobError when that is no good one."""
    own_pid = os.getpid()
    view = program_view.of(request.profile)
    is_office = request.profile == profiles.OFFICE
    sockets = [office_traces.SOCKET_FOLDER] if is_office else []

    def become_program() -> None:
        sandbox.die_with_parent(own_pid)
        sandbox.confine(view.readable, request.folder, runnable=view.runnable, sockets=sockets)

    # Its standard streams are ours, which are /dev/null; no other descriptor is handed on.
    program = subprocess.run(
        command,
        cwd=request.folder,
        env={
            "PATH": "/usr/bin:/bin",
            "HOME": request.folder,
            "TMPDIR": request.folder,
            "LANG": "C.UTF-8",
        },
        preexec_fn=become_program,
        check=False,
    )
    code = program.returncode
    if code in (-signal.SIGXCPU, -signal.SIGKILL):
        raise JobError("parse_timeout", request.profile)
    if code == _PANDOC_OUT_OF_MEMORY and request.profile == profiles.PANDOC:
        raise JobError("parse_memory", request.profile)
    if code not in (0, _OFFICE_RESTART):
        raise JobError("corrupt", f"{request.profile} {code}")
    return code
