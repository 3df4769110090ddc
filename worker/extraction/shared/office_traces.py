"""Where LibreOffice writes while it converts: a child allows it, and the worker cleans up.

The child may not remove a socket itself, and may be gone before it could.
"""

import hashlib
import os
from pathlib import Path

#: LibreOffice always makes a socket here, by which a second LibreOffice would ask the first one to
#: work.
SOCKET_FOLDER = "/tmp"  # noqa: S108 -- LibreOffice allows no other
#: It may ask to be started again, with a profile of another name.
_MAX_STARTS = 3


def profile_folders(folder: Path) -> list[Path]:
    """Its profile folders in a child's folder: one for each start that it may need."""
    return [folder / f"profile{number}" for number in range(_MAX_STARTS)]


def remove(folder: Path) -> None:
    """Remove the sockets that LibreOffice left outside the child's folder."""
    for profile in profile_folders(folder):
        address = profile.as_uri().encode("utf-16-le")
        digest = hashlib.md5(address, usedforsecurity=False).digest()
        name = "SingleOfficeIPC_" + "".join(f"{byte:x}" for byte in digest)
        for owner in ("", f"{os.geteuid()}_"):
            Path(SOCKET_FOLDER, f"OSL_PIPE_{owner}{name}").unlink(missing_ok=True)
