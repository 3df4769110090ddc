"""Formats that only a program reads: it converts the file into one that docmill's parsers read.

A child does this before it reads any of the document. It may start only this program. It has no
network, the same limits, its own folder to write to, and its keeper counts its processes. The
program sees its own files, libraries and fonts. Then the child gives up the right to start
programs, and reads the program's output like any document.
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

#: Title and body, without pandoc's own additions.
_TEMPLATE = "<title>$title$</title>\n$body$\n"
#: For these, pandoc makes the first heading the title and removes it from the body.
_TITLE_IN_TEXT = frozenset({"rst", "org"})
_TEMPLATE_WITH_TITLE = "$if(title)$<h1>$title$</h1>$endif$\n$body$\n"
_OFFICE_TARGETS = {"doc": "docx", "ppt": "pptx", "odp": "pptx", "ods": "xlsx"}
_OFFICE_RESTART = 81
#: pandoc's exit code when its heap may not grow any more.
_PANDOC_OUT_OF_MEMORY = 251


def confine_for(profile: str, readable: list[str], folder: str) -> None:
    """Confine this process like a plain child, except for what the program needs."""
    # Processes that the program leaves stay descendants of this process, where the keeper counts
    # them.
    sandbox.adopt_orphans()
    sandbox.give_way()
    view = program_view.of(profile)
    is_office = profile == profiles.OFFICE
    sockets = [office_traces.SOCKET_FOLDER] if is_office else []
    # The child later reads like a plain one; the program itself sees only `view`.
    sandbox.confine([*readable, *view.readable], folder, runnable=view.runnable, sockets=sockets)
    seccomp.refuse_system_calls(
        program=True, local_sockets=is_office, others_hidden=sandbox.others_are_out_of_reach()
    )


def converted(request: Request, document: BinaryIO, readable: list[str]) -> Source:
    """Let the program convert the document. Raises JobError. Afterwards no program can start."""
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
    # With its own sandbox, its readers can open no other file.
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
    # The script of that name starts it as a grandchild, which would go on if this process is
    # killed.
    binary = Path(program).resolve().with_name("soffice.bin")
    arguments = ["--headless", "--norestore", "--nologo", "--nolockcheck"]
    arguments += ["--convert-to", target, "--outdir", str(out), str(source)]
    command = [str(binary) if binary.exists() else program, *arguments]
    for profile in _profiles(Path(request.folder)):
        # With a new profile it starts, fills the profile, and asks to be started again.
        if _run([*command, f"-env:UserInstallation={profile.as_uri()}"], request) == 0:
            break
    return out / f"document.{target}"


def _profiles(folder: Path) -> Iterator[Path]:
    """Yield a new profile without traces of other documents, then copies of it for later starts.

    Each start needs another folder: the socket is named after the profile's path, and the socket of
    the previous start still exists.
    """
    first, *others = office_traces.profile_folders(folder)
    first.mkdir()
    yield first
    for copy in others:
        _copy_folder(first, copy)
        yield copy


def _copy_folder(source: Path, target: Path) -> None:
    """Copy names and contents; nothing else may be set here. Links stay links."""
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
    """Run the program to its end and return its code. Raises JobError if the code is an error."""
    own_pid = os.getpid()
    view = program_view.of(request.profile)
    is_office = request.profile == profiles.OFFICE
    sockets = [office_traces.SOCKET_FOLDER] if is_office else []

    def become_program() -> None:
        sandbox.die_with_parent(own_pid)
        sandbox.confine(view.readable, request.folder, runnable=view.runnable, sockets=sockets)

    # It inherits the standard streams, which are /dev/null, and no other descriptor.
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
