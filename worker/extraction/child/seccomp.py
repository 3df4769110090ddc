"""A filter in the kernel: from now on a process can make only the system calls of its policy.

RLIMIT_NPROC does not bind root, a network namespace is not possible everywhere, and Landlock
governs neither signals to other processes nor the modes of files. This filter works in all these
cases.
"""

import ctypes
import errno
import os
import struct
import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

from docmill.worker.extraction.child import system_calls
from docmill.worker.extraction.child.system_calls import Alternatives, Policy

_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2
_KILL_PROCESS, _ANSWER, _ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
_LOAD, _AND, _RETURN = 0x20, 0x54, 0x06
_JUMP_IF_EQUAL, _JUMP_IF_ABOVE, _JUMP_IF_AT_LEAST = 0x15, 0x25, 0x35
_NUMBER_OFFSET, _ARCHITECTURE_OFFSET, _FIRST_ARGUMENT_OFFSET = 0, 4, 16
#: On x86_64, numbers from here on are calls of the x32 variant.
_X32 = 0x40000000


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


_libc = ctypes.CDLL(None, use_errno=True)


def is_available() -> bool:
    """Whether this machine's calls are known here and its kernel supports filters."""
    if _machine() is None:
        return False
    # Without a filter program the kernel returns one error; without support for filters it returns
    # another.
    _libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, None, ctypes.c_ulong(0), 0)
    return ctypes.get_errno() == errno.EFAULT


def refuse_system_calls(
    *, program: bool = False, local_sockets: bool = False, others_hidden: bool = False
) -> bool:
    """Let the kernel refuse all calls that a reader does not need. Needs no_new_privs first.

    `program`: this process starts a program, which inherits the filter; a second call may then
    refuse more. `local_sockets` allows Unix sockets of its own, which cannot send or connect to
    others. `others_hidden` says that it can see only its own processes. False: the numbers of this
    machine are unknown, or the kernel has no filters.
    """
    machine = _machine()
    if machine is None:
        return False
    if program:
        policy = system_calls.program_policy(
            local_sockets=local_sockets, others_hidden=others_hidden
        )
        return install(instructions_of(policy, *machine))
    return install(plain_instructions(os.getpid(), *machine))


@lru_cache(1)
def plain_instructions(own_pid: int, column: int, architecture: int) -> Sequence[bytes]:
    """The filter for reading a document; for the last pid that was asked for, at once."""
    return instructions_of(system_calls.plain_policy(own_pid), column, architecture)


def prepare_hidden() -> None:
    """Make the filter of a process that is the first of its PID namespace, for later forks."""
    machine = _machine()
    if machine is not None:
        plain_instructions(1, *machine)


def install(instructions: Sequence[bytes]) -> bool:
    """Install a filter for this process. False: the kernel accepts none."""
    program = _Program(len(instructions), b"".join(instructions))
    result: int = _libc.prctl(
        _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), ctypes.c_ulong(0), 0
    )
    return result == 0


def _machine() -> tuple[int, int] | None:
    """Column in the table, and architecture."""
    return system_calls.MACHINES.get(os.uname().machine) if sys.maxsize > 2**32 else None


def instructions_of(policy: Policy, column: int, architecture: int) -> list[bytes]:
    """The filter of a policy."""

    def number(name: str) -> int | None:
        return system_calls.NUMBERS[name][column]

    return [
        _instruction(_LOAD, _ARCHITECTURE_OFFSET),
        _instruction(_JUMP_IF_EQUAL, architecture, if_true=1),
        _instruction(_RETURN, _KILL_PROCESS),
        _instruction(_LOAD, _NUMBER_OFFSET),
        *_decided(_JUMP_IF_AT_LEAST, _X32, _ANSWER | errno.EPERM),
        *_ranges(sorted(n for name in policy.allowed if (n := number(name)) is not None)),
        *(
            instruction
            for name, alternatives in policy.ruled.items()
            if (n := number(name)) is not None
            for instruction in _ruled(n, alternatives)
        ),
        *(
            instruction
            for name, error in policy.answers.items()
            if (n := number(name)) is not None
            for instruction in _decided(_JUMP_IF_EQUAL, n, _ANSWER | error)
        ),
        *_decided(_JUMP_IF_ABOVE, system_calls.NEWEST, _ANSWER | errno.ENOSYS),
        _instruction(_RETURN, _ANSWER | errno.EPERM),
    ]


def _ranges(numbers: Iterable[int]) -> Iterator[bytes]:
    """Allow these calls. One test for successive numbers keeps the filter short.

    At installation the kernel runs the filter for every call.
    """
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    for first, last in ranges:
        if first == last:
            yield from _decided(_JUMP_IF_EQUAL, first, _ALLOW)
        else:
            yield _instruction(_JUMP_IF_AT_LEAST, first, if_false=2)
            yield _instruction(_JUMP_IF_ABOVE, last, if_true=1)
            yield _instruction(_RETURN, _ALLOW)


def _decided(test: int, value: int, decision: int) -> Iterator[bytes]:
    yield _instruction(test, value, if_false=1)
    yield _instruction(_RETURN, decision)


def _ruled(number: int, alternatives: Alternatives) -> Iterator[bytes]:
    """Decide on a call by its arguments. For other calls the number remains loaded."""
    tests = [
        instruction
        for conditions in alternatives
        for instruction in _all_of([test for c in conditions for test in _condition(c)])
    ]
    tests.append(_instruction(_RETURN, _ANSWER | errno.EPERM))
    yield _instruction(_JUMP_IF_EQUAL, number, if_false=len(tests))
    yield from tests


def _condition(condition: system_calls.Condition) -> list[tuple[int, int]]:
    # Both machines store the low half first.
    load = (_LOAD, _FIRST_ARGUMENT_OFFSET + 8 * condition.argument)
    masked = [(_AND, condition.mask)] if condition.mask != 0xFFFFFFFF else []
    return [load, *masked, (_JUMP_IF_EQUAL, condition.value)]


def _all_of(tests: list[tuple[int, int]]) -> Iterator[bytes]:
    """Allow if all conditions hold. The first that fails jumps to the next alternative."""
    for position, (code, value) in enumerate(tests):
        is_test = code == _JUMP_IF_EQUAL
        yield _instruction(code, value, if_false=len(tests) - position if is_test else 0)
    yield _instruction(_RETURN, _ALLOW)


def _instruction(code: int, value: int, *, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)
