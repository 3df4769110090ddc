"""Start a program as a child that dies with its parent, and on request not as root.

`python -I -m docmill.embedded.launch PARENT_PID SIGNAL USER PROGRAM ARG...`, where USER is `same`
or `nobody`. PostgreSQL refuses to run as root. As `nobody` it runs in a user namespace that maps
root to nobody: it still owns its data folder, and no user, owner or mode on the machine changes.
"""

import contextlib
import ctypes
import os
import signal
import sys
from pathlib import Path

_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000
_CLONE_NEWPID = 0x20000000
_PR_SET_PDEATHSIG = 1
_NOBODY = 65534


def _libc_call(name: str, *arguments: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def leave_root() -> None:
    """Map root to nobody in a new namespace of this process; does nothing for another user.

    Raises OSError if the kernel or a container's seccomp profile forbids user namespaces.
    """
    if os.geteuid() != 0:
        return
    _libc_call("unshare", _CLONE_NEWUSER)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{_NOBODY} 0 1")
    Path("/proc/self/gid_map").write_text(f"{_NOBODY} 0 1")


def can_leave_network() -> bool:
    """Whether a process here may enter its own network namespace. Tried in a child."""
    return _can_unshare(_CLONE_NEWNET)


def can_hide_processes() -> bool:
    """Whether a process here may make PID namespaces. Tried in a child."""
    return _can_unshare(_CLONE_NEWPID)


def _can_unshare(kind: int) -> bool:
    child = os.fork()
    if child == 0:
        for flags in (kind, _CLONE_NEWUSER | kind):
            with contextlib.suppress(OSError):
                _libc_call("unshare", flags)
                os._exit(0)
        os._exit(1)
    return os.waitpid(child, 0)[1] == 0


def die_with_parent(parent_pid: int, death_signal: int) -> None:
    """Ask the kernel for a signal when the parent's thread ends; exit if it has already ended.

    Call it after `leave_root`: a change of credentials cancels the request.
    """
    _libc_call("prctl", _PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
    if os.getppid() != parent_pid:
        raise SystemExit("the parent process is gone")


def main(arguments: list[str]) -> None:
    """Replace this process by the program."""
    parent_pid, signal_name, user, *command = arguments
    if user == "nobody":
        try:
            leave_root()
        except OSError as error:
            raise SystemExit(
                f"cannot leave root ({error}): run docmill as an ordinary user, "
                "or allow user namespaces"
            ) from None
    die_with_parent(int(parent_pid), signal.Signals[signal_name])
    os.execv(command[0], command)  # noqa: S606 -- the command is ours, from start_child


if __name__ == "__main__":
    main(sys.argv[1:])
