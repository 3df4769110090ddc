"""Where LibreOffice writes while it converts: a child lets it, and the worker tidies up behind it.

The child is not allowed to remove a socket itself, and may be gone before it could.
"""

import hashlib
import os
from pathlib import Path

#: LibreOffice insists on a socket that a second one would ask to do its work, and on its place.
SOCKET_FOLDER = "/tmp"  # noqa: S108 -- LibreOffice knows no other
#: It may ask to be started again, with a profile of another name.
_MAX_STARTS = 3


def profile_folders(folder: Path) -> list[Path]:
    """Where its profiles lie in a child's folder: one for each start that it may need."""
    return [folder / f"profile{number}" for number in range(_MAX_STARTS)]


def remove(folder: Path) -> None:
    """Remove what it left outside the child's folder: its sockets, named after its profiles."""
    for profile in profile_folders(folder):
        address = profile.as_uri().encode("utf-16-le")
        digest = hashlib.md5(address, usedforsecurity=False).digest()
        name = "SingleOfficeIPC_" + "".join(f"{byte:x}" for byte in digest)
        for owner in ("", f"{os.geteuid()}_"):
            Path(SOCKET_FOLDER, f"OSL_PIPE_{owner}{name}").unlink(missing_ok=True)
