"""System calls that hostile code in a child may try, with the numbers of x86_64.

Each attack returns the names of the errors that it met. The effects are checked from outside.
"""

import ctypes
import errno
import mmap
import os
import signal
import struct
import time
from collections.abc import Callable
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)
_HERE = -100  # AT_FDCWD
MIB = 1024 * 1024


def call(number: int, *arguments: object) -> str:
    """Make a system call; return the name of its error, or "done"."""
    ready = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result = _libc.syscall(ctypes.c_long(number), *ready)
    return errno.errorcode[ctypes.get_errno()] if result == -1 else "done"


def limit(pid: str) -> list[str]:
    """Lower a limit of another process: beyond its CPU time the kernel kills it."""
    return [
        call(302, int(pid), what, struct.pack("QQ", value, value), None)
        for what, value in ((0, 1), (7, 3), (1, 1))
    ]


def slow_down(pid: str) -> list[str]:
    number = int(pid)
    mask = (1).to_bytes(8, "little")
    return [
        call(141, 0, number, 19),
        call(141, 1, os.getpgid(0), 19),
        # all processes of this user, with a priority that would not slow them down
        call(141, 2, 0, 0),
        call(144, number, 5, struct.pack("i", 0)),  # SCHED_IDLE
        call(142, number, struct.pack("i", 0)),
        call(314, number, struct.pack("IIQiIQQQ", 48, 5, 0, 0, 0, 0, 0, 0), 0),
        call(203, number, 8, mask),
        call(251, 1, number, (3 << 13)),  # ioprio_set: idle
        call(251, 3, os.getuid(), 0),
        # Itself: only the filter refuses these.
        call(141, 0, 0, 19),
        call(144, 0, 5, struct.pack("i", 0)),
        call(251, 1, 0, (3 << 13)),
        call(256, number, 8, mask, mask),  # migrate_pages
        call(279, number, 0, None, None, None, 0),  # move_pages
    ]


def send_signals(*pids: str) -> list[str]:
    information = struct.pack("iii", signal.SIGKILL, 0, -1) + bytes(128)
    heard = []
    for number in map(int, pids):
        heard += [call(62, target, 9) for target in (number, -number)]
        heard += [
            call(200, number, 9),
            call(234, number, number, 9),
            call(129, number, 9, information),
            call(297, number, number, 9, information),
            call(434, number, 0),  # pidfd_open
            call(424, 4, 9, None, 0),  # pidfd_send_signal
        ]
    # Of the calls that would affect the whole machine, one that does no harm if it succeeds.
    return [*heard, call(62, 0, 18), call(62, -1, 18)]


def send_signals_to_its_keeper() -> list[str]:
    return send_signals(str(os.getppid()))


def send_signals_by_files(pid: str) -> list[str]:
    """Let the kernel send signals when a file of this process is ready."""
    reader = os.open("own", os.O_RDWR | os.O_CREAT)
    number = int(pid)
    return [
        call(72, reader, 8, number),  # F_SETOWN
        call(72, reader, 10, 9),  # F_SETSIG
        call(72, reader, 15, struct.pack("ii", 1, number)),  # F_SETOWN_EX
        call(16, reader, 0x8901, struct.pack("i", number)),  # FIOSETOWN
        call(16, reader, 0x8902, struct.pack("i", number)),  # SIOCSPGRP
        call(16, reader, 0x5452, struct.pack("i", 1)),  # FIOASYNC
        call(222, 0, struct.pack("QiiI", 0, 9, 4, number) + bytes(48), bytes(8)),  # timer_create
    ]


def look_into(pid: str) -> list[str]:
    number = int(pid)
    place = struct.pack("QQ", ctypes.addressof(ctypes.create_string_buffer(8)), 8)
    return [
        call(101, 16, number, 0, 0),  # PTRACE_ATTACH
        call(101, 0x4206, number, 0, 0),  # PTRACE_SEIZE
        call(310, number, place, 1, place, 1, 0),
        call(311, number, place, 1, place, 1, 0),
        call(312, number, number, 0, 0, 0),  # kcmp
        call(438, 3, 0, 0),  # pidfd_getfd
        call(440, 3, place, 1, 21, 0),  # process_madvise
        call(448, 3, 0),  # process_mrelease
        call(274, number, bytes(8), bytes(8)),  # get_robust_list
        *(
            call(257, _HERE, f"/proc/{pid}/{name}".encode(), flags, 0)
            for name, flags in (("mem", 2), ("environ", 0), ("oom_score_adj", 1), ("maps", 0))
        ),
    ]


def change_files(*paths: str) -> list[str]:
    """All ways to change owner, mode, times, attributes, flags, locks and length of a file."""
    os.close(os.open("own", os.O_CREAT | os.O_WRONLY))
    heard = [
        # Its own file: only the filter refuses these.
        call(90, b"own", 0o644),
        call(268, _HERE, b"own", 0o644),
        call(280, _HERE, b"own", None, 0),
        call(2, b"own", os.O_RDONLY | os.O_TRUNC, 0),
        call(257, _HERE, b"own", os.O_RDONLY | os.O_TRUNC, 0),
    ]
    for path in (name.encode() for name in paths):
        opened = _libc.open(path, os.O_RDONLY)
        times = struct.pack("QQQQ", 1, 0, 1, 0)
        attribute = (b"user.docmill", b"x", 1, 0)
        heard += [
            call(90, path, 0o644),
            call(91, opened, 0o644),
            call(268, _HERE, path, 0o644),
            call(452, _HERE, path, 0o644, 0),
            call(92, path, 65534, 65534),
            call(93, opened, 65534, 65534),
            call(94, path, 65534, 65534),
            call(260, _HERE, path, 65534, 65534, 0),
            call(132, path, struct.pack("QQ", 1, 1)),
            call(235, path, times),
            call(261, _HERE, path, times),
            call(280, _HERE, path, times, 0),
            call(280, opened, None, times, 0),
            call(188, path, *attribute),
            call(189, path, *attribute),
            call(190, opened, *attribute),
            call(463, _HERE, path, 0, b"user.docmill", struct.pack("QII", 0, 0, 0), 16),
            call(469, _HERE, path, bytes(24), 24, 0),  # file_setattr
            call(197, path, b"user.kept"),
            call(198, path, b"user.kept"),
            call(199, opened, b"user.kept"),
            call(16, opened, 0x40086602, struct.pack("Q", 0x40)),  # FS_IOC_SETFLAGS: no dump
            call(16, opened, 0x401C5820, bytes(28)),  # FS_IOC_FSSETXATTR
            call(76, path, 0),
            call(2, path, os.O_RDONLY | os.O_TRUNC, 0),
            call(257, _HERE, path, os.O_RDONLY | os.O_TRUNC, 0),
            call(437, _HERE, path, struct.pack("QQQ", os.O_TRUNC, 0, 0), 24),
            call(82, path, b"moved"),
            call(86, path, b"linked"),
            call(87, path),
            call(73, opened, 2 | 4),  # flock
            call(72, opened, 1024, 0),  # F_SETLEASE
            call(72, opened, 6, struct.pack("hhqqi", 0, 0, 0, 0, 0)),  # F_SETLK
            call(72, opened, 37, struct.pack("hhqqi", 0, 0, 0, 0, 0)),  # F_OFD_SETLK
        ]
    return heard


def leave_memory() -> list[str]:
    """Make shared memory, semaphores and queues, which outlive a process."""
    heard = []
    for key in range(6):
        heard += [
            call(29, 0x5EC0 + key, 500 * MIB, 0o1600),
            call(64, 0x5EC0 + key, 100, 0o1600),
            call(68, 0x5EC0 + key, 0o1600),
        ]
    return [*heard, call(240, b"docmill", os.O_CREAT | os.O_RDWR, 0o600, None)]


def reach_the_kernel() -> list[str]:
    """Calls that could break into the kernel, or use up what all processes share."""
    buffer = bytes(256)
    return [
        call(425, 8, buffer),  # io_uring_setup
        call(321, 0, buffer, 72),  # bpf
        call(298, buffer, 0, -1, -1, 0),  # perf_event_open
        call(323, 0),  # userfaultfd
        call(250, 0, -3, 1),  # keyctl
        call(248, b"user", b"docmill", b"x", 1, -3),  # add_key
        call(249, b"user", b"docmill", None, -3),  # request_key
        *(call(272, flag) for flag in _NAMESPACES),  # unshare
        call(308, 3, 0),  # setns
        call(165, b"none", b".", b"tmpfs", 0, None),  # mount
        call(166, b".", 0),
        call(428, _HERE, b".", 1),  # open_tree
        call(429, 3, b"", _HERE, b".", 4),  # move_mount
        call(430, b"tmpfs", 0),  # fsopen
        call(442, _HERE, b".", 0, buffer, 32),  # mount_setattr
        call(155, b".", b"."),
        call(161, b"."),
        call(319, b"x", 0),  # memfd_create
        call(447, 0),  # memfd_secret
        call(253),  # inotify_init
        call(294, 0),
        call(300, 0, 0),  # fanotify_init
        call(303, _HERE, b".", buffer, buffer, 0),  # name_to_handle_at
        call(304, _HERE, buffer, 0),  # open_by_handle_at
        call(206, 64, buffer),  # io_setup
        call(179, 0, None, 0, buffer),  # quotactl
        call(135, 0xFFFFFFFF),  # personality
        call(154, 1, buffer, 16),  # modify_ldt
        call(103, 3, buffer, 1),  # syslog
        call(162),  # sync
        call(306, 3),  # syncfs
        call(324, 1, 0, 0),  # membarrier
        call(317, 1, 8, buffer),  # seccomp with a listener
        call(444, buffer, 8, 0),  # landlock: giving up rights needs no further calls
        call(109, 0, 0),
        call(112),  # setsid
        call(133, b"node", 0o10600, 0),  # mknod
        call(285, 3, 0, 0, MIB),  # fallocate
        call(275, 3, None, 4, None, MIB, 0),  # splice
        call(278, 4, buffer, 1, 0),  # vmsplice
        call(293, buffer, 0),  # pipe2: each user has only few pages for pipes
        call(72, 4, 1031, MIB),  # F_SETPIPE_SZ
        call(9, 0, 2 * MIB, 3, 0x40022, -1, 0),  # mmap with MAP_HUGETLB
        *(call(41, family, 2, 0) for family in (1, 2, 10, 16, 17, 38, 40)),  # socket
        call(53, 1, 1, 0, buffer),
    ]


_NAMESPACES = (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000, 0x80)


def multiply() -> list[str]:
    """Start processes and threads."""
    whole = struct.pack("QQQQQQQQ", 0, 0, 0, 0, signal.SIGCHLD, 0, 0, 0)
    heard = [call(56, flags | signal.SIGCHLD, 0, 0, 0, 0) for flags in (0, 0x8000, *_NAMESPACES)]
    return [*heard, call(57), call(58), call(435, whole, 64), call(59, b"/bin/true", None, None)]


def stay() -> list[str]:
    """Refuse to die with the parent, and hide from observers."""
    return [
        call(157, 1, 0, 0, 0, 0),  # PR_SET_PDEATHSIG
        call(157, 1, 18, 0, 0, 0),
        call(157, 4, 0, 0, 0, 0),  # PR_SET_DUMPABLE
        call(157, 36, 1, 0, 0, 0),  # PR_SET_CHILD_SUBREAPER
        call(157, 0x59616D61, -1, 0, 0, 0),  # PR_SET_PTRACER
        call(157, 35, 8, 0, 0, 0),  # PR_SET_MM
        call(112),
    ]


def write_elsewhere(*folders: str) -> list[str]:
    heard = []
    for folder in folders:
        path = f"{folder}/docmill-attack".encode()
        heard += [
            call(257, _HERE, path, os.O_CREAT | os.O_WRONLY, 0o600),
            call(257, _HERE, folder.encode(), 0o20200000 | os.O_RDWR, 0o600),  # O_TMPFILE
            call(83, path, 0o700),
            call(88, b"/etc/passwd", path),
            call(133, path, 0o10600, 0),
        ]
    return heard


def use_another_interface() -> list[str]:
    """The numbers of x32; then int 0x80, which uses 32-bit numbers."""
    heard = [call(0x40000000 | number) for number in (39, 57, 519)]
    if "done" in heard:
        return heard
    code = bytes.fromhex("b814000000cd80c3")  # mov eax, 20 (getpid); int 0x80; ret
    memory = mmap.mmap(-1, 4096, prot=7)
    memory.write(code)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    ctypes.CFUNCTYPE(ctypes.c_int)(address)()
    return [*heard, "done"]


# -- space: none of these stops by itself


def _fill(descriptor: int, mebibytes: int) -> None:
    block = os.urandom(MIB)
    for _ in range(mebibytes):
        os.write(descriptor, block)


def many_files() -> list[str]:
    for number in range(14):
        opened = os.open(f"file{number}", os.O_CREAT | os.O_WRONLY)
        _fill(opened, 250)
        os.close(opened)
    return ["done"]


def nameless_files() -> list[str]:
    for number in range(14):
        opened = os.open(f"file{number}", os.O_CREAT | os.O_WRONLY)
        Path(f"file{number}").unlink()
        _fill(opened, 250)
    return ["done"]


def files_that_never_had_a_name() -> list[str]:
    for _ in range(14):
        _fill(os.open(".", os.O_TMPFILE | os.O_WRONLY), 250)
    return ["done"]


def mapped_files() -> list[str]:
    """Files that have no name and are not open, but mapped."""
    hoard = []
    for number in range(5):
        opened = os.open(f"file{number}", os.O_CREAT | os.O_RDWR)
        os.ftruncate(opened, 250 * MIB)
        hoard.append(mmap.mmap(opened, 250 * MIB))
        os.close(opened)
        Path(f"file{number}").unlink()
    for mapped in hoard:
        for place in range(0, 250 * MIB, 4096):
            mapped[place] = 1
    time.sleep(1000)
    return ["done"]


def files_of_which_a_page_is_mapped() -> list[str]:
    """By the kernel's own call, because Python's keeps a descriptor open."""
    for number in range(14):
        opened = os.open(f"file{number}", os.O_CREAT | os.O_RDWR)
        _fill(opened, 250)
        call(9, 0, 4096, 1, 2, opened, 0)
        os.close(opened)
        Path(f"file{number}").unlink()
    return ["done"]


def deep_files() -> list[str]:
    """Files so deep that no path can name them."""
    for _ in range(200):
        Path("d" * 200).mkdir()
        os.chdir("d" * 200)
    return many_files()


def closed_files() -> list[str]:
    """Files in folders that their owner may enter but not list."""
    Path("closed").mkdir(0o300)
    os.chdir("closed")
    return many_files()


def countless_files() -> list[str]:
    for number in range(200_000):
        os.close(os.open(f"file{number}", os.O_CREAT | os.O_WRONLY))
    return ["done"]


def leave_a_well() -> list[str]:
    """Folders so deep that a recursive function cannot remove them."""
    for _ in range(3000):
        Path("d").mkdir(0o300)
        os.chdir("d")
    return ["done"]


def wait_for_the_end() -> list[str]:
    heard = stay()
    time.sleep(1000)
    return heard


ATTACKS: dict[str, Callable[..., list[str]]] = {
    attack.__name__: attack
    for attack in (
        *(limit, slow_down, send_signals, send_signals_to_its_keeper, send_signals_by_files),
        *(look_into, change_files),
        *(leave_memory, reach_the_kernel, multiply, stay, write_elsewhere, use_another_interface),
        files_of_which_a_page_is_mapped,
        *(many_files, nameless_files, files_that_never_had_a_name, mapped_files, deep_files),
        *(closed_files, countless_files, leave_a_well, wait_for_the_end),
    )
}
