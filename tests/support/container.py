"""Restricts a process as a container would, without a container engine.

As a program, `container.py SPEC COMMAND...` gives up the rights that docker-compose.yml takes away,
then becomes the command. It has a read-only root file system, folders in memory, an ordinary user,
no capability and no way to gain one, and no namespaces, as in Docker's default profile.
"""

import ctypes
import json
import os
import signal
import struct
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from docmill.worker.extraction.child import seccomp

_CLONE_NEWNS: Final = 0x00020000
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_REMOUNT, _MS_BIND = 1, 2, 4, 32, 4096
_MS_REC, _MS_PRIVATE = 16384, 1 << 18
_PR_SET_PDEATHSIG, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 1, 24, 38
_LAST_CAPABILITY: Final = 40
#: Calls that Docker refuses to everybody: unshare, setns, mount, pivot_root, chroot, bpf, keyctl.
_REFUSED: Final = {
    "x86_64": (272, 308, 165, 155, 161, 321, 250),
    "aarch64": (97, 268, 40, 41, 51, 280, 219),
}
_LOAD, _JUMP_IF_EQUAL, _RETURN, _EPERM, _ALLOW = 0x20, 0x15, 0x06, 0x00050001, 0x7FFF0000
_SEARCHABLE: Final = 0o001

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Container:
    """The rights and folders of a process."""

    user: int
    group: int
    tmpfs: Mapping[str, str] = field(default_factory=dict)  #: options by folder
    visible: Sequence[str] = ()  #: readable although a folder above is not
    writable: Sequence[str] = ()  #: volumes
    folder: str = "/"

    def command(self, *command: str) -> list[str]:
        """The command line that runs a command in the container. For root only."""
        spec = json.dumps(asdict(self))
        return [sys.executable, __file__, spec, *command]


def python_folders() -> list[str]:
    """The folders that Python needs: its own, and its environment's."""
    return [sys.base_prefix, sys.prefix]


def _call(name: str, *arguments: object) -> None:
    if getattr(_libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}{arguments}: {os.strerror(number)}")


def _mount(
    source: str | None, target: str, kind: str | None, flags: int, options: str = ""
) -> None:
    _call(
        "mount",
        source.encode() if source else None,
        target.encode(),
        kind.encode() if kind else None,
        ctypes.c_ulong(flags),
        options.encode(),
    )


def _closed_folder(path: Path) -> Path | None:
    """The uppermost folder above a path that only its owner may enter."""
    closed = [folder for folder in path.parents if not folder.stat().st_mode & _SEARCHABLE]
    return closed[-1] if closed else None


def _show(paths: Sequence[str]) -> None:
    """Make paths reachable without changing modes: mount copies of the folders above them."""
    opened = {path: os.open(path, os.O_PATH) for path in dict.fromkeys(paths)}
    closed = {path: _closed_folder(Path(path)) for path in opened}
    for folder in {str(folder) for folder in closed.values() if folder}:
        _mount("tmpfs", folder, "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=755")
    for path, descriptor in opened.items():
        if closed[path]:
            Path(path).mkdir(parents=True, exist_ok=True)
            _mount(f"/proc/self/fd/{descriptor}", path, None, _MS_BIND | _MS_REC)
            _mount(None, path, None, _MS_REMOUNT | _MS_BIND | _MS_RDONLY)
        os.close(descriptor)
    for folder in {str(folder) for folder in closed.values() if folder}:
        _mount(None, folder, None, _MS_REMOUNT | _MS_BIND | _MS_RDONLY)


def _confine_files(container: Container) -> None:
    _call("unshare", _CLONE_NEWNS)
    _mount(None, "/", None, _MS_REC | _MS_PRIVATE)
    for folder in container.tmpfs:
        Path(folder).mkdir(parents=True, exist_ok=True)
    volumes = {path: os.open(path, os.O_PATH) for path in container.writable}
    _show([*container.visible, *container.tmpfs])
    for folder, options in container.tmpfs.items():
        _mount("tmpfs", folder, "tmpfs", _MS_NOSUID | _MS_NODEV, options)
    for path, descriptor in volumes.items():
        _mount(f"/proc/self/fd/{descriptor}", path, None, _MS_BIND)
        os.close(descriptor)
    _mount(None, "/", None, _MS_REMOUNT | _MS_BIND | _MS_RDONLY)


def _drop_privileges(container: Container, parent: int) -> None:
    for capability in range(_LAST_CAPABILITY + 1):
        _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
    os.setgroups([])
    os.setresgid(container.group, container.group, container.group)
    os.setresuid(container.user, container.user, container.user)
    _call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _call("prctl", _PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        raise SystemExit("the parent process is gone")
    filtered = [(_LOAD, 0, 0, 0)]
    for number in _REFUSED[os.uname().machine]:
        filtered += [(_JUMP_IF_EQUAL, 0, 1, number), (_RETURN, 0, 0, _EPERM)]
    filtered.append((_RETURN, 0, 0, _ALLOW))
    assert seccomp.install([struct.pack("=HBBI", *instruction) for instruction in filtered])


def main(spec: str, *command: str) -> None:
    """Restrict this process, then become the command."""
    parent = os.getppid()
    container = Container(**json.loads(spec))
    _confine_files(container)
    _drop_privileges(container, parent)
    os.chdir(container.folder)
    os.execv(command[0], command)


if __name__ == "__main__":
    main(*sys.argv[1:])
