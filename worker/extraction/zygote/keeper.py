"""A process that watches one child and ends right after it.

It enforces the limits that the kernel does not have. The keeper of a child that may start processes
is between the zygote and the child, and reports how the child ended. If the kernel allows it, this
keeper is the first process of a PID namespace; when it ends, all processes in the namespace end.
Otherwise it adopts processes that lose their parent, and ends them itself. The keeper of a child
that can start none is beside the child, from when the child has worked for a moment.
"""

import os
import resource
import select
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from fcntl import F_DUPFD, fcntl
from pathlib import Path

from docmill.worker.extraction.child import sandbox
from docmill.worker.extraction.shared import protocol
from docmill.worker.extraction.shared.protocol import Request
from docmill.worker.extraction.zygote import descendants, space

#: How often it looks; at programs more often, because only they can fork. A look takes a
#: millisecond.
LOOK_SECONDS, _LOOK_AT_PROGRAM_SECONDS = 0.1, 0.05
_REAPED_AT_ONCE = 64
_HEARD = {signal.SIGCHLD, signal.SIGTERM}
#: Its end of the pipe for the report; of a keeper beside a child, also what tells its end.
_REPORT, _WATCHED = 3, 4
_OUT_OF_THE_WAY = 16


@dataclass(frozen=True)
class Report:
    """How a child ended."""

    status: int  #: as returned by os.wait
    outgrown: bool  #: the keeper ended it, because it had started or written too much
    cpu_seconds: float
    resident_bytes: int


def report_of(status: int, usage: resource.struct_rusage, *, outgrown: bool = False) -> Report:
    """The report on a process that has ended."""
    return Report(status, outgrown, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def ending_signal(*, hidden: bool) -> signal.Signals:
    """The signal that ends a keeper and its descendants, by the kernel or by the keeper itself."""
    return signal.SIGKILL if hidden else signal.SIGTERM


def keep(
    request: Request,
    document: int,
    report: int,
    run_child: Callable[[int], int],
    *,
    zygote_pid: int,
    hidden: bool,
) -> None:
    """Fork the child, wait for its end, end the processes that it leaves, report.

    It reports twice, a line each: the child's pid, as it sees it, and how the child ended.
    `run_child` gets the pid of the child's parent. OSError: the child could not be forked.
    """
    heard_before = signal.pthread_sigmask(signal.SIG_BLOCK, _HEARD) - _HEARD
    sandbox.drop_privileges()
    sandbox.adopt_orphans()
    sandbox.die_with_parent(0 if hidden else zygote_pid, ending_signal(hidden=hidden))
    if is_closed(report):
        return  # the zygote ended before the kernel could be asked to report it
    # A session of its own: the kernel may schedule each session as a group, and a child whose
    # programs fork without end leaves the keeper its share of the CPU, by which it ends them.
    os.setsid()
    own_pid, read = os.getpid(), os.fstat(document)
    child = os.fork()
    if child == 0:
        status = 70
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, heard_before)
            status = run_child(own_pid)
        finally:
            # In every case this copy of the zygote must not go on.
            os._exit(status)
    _keep_only(report)
    os.write(_REPORT, protocol.encode({"child": child}) + b"\n")
    outgrown = _watch(child, request, read)
    _kill_group(child)
    _, status, usage = os.wait4(child, 0)
    if not hidden:
        _end_all()
    ending = report_of(status, usage, outgrown=outgrown)
    os.write(_REPORT, protocol.encode(asdict(ending)) + b"\n")


def keep_beside(
    request: Request,
    child: int,
    watched: int,
    document: os.stat_result,
    report: int,
    *,
    zygote_pid: int,
) -> int:
    """Wait for the end of a child that can start no process; end it if it uses too much.

    `watched` is a descriptor of the child's process. Reports only that it ended the child.
    """
    sandbox.drop_privileges()
    sandbox.die_with_parent(zygote_pid)
    os.setsid()  # as above: a share of the CPU of its own
    _keep_only(report, watched)
    end = select.poll()
    end.register(_WATCHED, select.POLLIN)
    while not _is_too_much(descendants.threads_of(child), request, document):
        if end.poll(1000 * LOOK_SECONDS):
            return 0
    os.write(_REPORT, protocol.encode({"outgrown": True}) + b"\n")
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(_WATCHED, signal.SIGKILL)
    return 0


def is_closed(pipe: int) -> bool:
    """Whether nobody can read from the other end of a pipe."""
    poll = select.poll()
    poll.register(pipe, 0)
    return bool(poll.poll(0))


def _keep_only(*descriptors: int) -> None:
    """Close all others: the worker waits until nobody holds the pipes of other children."""
    # First move them away from the numbers that they get: one may have the number of another.
    moved = [fcntl(descriptor, F_DUPFD, _OUT_OF_THE_WAY) for descriptor in descriptors]
    for number, descriptor in enumerate(moved, start=_REPORT):
        os.dup2(descriptor, number)
    os.closerange(_REPORT + len(moved), os.sysconf("SC_OPEN_MAX"))


def _watch(child: int, request: Request, document: os.stat_result) -> bool:
    """Wait until the child has ended or must be ended. Returns whether it used too much.

    It looks in time however many processes end and are adopted meanwhile.
    """
    # In a PID namespace, os.getpid() returns another number.
    own_number = int(Path("/proc/self").readlink().name)
    period = _LOOK_AT_PROGRAM_SECONDS if request.limits.may_start_program else LOOK_SECONDS
    next_look = time.monotonic() + period
    while not _has_ended(child):
        left = next_look - time.monotonic()
        if left <= 0:
            if _is_too_much(descendants.below(own_number), request, document):
                return True
            next_look = time.monotonic() + period
            continue
        heard = signal.sigtimedwait(_HEARD, left)
        if heard is not None and heard.si_signo == signal.SIGTERM:
            return False
    return False


def _has_ended(child: int) -> bool:
    """Whether the child is a zombie. Also reaps a few adopted zombies."""
    for _ in range(_REAPED_AT_ONCE):
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is None:
            return False
        if ended.si_pid == child:
            return True
        os.waitpid(ended.si_pid, 0)
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _kill_group(child: int) -> None:
    """Kill a child and its group, which no process leaves. A zombie still owns its id."""
    for kill in (os.killpg, os.kill):
        with suppress(ProcessLookupError):
            kill(child, signal.SIGKILL)


def _is_too_much(threads: list[Path] | None, request: Request, document: os.stat_result) -> bool:
    return threads is None or space.is_exceeded(
        request.folder, threads, document, request.limits.file_bytes
    )


def _end_all() -> None:
    """End the processes that the child left, and their descendants, until none is left.

    Listing processes takes time for each process, so one list is used for all of them.
    """
    with suppress(ChildProcessError):
        while True:
            for pid in descendants.own_children():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            os.waitpid(-1, 0)
            while os.waitpid(-1, os.WNOHANG) != (0, 0):
                pass
