"""What the kernel knows of processes, and disks that are small for one of them alone."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path


def children_of(pid: int) -> list[int]:
    """Process ids of a process' children, of all its threads."""
    found: list[int] = []
    for listed in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += map(int, listed.read_text().split())
        except OSError:  # it has ended
            continue
    return found


def pid_in_own_namespace(pid: int) -> int | None:
    """A process' id in its own namespace, if that is below this one; None also if it ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    _here, *below = next(line for line in status.splitlines() if line[:6] == "NSpid:").split()[1:]
    return int(below[-1]) if below else None


@dataclass(frozen=True)
class SmallDisk:
    """A folder with room for 64 KiB, to the program alone that a command is put in front of."""

    folder: Path
    command: tuple[str, ...]


class NoDiskError(Exception):
    """This process may not mount one."""


def small_disk(folder: Path) -> SmallDisk:
    """A small disk. Needs root, or the right to be root in a namespace; else raises NoDiskError."""
    folder.mkdir(exist_ok=True)
    unshare = shutil.which("unshare") or "false"
    mount = ("sh", "-c", 'mount -t tmpfs -o size=64k none "$0" && exec "$@"', str(folder))
    for privilege in ((), ("--user", "--map-root-user")):
        command = (unshare, "--mount", *privilege, "--", *mount)
        if subprocess.run([*command, "true"], check=False, capture_output=True).returncode == 0:
            return SmallDisk(folder, command)
    raise NoDiskError("mounting a small disk needs root, or the right to be root in a namespace")
