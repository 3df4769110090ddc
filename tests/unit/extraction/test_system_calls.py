"""The filter decides each call as the policy says; the numbers are the kernel's."""

import errno
import itertools
import random
import re
import struct
from pathlib import Path

import pytest

from docmill.worker.extraction.child import seccomp, system_calls
from docmill.worker.extraction.child.system_calls import Policy

_HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}
#: Calls with another name in the generic header.
_NAMES = {"newfstatat": "fstatat"}
OWN = 4711
POLICIES = {
    "plain": system_calls.plain_policy(OWN),
    "pandoc": system_calls.program_policy(local_sockets=False, others_hidden=False),
    "office": system_calls.program_policy(local_sockets=True, others_hidden=True),
}


@pytest.mark.parametrize("machine", _HEADERS)
def test_the_numbers_are_those_of_the_kernels_headers(machine: str) -> None:
    if not _HEADERS[machine].exists():
        pytest.skip("no kernel headers")
    found = re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", _HEADERS[machine].read_text())
    real = {name: int(number) for name, number in found}
    column, _ = system_calls.MACHINES[machine]
    ours = {name: numbers[column] for name, numbers in system_calls.NUMBERS.items()}
    newest = max(real.values())
    for name, number in ours.items():
        if number is None or number <= newest:
            assert real.get(name, real.get(_NAMES.get(name, ""))) == number, name


def decision(filtered: list[bytes], architecture: int, number: int, arguments: list[int]) -> int:
    """The kernel's decision, from an interpreter of the instructions that the filter uses."""
    data = struct.pack("=IIQ6Q", number, architecture, 0, *arguments)
    loaded, place = 0, 0
    while True:
        code, if_true, if_false, value = struct.unpack("=HBBI", filtered[place])
        place += 1
        match code:
            case 0x20:
                (loaded,) = struct.unpack_from("=I", data, value)
            case 0x54:
                loaded &= value
            case 0x15 | 0x25 | 0x35:
                holds = {0x15: loaded == value, 0x25: loaded > value, 0x35: loaded >= value}[code]
                place += if_true if holds else if_false
            case 0x06:
                return int(value)
            case _:
                raise AssertionError(hex(code))


def expected(policy: Policy, name: str | None, number: int, arguments: list[int]) -> int:
    if name in policy.allowed:
        return 0x7FFF0000
    for conditions in policy.ruled.get(name or "", ()):
        if all(arguments[c.argument] & 0xFFFFFFFF & c.mask == c.value for c in conditions):
            return 0x7FFF0000
    unknown = errno.ENOSYS if number > system_calls.NEWEST else errno.EPERM
    return 0x00050000 | policy.answers.get(name or "", unknown)


@pytest.mark.parametrize("machine", system_calls.MACHINES)
@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_the_filter_decides_as_the_policy_says(policy: Policy, machine: str) -> None:
    column, architecture = system_calls.MACHINES[machine]
    filtered = seccomp.instructions_of(policy, column, architecture)
    names = {numbers[column]: name for name, numbers in system_calls.NUMBERS.items()}
    values = {c.value for rule in policy.ruled.values() for c in itertools.chain(*rule)}
    choices = [*values, 0, 1, OWN, OWN + 1, OWN + (1 << 32), -1 & (1 << 64) - 1, 0x20000 | 17, 512]
    chance = random.Random(1)
    for number in range(system_calls.NEWEST + 30):
        for _ in range(60):
            arguments = [chance.choice(choices) for _ in range(6)]
            assert decision(filtered, architecture, number, arguments) == expected(
                policy, names.get(number), number, arguments
            ), (names.get(number), number, arguments)


@pytest.mark.parametrize("machine", system_calls.MACHINES)
def test_other_interfaces_of_the_kernel_are_none(machine: str) -> None:
    column, architecture = system_calls.MACHINES[machine]
    filtered = seccomp.instructions_of(POLICIES["plain"], column, architecture)
    i386 = 0x40000003
    assert decision(filtered, i386, 20, [0] * 6) == 0x80000000
    x32 = 0x40000000 | 39
    assert decision(filtered, architecture, x32, [0] * 6) == 0x00050000 | errno.EPERM


def test_no_policy_lets_a_call_about_others_pass_unseen() -> None:
    """Calls that name a process, or change things that Landlock does not govern, are never free."""
    about_others = {
        *("prlimit64", "ioctl", "fcntl", "prctl", "clone", "socket", "open", "openat", "mmap"),
    }
    for policy in POLICIES.values():
        assert not about_others & policy.allowed
        free = policy.allowed | policy.ruled.keys()
        forbidden = {"ptrace", "chmod", "utimensat", "setxattr", "shmget", "memfd_create", "bpf"}
        forbidden |= {"setpriority", "ioprio_set", "sched_setscheduler", "sched_setaffinity"}
        assert not forbidden & free


def test_a_policy_names_only_known_calls() -> None:
    for policy in POLICIES.values():
        named = policy.allowed | policy.ruled.keys() | policy.answers.keys()
        assert named <= system_calls.NUMBERS.keys()
        assert not policy.allowed & policy.ruled.keys()
