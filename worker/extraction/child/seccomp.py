"""System calls that no parser has a use for, refused by the kernel.

RLIMIT_NPROC does not bind root, a network namespace is not to be had everywhere: where either is
missing, this is what keeps a child from starting processes and from opening sockets.
"""

import ctypes
import os
import struct
import sys
from collections.abc import Collection, Sequence

_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2
_KILL_PROCESS, _REFUSE, _ALLOW = 0x80000000, 0x00050001, 0x7FFF0000  # refuse is EPERM
_LOAD, _JUMP_IF_EQUAL, _JUMP_IF_AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_NUMBER_OFFSET, _ARCHITECTURE_OFFSET, _FIRST_ARGUMENT_OFFSET = 0, 4, 16
_AF_UNIX = 1
#: From here on x86_64 numbers the calls of its x32 variant.
_X32 = 0x40000000

#: What uname calls a machine: its name in the kernel's audit, its column in the table.
_MACHINES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
_REFUSED: dict[str, tuple[int, int | None]] = {
    "clone": (56, 220),
    "clone3": (435, 435),
    "fork": (57, None),
    "vfork": (58, None),
    "execve": (59, 221),
    "execveat": (322, 281),
    # Whoever stays in the group that it was born in is reached by one signal to the group.
    "setpgid": (109, 154),
    "setsid": (112, 157),
    "socket": (41, 198),
    "socketpair": (53, 199),
    "connect": (42, 203),
    "sendto": (44, 206),
    "sendmsg": (46, 211),
    "sendmmsg": (307, 269),
    "io_uring_setup": (425, 425),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
    "perf_event_open": (298, 241),
    "keyctl": (250, 219),
}


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def refuse_system_calls(*, allowed: Collection[str] = (), local_sockets: bool = False) -> bool:
    """Have the kernel refuse them, for this process and for good. Needs no_new_privs first.

    All but those `allowed`; a second call may refuse these too. `local_sockets` lets a program have
    Unix sockets of its own, from which nothing can be sent or connected to.
    False on a machine whose numbers are not known here, and where the kernel has no filters.
    """
    machine = _MACHINES.get(os.uname().machine)
    if machine is None or sys.maxsize < 2**32:
        return False
    architecture, column = machine
    refused = [numbers[column] for name, numbers in _REFUSED.items() if name not in allowed]
    instructions = _instructions(
        architecture,
        [number for number in refused if number is not None],
        local_sockets=_REFUSED["socket"][column] if local_sockets else None,
    )
    program = _Program(len(instructions), b"".join(instructions))
    libc = ctypes.CDLL(None, use_errno=True)
    result: int = libc.prctl(
        _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), ctypes.c_ulong(0), 0
    )
    return result == 0


def _instructions(
    architecture: int, refused: Sequence[int], *, local_sockets: int | None
) -> list[bytes]:
    tests = [(_JUMP_IF_AT_LEAST, _X32), *((_JUMP_IF_EQUAL, number) for number in refused)]
    return [
        _instruction(_LOAD, _ARCHITECTURE_OFFSET),
        _instruction(_JUMP_IF_EQUAL, architecture, if_true=1),
        _instruction(_RETURN, _KILL_PROCESS),
        _instruction(_LOAD, _NUMBER_OFFSET),
        *([] if local_sockets is None else _only_local(local_sockets)),
        # Each test that holds jumps over those after it, and over the allowing end.
        *(
            _instruction(code, value, if_true=len(tests) - position)
            for position, (code, value) in enumerate(tests)
        ),
        _instruction(_RETURN, _ALLOW),
        _instruction(_RETURN, _REFUSE),
    ]


def _only_local(socket: int) -> list[bytes]:
    """Decide on a call of socket by its family; for others the number stays loaded."""
    return [
        _instruction(_JUMP_IF_EQUAL, socket, if_false=4),
        _instruction(_LOAD, _FIRST_ARGUMENT_OFFSET),
        _instruction(_JUMP_IF_EQUAL, _AF_UNIX, if_false=1),
        _instruction(_RETURN, _ALLOW),
        _instruction(_RETURN, _REFUSE),
    ]


def _instruction(code: int, value: int, *, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)
