"""Takes rights away from a process before it reads a stranger's file.

There are several layers, each useful without the others. Namespaces: no network, and no sight of
other processes. No privileges of root, and no way to gain any. Hard limits. Landlock: no readable
file except the interpreter's, no program to run, no other process to inspect or signal. The last
one matters because the worker's secrets are in /proc/PID/environ, which any process of the same
user may read. `seccomp` is one more layer.
"""

import ctypes
import errno
import os
import resource
import signal
import stat
import struct
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from docmill.worker.extraction.shared.protocol import Limits

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_CHILD_SUBREAPER = 36
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000
_CLONE_NEWPID = 0x20000000
_CLONE_NEWIPC = 0x08000000
#: The number of `clone`, by machine.
_SYS_CLONE = {"x86_64": 56, "aarch64": 220}
_LINUX_CAPABILITY_VERSION_3 = 0x20080522
_CAP_SYS_ADMIN = 1 << 21

_SYS_LANDLOCK_CREATE_RULESET = 444  # these numbers are the same on every architecture
_SYS_LANDLOCK_ADD_RULE = 445
_SYS_LANDLOCK_RESTRICT_SELF = 446
_LANDLOCK_CREATE_RULESET_VERSION = 1
_LANDLOCK_RULE_PATH_BENEATH = 1
_EXECUTE, _READ_FILE, _READ_DIR, _MAKE_SOCKET = 1, 1 << 2, 1 << 3, 1 << 9
#: Rights that came with each version of Landlock's interface.
_FILE_RIGHTS = {1: (1 << 13) - 1, 2: 1 << 13, 3: 1 << 14, 5: 1 << 15}
_TCP_RIGHTS_SINCE, _TCP_RIGHTS = 4, 0b11
_SCOPES_SINCE, _SCOPES = 6, 0b11

#: For programs: the number of waiting signals, and the amount of memory that may be locked.
_MAX_SIGNALS, _MAX_LOCKED_BYTES = 256, 64 * 1024
#: Weight 335 instead of 1024, in the table of sched(7)'s scheduler.
_NICENESS = 5

_libc = ctypes.CDLL(None, use_errno=True)
#: For calls during which this thread must keep the interpreter's lock.
_libc_locked = ctypes.PyDLL(None, use_errno=True)


def _call(name: str, *arguments: object) -> int:
    result: int = getattr(_libc, name)(*arguments)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return result


def die_with_parent(parent_pid: int, by: signal.Signals = signal.SIGKILL) -> None:
    """Ask the kernel for a signal when the parent's thread ends; exit if it has already ended.

    Call this again after every change of credentials, which removes the request. A parent outside
    the process's PID namespace has the pid 0.
    """
    _call("prctl", _PR_SET_PDEATHSIG, by, 0, 0, 0)
    if os.getppid() != parent_pid:
        raise SystemExit("the parent process is gone")


def adopt_orphans() -> None:
    """Become the parent of descendants that lose theirs, so that none can escape."""
    _call("prctl", _PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def leave_network() -> bool:
    """Enter a network namespace without interfaces. False: the kernel does not allow it."""
    with suppress(OSError):
        _call("unshare", _CLONE_NEWNET)
        return True
    return _enter_user_namespace(_CLONE_NEWNET)


def _enter_user_namespace(others: int = 0) -> bool:
    """Enter a user namespace that keeps this user, and `others`, further namespaces."""
    uid, gid = os.geteuid(), os.getegid()
    with suppress(OSError):
        _call("unshare", _CLONE_NEWUSER | others)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
        return True
    return False


def can_hide_processes() -> bool:
    """Whether the kernel lets this process make PID namespaces, by `fork_hidden`.

    If possible, the privilege for this is first limited to a user namespace.
    """
    if _can_hide(in_user_namespace=True):
        return _enter_user_namespace()
    return _can_hide(in_user_namespace=False)


def _can_hide(*, in_user_namespace: bool) -> bool:
    """Try it in a child, because a process cannot leave a useless namespace again."""
    trying = os.fork()
    if trying == 0:
        status = 1
        try:
            if not in_user_namespace or _enter_user_namespace():
                hidden = fork_hidden()
                status = int(hidden != 0 and os.waitpid(hidden, 0)[1] != 0)
        finally:
            os._exit(status)
    return os.waitpid(trying, 0)[1] == 0


def fork_hidden() -> int:
    """Like os.fork, but the new process is the first of a PID namespace, and has its own IPC.

    It and its descendants see no other process. When it ends, the kernel first ends its
    descendants. Signals that it sends to itself do not end it. Only for processes with one thread:
    libraries do not notice this fork, so no lock may be held, and what they keep for each process,
    such as the state of random numbers, is the parent's. Raises OSError if the kernel does not
    allow it.
    """
    number = _SYS_CLONE.get(os.uname().machine)
    if number is None:
        raise OSError(errno.ENOSYS, "clone: its number is not known")
    nothing = ctypes.c_ulong(0)
    flags = ctypes.c_ulong(_CLONE_NEWPID | _CLONE_NEWIPC | signal.SIGCHLD)
    pid: int = _libc_locked.syscall(number, flags, nothing, nothing, nothing, nothing)
    if pid < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"clone: {os.strerror(number)}")
    return pid


def drop_privileges(*, keep_namespaces: bool = False) -> None:
    """Give up every capability, and all ways to gain one. Root then has no privileges.

    `keep_namespaces` keeps the capability that `fork_hidden` needs.
    """
    header = struct.pack("Ii", _LINUX_CAPABILITY_VERSION_3, 0)
    kept = _CAP_SYS_ADMIN if keep_namespaces else 0
    _call("capset", header, struct.pack("6I", kept, kept, 0, 0, 0, 0))
    _call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def _memory_bytes() -> tuple[int, int]:
    """Address space and resident memory of this process."""
    pages = Path("/proc/self/statm").read_text().split()
    return int(pages[0]) * resource.getpagesize(), int(pages[1]) * resource.getpagesize()


def resident_bytes() -> int:
    """Resident memory of this process."""
    return _memory_bytes()[1]


def limit_resources(limits: Limits) -> None:
    """Set hard limits on this process. They count from the fork, so only for this document."""
    # No fork, no thread. The kernel does not apply this to root; Landlock forbids exec anyway.
    processes = resource.RLIM_INFINITY if limits.may_start_program else 0
    own_space, _ = _memory_bytes()
    for what, limit in (
        (resource.RLIMIT_AS, own_space + limits.memory_bytes),
        (resource.RLIMIT_CPU, limits.cpu_seconds),
        (resource.RLIMIT_FSIZE, limits.file_bytes),
        (resource.RLIMIT_NOFILE, limits.open_files),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, processes),
        # The kernel counts these for the whole user: a child must not use up the worker's share.
        (resource.RLIMIT_SIGPENDING, _MAX_SIGNALS),
        (resource.RLIMIT_MSGQUEUE, 0),
        (resource.RLIMIT_MEMLOCK, _MAX_LOCKED_BYTES),
    ):
        _, hard = resource.getrlimit(what)
        allowed = _lower(limit, hard)
        resource.setrlimit(what, (allowed, allowed))


def give_way() -> None:
    """Run at a lower priority than the process that watches this one.

    A program can start processes faster than they are counted. At a lower priority it cannot block
    the process that counts and ends them.
    """
    os.nice(_NICENESS)


def _lower(limit: int, hard: int) -> int:
    """The lower of two limits; -1 means infinity."""
    finite = [value for value in (limit, hard) if value != resource.RLIM_INFINITY]
    return min(finite, default=resource.RLIM_INFINITY)


def volunteer_for_oom_killer() -> None:
    """If the machine has no memory left, the kernel should end this process, not the worker."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def interpreter_folders() -> list[str]:
    """Folders that a parser may read: interpreter, packages, and the system's libraries.

    The prefixes themselves and the project's folder are not included, because a .env may be there.
    docmill's own modules are imported before the fork.
    """
    packages = [path for path in sys.path if path.rstrip("/").endswith("-packages")]
    prefixes = {sys.prefix, sys.base_prefix, "/usr", "/usr/local", "/"}
    parts = [str(Path(prefix, part)) for prefix in prefixes for part in ("lib", "lib64", "share")]
    standard_library = str(Path(os.__file__).parent)
    return [path for path in {*packages, *parts, standard_library} if os.path.isdir(path)]  # noqa: PTH112 -- Path.is_dir raises where it may not look


def landlock_version() -> int:
    """Version of Landlock's interface; 0 if the kernel has none."""
    with suppress(OSError):
        return _call(
            "syscall",
            _SYS_LANDLOCK_CREATE_RULESET,
            None,
            ctypes.c_size_t(0),
            _LANDLOCK_CREATE_RULESET_VERSION,
        )
    return 0


def others_are_out_of_reach() -> bool:
    """Whether a child of a keeper, and its descendants, can signal only their own processes."""
    return os.getppid() == 1 or landlock_version() >= _SCOPES_SINCE


def confine(
    readable: Iterable[str],
    writable: str,
    *,
    runnable: Iterable[str] = (),
    sockets: Iterable[str] = (),
) -> bool:
    """Let this process read some folders and write one; no TCP, no signals, no exec.

    Exceptions: programs in `runnable` may run, and Unix sockets may be made in `sockets`. A second
    call gives no right back. False: the kernel has no Landlock. Open files stay usable. Call
    `drop_privileges` first.
    """
    version = landlock_version()
    if version == 0:
        return False
    every_right = sum(bits for since, bits in _FILE_RIGHTS.items() if since <= version)
    ruleset = struct.pack(
        "QQQ",
        every_right,
        _TCP_RIGHTS if version >= _TCP_RIGHTS_SINCE else 0,
        _SCOPES if version >= _SCOPES_SINCE else 0,
    )
    rules = _call(
        "syscall", _SYS_LANDLOCK_CREATE_RULESET, ruleset, ctypes.c_size_t(len(ruleset)), 0
    )
    try:
        for path in readable:
            _allow(rules, path, _READ_FILE | _READ_DIR)
        for path in runnable:
            _allow(rules, path, _READ_FILE | _READ_DIR | _EXECUTE)
        for path in sockets:
            _allow(rules, path, _MAKE_SOCKET)
        _allow(rules, writable, every_right & ~_EXECUTE)
        _call("syscall", _SYS_LANDLOCK_RESTRICT_SELF, rules, 0)
    finally:
        os.close(rules)
    return True


def _allow(rules: int, path: str, rights: int) -> None:
    folder = os.open(path, os.O_PATH | os.O_CLOEXEC)
    if not stat.S_ISDIR(os.fstat(folder).st_mode):
        rights &= ~_READ_DIR  # files do not have this right
    try:
        rule = struct.pack("=Qi", rights, folder)
        _call("syscall", _SYS_LANDLOCK_ADD_RULE, rules, _LANDLOCK_RULE_PATH_BENEATH, rule, 0)
    finally:
        os.close(folder)
