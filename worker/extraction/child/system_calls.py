"""The system calls that a child may make, and their arguments. All others are refused.

This is a list of allowed calls, not of dangerous ones, because each kernel version adds calls.
Calls that are not allowed include these: calls that name another process or set a priority, even
one's own; shared memory, semaphores and queues, which stay after their maker ends; owner, mode,
times and attributes of files, which Landlock does not govern, so a process that may see a file
could change them. Each call has its numbers on x86_64 and on aarch64; `-` means that the machine
has no such call. tests/unit/extraction/test_system_calls.py compares the numbers with the kernel's
headers.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from errno import ENOSYS, EOPNOTSUPP

#: Column of a machine, by its name in uname, and its name in the kernel's audit.
MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
Numbers = tuple[int | None, int | None]

_TABLE = """
read 0 63, write 1 64, readv 19 65, writev 20 66, pread64 17 67, pwrite64 18 68, preadv 295 69,
pwritev 296 70, preadv2 327 286, pwritev2 328 287, lseek 8 62, sendfile 40 71,
copy_file_range 326 285, fadvise64 221 223, readahead 187 213, ftruncate 77 46, fsync 74 82,
fdatasync 75 83, close 3 57, close_range 436 436, dup 32 23, dup2 33 -, dup3 292 24,

creat 85 -, rename 82 -, renameat 264 38, renameat2 316 276, mkdir 83 -, mkdirat 258 34,
rmdir 84 -, link 86 -, linkat 265 37, unlink 87 -, unlinkat 263 35, symlink 88 -, symlinkat 266 36,
umask 95 166,

stat 4 -, fstat 5 80, lstat 6 -, newfstatat 262 79, statx 332 291, access 21 -, faccessat 269 48,
faccessat2 439 439, readlink 89 -, readlinkat 267 78, getdents 78 -, getdents64 217 61,
getcwd 79 17, chdir 80 49, fchdir 81 50, statfs 137 43, fstatfs 138 44, getxattr 191 8,
lgetxattr 192 9, fgetxattr 193 10, listxattr 194 11, llistxattr 195 12, flistxattr 196 13,

mprotect 10 226, munmap 11 215, mremap 25 216, brk 12 214, madvise 28 233, msync 26 227,

exit 60 93, exit_group 231 94, getpid 39 172, getppid 110 173, gettid 186 178, getuid 102 174,
geteuid 107 175, getgid 104 176, getegid 108 177, getresuid 118 148, getresgid 120 150,
getgroups 115 158, getpgrp 111 -, capget 125 90, arch_prctl 158 -, set_tid_address 218 96,
set_robust_list 273 99, rseq 334 293, uname 63 160, sysinfo 99 179, getrlimit 97 163,
getrusage 98 165, times 100 153, getcpu 309 168, getrandom 318 278, wait4 61 260, waitid 247 95,

time 201 -, gettimeofday 96 169, clock_gettime 228 113, clock_getres 229 114, nanosleep 35 101,
clock_nanosleep 230 115, sched_yield 24 124, sched_get_priority_max 146 125,
sched_get_priority_min 147 126, alarm 37 -, setitimer 38 103, getitimer 36 102,

rt_sigaction 13 134, rt_sigprocmask 14 135, rt_sigreturn 15 139, rt_sigpending 127 136,
rt_sigsuspend 130 133, rt_sigtimedwait 128 137, sigaltstack 131 132, pause 34 -,
restart_syscall 219 128,

futex 202 98, futex_waitv 449 449, poll 7 -, ppoll 271 73, select 23 -, pselect6 270 72,
"""

#: Additional calls of a program that reads a document.
_PROGRAM_TABLE = """
fork 57 -, vfork 58 -, execve 59 221, pipe 22 -, pipe2 293 59, epoll_create 213 -,
epoll_create1 291 20, epoll_ctl 233 21, epoll_wait 232 -, epoll_pwait 281 22, epoll_pwait2 441 441,
eventfd 284 -, eventfd2 290 19, signalfd 282 -, signalfd4 289 74, timerfd_create 283 85,
timerfd_settime 286 86, timerfd_gettime 287 87, flock 73 32,
membarrier 324 283, mincore 27 232, mlock 149 228, munlock 150 229,
landlock_create_ruleset 444 444, landlock_add_rule 445 445, landlock_restrict_self 446 446,
"""

#: LibreOffice talks to itself through its own socket. It cannot connect to other sockets.
_LOCAL_SOCKETS_TABLE = """
bind 49 200, listen 50 201, accept 43 202, accept4 288 242, getsockname 51 204, getpeername 52 205,
setsockopt 54 208, getsockopt 55 209, shutdown 48 210, recvfrom 45 207, recvmsg 47 212,
"""

_SIGNALS_TABLE = """
kill 62 129, tgkill 234 131, tkill 200 130, rt_sigqueueinfo 129 138, rt_tgsigqueueinfo 297 240,
"""

#: Calls that depend on their arguments: see `plain_rules` and `program_rules`.
_RULED_TABLE = """
open 2 -, openat 257 56, mmap 9 222, ioctl 16 29, fcntl 72 25, prctl 157 167, prlimit64 302 261,
sched_getaffinity 204 123, sched_getscheduler 145 120, sched_getparam 143 121,
sched_getattr 315 275, getpgid 121 155, getsid 124 156, clone 56 220, socket 41 198,
socketpair 53 199,
"""

#: Their arguments are in memory, which a filter cannot see. Libraries then use the older calls.
_UNKNOWN_TABLE = "clone3 435 435, openat2 437 437,"
_FALLOCATE_TABLE = "fallocate 285 47,"
#: The newest call that this list knows. Libraries try newer calls. They use older ones if the error
#: says that the call does not exist; any other error they take as the call's result.
NEWEST = 469


def numbers_of(table: str) -> dict[str, Numbers]:
    """Calls of a table, by name."""
    rows = [entry.split() for entry in table.split(",") if entry.strip()]
    return {name: (_number(first), _number(second)) for name, first, second in rows}


def _number(text: str) -> int | None:
    return None if text == "-" else int(text)


#: Every call that is named here.
NUMBERS = numbers_of(
    _TABLE + _PROGRAM_TABLE + _LOCAL_SOCKETS_TABLE + _SIGNALS_TABLE + _RULED_TABLE
    + _UNKNOWN_TABLE + _FALLOCATE_TABLE
)  # fmt: skip


@dataclass(frozen=True)
class Condition:
    """A condition on the low half of an argument. The kernel reads no more of these arguments."""

    argument: int
    value: int
    mask: int = 0xFFFFFFFF


#: A call is allowed when all conditions of one of these hold.
Alternatives = tuple[tuple[Condition, ...], ...]


@dataclass(frozen=True)
class Policy:
    """The calls that a process may make."""

    allowed: frozenset[str]
    ruled: Mapping[str, Alternatives]
    #: The error that a call returns, if it is not EPERM.
    answers: Mapping[str, int]


_AF_UNIX = 1
_SIGKILL = 9
_O_ACCMODE, _O_TRUNC = 3, 0o1000
_MAP_HUGETLB = 0x40000
#: Commands about the behaviour of a descriptor, not about its file: no flags of the file (chattr),
#: and no setting of the process that gets a signal when it is ready.
_IOCTL_COMMANDS = (
    0x5401,  # TCGETS: is it a terminal?
    0x5413,  # TIOCGWINSZ
    0x541B,  # FIONREAD
    0x5421,  # FIONBIO
    0x5450,  # FIONCLEX
    0x5451,  # FIOCLEX
)
_FCNTL_COMMANDS = (0, 1, 2, 3, 4, 1030, 1032)  # duplicating, flags, the size of a pipe
_FCNTL_LOCKS = (5, 6, 7, 36, 37, 38)
_PRCTL_OPTIONS = (
    2,  # PR_GET_PDEATHSIG
    3,  # PR_GET_DUMPABLE
    15,  # PR_SET_NAME
    16,  # PR_GET_NAME
    23,  # PR_CAPBSET_READ
    38,  # PR_SET_NO_NEW_PRIVS
    39,  # PR_GET_NO_NEW_PRIVS
    0x53564D41,  # PR_SET_VMA: names for memory
)
_PR_SET_PDEATHSIG, _PR_SET_SECCOMP = 1, 22
#: The flags of all namespaces, CLONE_PARENT, CLONE_PTRACE and CLONE_UNTRACED.
_NO_PLAIN_CLONE = 0x7E020000 | 0x8000 | 0x2000 | 0x800000
#: Calls that only read, with the position of the argument that names a process.
_ASKING = {
    "sched_getaffinity": 0, "sched_getscheduler": 0, "sched_getparam": 0, "sched_getattr": 0,
    "getpgid": 0, "getsid": 0,
}  # fmt: skip


def plain_policy(own_pid: int) -> Policy:
    """The policy for reading a document: the process may name only itself."""
    return Policy(frozenset(numbers_of(_TABLE)), _plain_rules(own_pid), _ANSWERS)


def program_policy(*, local_sockets: bool, others_hidden: bool) -> Policy:
    """The policy for starting a program and for the program: its processes have their own pids.

    Unless other processes are hidden from it, it can signal only its own group.
    """
    allowed = numbers_of(_TABLE) | numbers_of(_PROGRAM_TABLE)
    if local_sockets:
        allowed |= numbers_of(_LOCAL_SOCKETS_TABLE)
    if others_hidden:
        allowed |= numbers_of(_SIGNALS_TABLE)
    rules = _program_rules(local_sockets=local_sockets)
    ruled = {name: rule for name, rule in rules.items() if name not in allowed}
    return Policy(frozenset(allowed), ruled, _ANSWERS)


_ANSWERS = {
    **dict.fromkeys(numbers_of(_UNKNOWN_TABLE), ENOSYS),
    # fallocate could take much space before anybody looks; without it the C library writes.
    "fallocate": EOPNOTSUPP,
}


def _one_of(argument: int, values: Iterable[int]) -> Alternatives:
    return tuple((Condition(argument, value),) for value in values)


def _opening(argument: int) -> Alternatives:
    """Do not let a file be emptied while it is opened to read: old Landlock versions allow that."""
    return (
        (Condition(argument, 0, _O_TRUNC),),
        (Condition(argument, 1, _O_ACCMODE),),
        (Condition(argument, 2, _O_ACCMODE),),
    )


def _common_rules(pids: Iterable[int]) -> dict[str, Alternatives]:
    return {
        "open": _opening(1),
        "openat": _opening(2),
        # The whole machine shares one pool of large pages.
        "mmap": ((Condition(3, 0, _MAP_HUGETLB),),),
        "ioctl": _one_of(1, _IOCTL_COMMANDS),
        "prlimit64": _one_of(0, pids),
        **{name: _one_of(argument, pids) for name, argument in _ASKING.items()},
    }


def _plain_rules(own_pid: int) -> dict[str, Alternatives]:
    return {
        **_common_rules((0, own_pid)),
        "fcntl": _one_of(1, _FCNTL_COMMANDS),
        "prctl": _one_of(0, _PRCTL_OPTIONS),
        "kill": _one_of(0, (own_pid,)),
        "tgkill": _one_of(0, (own_pid,)),
    }


def _program_rules(*, local_sockets: bool) -> dict[str, Alternatives]:
    deadly = (Condition(0, _PR_SET_PDEATHSIG), Condition(1, _SIGKILL))
    rules = {
        **_common_rules((0,)),
        "fcntl": _one_of(1, (*_FCNTL_COMMANDS, *_FCNTL_LOCKS)),
        "prctl": (*_one_of(0, (*_PRCTL_OPTIONS, _PR_SET_SECCOMP)), deadly),
        "clone": ((Condition(0, 0, _NO_PLAIN_CLONE),),),
        "kill": _one_of(0, (0,)),
    }
    if local_sockets:
        rules |= {name: _one_of(0, (_AF_UNIX,)) for name in ("socket", "socketpair")}
    return rules
