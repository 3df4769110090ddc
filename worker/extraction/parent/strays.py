"""Ends processes of a zygote that is gone, after the worker has adopted them.

A keeper ends the processes that a child leaves, and the zygote those that a keeper leaves. Only if
both were killed, and the kernel grants no PID namespace, is something left to do here.
"""

import ctypes
import os
import signal
import threading
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36
#: The kernel may take this long to end killed processes.
_END_SECONDS = 5.0
_PAUSE_SECONDS = 0.01


def adopt_orphans() -> None:
    """Become the parent of descendants that lose their own. Call it once, in the worker.

    The worker must start nothing else that leaves processes behind: nobody would wait for them.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def end_strays(sessions: Collection[int | None]) -> None:
    """Kill this process's children in some sessions, and their descendants, and wait for them.

    `sessions` are the pids of a zygote, of its keepers and of their children: each made a session.
    No child can leave its session, because the call is refused to it. So a process in one of them
    was forked by the zygote. A child whose pid the zygote had no time to tell ends with its
    keeper, by the kernel, and stays as a zombie.
    """
    deadline = time.monotonic() + _END_SECONDS
    while (strays := _own_in(sessions)) and time.monotonic() < deadline:
        for pid in strays:
            with suppress(ProcessLookupError, ChildProcessError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, os.WNOHANG)
        threading.Event().wait(_PAUSE_SECONDS)


def _own_in(sessions: Collection[int | None]) -> list[int]:
    """This process's children in some sessions, with zombies."""
    found = []
    for thread in Path("/proc/self/task").iterdir():
        with suppress(OSError):
            for pid in map(int, (thread / "children").read_text().split()):
                with suppress(ProcessLookupError):
                    if os.getsid(pid) in sessions:
                        found.append(pid)
    return found
