"""The files that a program which reads a document may see: its own, and those that it loads."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from docmill.worker.extraction.shared import profiles

_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64")
#: The loader, which starts every program that has libraries.
_LOADERS = (
    ("/lib", "ld-*"),
    ("/lib64", "ld-*"),
    ("/usr/lib", "ld-*"),
    ("/usr/lib", "*/ld-*"),
)
_DATA = (
    *("/etc/fonts", "/usr/share/fonts", "/usr/share/fontconfig", "/usr/local/share/fonts"),
    *("/var/cache/fontconfig", "/usr/share/locale", "/usr/share/zoneinfo", "/usr/share/icu"),
    *("/usr/share/mime", "/usr/share/liblangtag", "/usr/share/hunspell", "/usr/share/hyphen"),
    *("/etc/ld.so.cache", "/dev/null", "/dev/urandom"),
)
#: Where the system's packages put data of the program.
_OWN_DATA = {
    profiles.PANDOC: ("/usr/share/pandoc",),
    profiles.OFFICE: ("/etc/libreoffice", "/usr/share/libreoffice", "/var/spool/libreoffice"),
}
#: Programs that a script may start. A script starts LibreOffice.
_TOOLS = ("/bin", "/usr/bin")
#: The folder of LibreOffice in which its programs are.
_OFFICE_PROGRAMS = "program"


@dataclass(frozen=True)
class View:
    """Files and folders that a program may read, and those that it may also run."""

    readable: list[str]
    runnable: list[str]


def of(profile: str) -> View:
    """The files that the program of a profile needs; without its own if it is not installed."""
    program = profiles.program_of(profile)
    own = _installation(Path(program).resolve()) if program else []
    loaders = chain.from_iterable(Path(folder).glob(name) for folder, name in _LOADERS)
    return View(
        _existing((*_LIBRARIES, *_DATA, *_OWN_DATA.get(profile, ()))),
        _existing((*own, *map(str, loaders))),
    )


def _installation(program: Path) -> list[str]:
    """The program, the rest of LibreOffice with it, and a shell with its tools for a script."""
    if (program.parent / "soffice.bin").exists() and program.parent.name == _OFFICE_PROGRAMS:
        return [str(program.parent.parent)]
    return [str(program), *(_TOOLS if _is_script(program) else ())]


def _is_script(program: Path) -> bool:
    try:
        with program.open("rb") as file:
            return file.read(2) == b"#!"
    except OSError:
        return False


def _existing(paths: Iterable[str]) -> list[str]:
    return [path for path in paths if os.path.exists(path)]  # noqa: PTH110 -- Path.exists raises where it may not look
