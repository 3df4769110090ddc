"""The prepared process from which children are forked.

It imports the parsers once, reads no file of a stranger, and forks one child for each request. It
has one thread and never waits for a child, so no document can delay another. It dies with the
worker's thread that started it, and its children die with it.
"""

import gc
import json
import math
import os
import select
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from docmill.worker.extraction.child import sandbox, seccomp
from docmill.worker.extraction.shared import profiles, protocol
from docmill.worker.extraction.shared.protocol import Request
from docmill.worker.extraction.zygote import demotion, descendants, keeper, pages, unneeded
from docmill.worker.extraction.zygote.children import Alone, Running, due
from docmill.worker.models import JsonObject

#: So many new objects in a child are some megabytes.
_GARBAGE_OBJECTS = 20_000


class Zygote:
    """Forks, kills and reaps keepers and children.

    A pid in its table is not reaped, so no other process has it. A fork costs as much as reading a
    page, and most children end within a moment. So a child that can start no process has no keeper
    above it; if it goes on for longer, it gets one beside it.

    `hidden`: each keeper, and each child without one, gets a PID namespace of its own. `alone`: a
    child can be kept from starting processes, and be watched from beside.
    """

    def __init__(
        self,
        control: socket.socket,
        run_child: Callable[..., int],
        *,
        hidden: bool,
        alone: bool,
    ) -> None:
        self._control = control
        self._run_child = run_child
        self._hidden = hidden
        self._alone = alone
        self._children: dict[int, Running] = {}  #: by the pid of the keeper above, or its own
        self._starting: dict[int, Running] = {}  #: keepers with no child yet, by the pipe
        self._beside: dict[int, int] = {}  #: the child, by the pid of the keeper beside it
        self._poll = select.poll()
        self._demotion = demotion.Demotion(self._readers)
        self._readable = sandbox.interpreter_folders()
        self._pid = os.getpid()

    def serve(self) -> None:
        """Serve until the worker closes its end; then end every child."""
        wakeup = _wake_up_on_sigchld()
        self._poll.register(self._control, select.POLLIN)
        self._poll.register(wakeup, select.POLLIN)
        connected = True
        while connected:
            for descriptor, _ in self._poll.poll(self._patience()):
                if descriptor == wakeup:
                    os.read(wakeup, 4096)
                elif descriptor in self._starting:
                    self._hear_start(descriptor)
                else:
                    connected = self._receive()
            self._reap()
            self._keep_beside()
            self._demotion.look(self._children)
        self._demotion.end()
        for pid in self._children:
            self._end(pid)

    def _receive(self) -> bool:
        data, descriptors, _, _ = socket.recv_fds(self._control, protocol.CONTROL_BYTES, 2)
        if not data:
            return False
        message = _decoded(data)
        if "request" in message:
            self._fork(protocol.decode_request(message["request"]), descriptors)
        elif "kill" in message:
            self._kill(message["kill"])
        return True

    def _patience(self) -> int | None:
        """Milliseconds until it must look again; None: when something happens."""
        keeper_due = due(self._children.values())
        waits = [
            self._demotion.patience(self._children),
            None if keeper_due is None else math.ceil(1000 * keeper_due),
        ]
        return min((wait for wait in waits if wait is not None), default=None)

    def _fork(self, request: Request, descriptors: list[int]) -> None:
        reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        alone = self._alone and request.profile == profiles.PLAIN
        try:
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
            pid = sandbox.fork_hidden() if self._hidden else os.fork()
        except OSError as error:
            # No memory or too many processes: this document is tried again later; the zygote goes
            # on.
            os.close(reader)
            os.close(writer)
            self._send({"refused": request.id, "errno": error.errno})
        else:
            if pid == 0:
                os.close(reader)
                live = self._live_alone if alone else self._live_as_keeper
                _become(partial(live, request, descriptors, writer), writer)
            self._children[pid] = child = Running(request, reader)
            if alone:
                child.alone = Alone(
                    writer, os.fstat(descriptors[0]), time.monotonic() + keeper.LOOK_SECONDS
                )
            else:
                os.close(writer)
                self._starting[reader] = child
                self._poll.register(reader, select.POLLIN)
            self._send({"started": request.id, "pid": pid})
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
            for descriptor in descriptors:
                os.close(descriptor)

    def _hear_start(self, pipe: int) -> None:
        """Tell the worker the pid of a keeper's child.

        In a PID namespace the keeper sees another number; there the kernel ends the child.
        """
        kept = self._starting.pop(pipe)
        self._poll.unregister(pipe)
        kept.hear()
        for report in kept.reports():
            if "child" in report and not self._hidden:
                self._send({"child": kept.request.id, "pid": report["child"]})

    def _live_as_keeper(self, request: Request, descriptors: list[int], report: int) -> int:
        document, result = descriptors

        def run(parent_pid: int) -> int:
            return self._run_child(
                request, document, result, parent_pid=parent_pid, readable=self._readable
            )

        keeper.keep(request, document, report, run, zygote_pid=self._pid, hidden=self._hidden)
        return 0

    def _live_alone(self, request: Request, descriptors: list[int], report: int) -> int:
        parent_pid = 0 if self._hidden else self._pid
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        sandbox.drop_privileges()
        sandbox.die_with_parent(parent_pid)
        if keeper.is_closed(report):
            return 1  # the zygote ended before the kernel could be asked to report it
        return self._run_child(
            request, *descriptors, parent_pid=parent_pid, readable=self._readable, alone=True
        )

    def _keep_beside(self) -> None:
        """Fork a keeper for each child that has worked alone for long enough.

        On a busy machine a short document takes long too, but writes no more for that.
        """
        for pid, child in self._children.items():
            alone = child.alone
            if alone is None or alone.keeper is not None or alone.due > time.monotonic():
                continue
            if demotion.cpu_seconds(pid) < keeper.LOOK_SECONDS:
                alone.due = time.monotonic() + keeper.LOOK_SECONDS
                continue
            try:
                alone.keeper = self._fork_beside(pid, child, alone)
            except OSError as error:
                # A child that nobody watches must not go on. Its document is tried again later.
                os.write(alone.report, protocol.encode({"errno": error.errno}) + b"\n")
                alone.due += keeper.LOOK_SECONDS
                self._end(pid)
            else:
                self._beside[alone.keeper] = pid

    def _fork_beside(self, child: int, running: Running, alone: Alone) -> int:
        watched = os.pidfd_open(child)
        try:
            pid = os.fork()
            if pid == 0:
                watch = partial(keeper.keep_beside, running.request, child, watched, alone.document)
                _become(partial(watch, alone.report, zygote_pid=self._pid), alone.report)
        finally:
            os.close(watched)
        return pid

    def _readers(self, pid: int) -> list[int]:
        """The processes that read a document: the child and what it started, not its keeper."""
        child = self._children.get(pid)
        family = demotion.family(pid)
        return family if child is not None and child.alone else family[1:]

    def _kill(self, request_id: int) -> None:
        for pid, child in self._children.items():
            if child.request.id == request_id:
                self._end(pid)

    def _end(self, pid: int) -> None:
        # A keeper gets this signal even if it does not wait for it yet, because it is blocked from
        # the start. A keeper that was killed at once could not report what its child has used.
        number = signal.SIGKILL if self._children[pid].alone else signal.SIGTERM
        with suppress(ProcessLookupError):
            os.kill(pid, number)

    def _reap(self) -> None:
        adopted = False
        while ended := _next_ended():
            _, status, usage = os.wait4(ended, 0)
            watched = self._beside.pop(ended, None)
            child = self._children.pop(ended, None)
            if child is not None:
                if child.report in self._starting:
                    self._hear_start(child.report)
                self._kill_orphans()
                self._announce(child, asdict(keeper.report_of(status, usage)))
            elif watched in self._children:
                self._end(watched)  # it mostly has ended; nobody else watches it
            elif watched is None:
                adopted = True
        if adopted:
            # The zygote has adopted the processes that they had started.
            self._kill_orphans()

    def _announce(self, child: Running, of_process: JsonObject) -> None:
        """Report how a child ended: by its keeper's report, and by the end of what was forked."""
        child.hear()
        child.close()
        said = [report for report in child.reports() if "child" not in report]
        ending = of_process | (said[-1] if said else {})
        kind = "refused" if "errno" in ending else "ended"
        self._send({kind: child.request.id, **ending})

    def _kill_orphans(self) -> None:
        """Kill processes of a killed keeper: the zygote adopted them, and knows none of them."""
        for pid in descendants.own_children():
            if pid not in self._children and pid not in self._beside:
                with suppress(OSError):
                    os.kill(pid, signal.SIGKILL)

    def _send(self, message: JsonObject) -> None:
        # If the worker is gone, nobody needs this message; the next receive ends the loop.
        with suppress(OSError):
            self._control.send(protocol.encode(message))


def _become(live: Callable[[], int], report: int) -> NoReturn:
    """Go on as another process, in this copy of the zygote, which must not serve in any case."""
    status = 70
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        status = live()
    except OSError as error:
        os.write(report, protocol.encode({"errno": error.errno}) + b"\n")
    finally:
        os._exit(status)


def _can_watch() -> bool:
    """Whether the kernel tells when a process ends that is no child: it may be too old."""
    with suppress(OSError):
        os.close(os.pidfd_open(os.getpid()))
        return True
    return False


def _wake_up_on_sigchld() -> int:
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    return reader


def _next_ended() -> int | None:
    try:
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return ended.si_pid if ended else None


def _decoded(data: bytes) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(data)
    return message


def load_parsers() -> Callable[..., int]:
    """Load what children read with, without what they do not need; returns what a child runs.

    Nothing may import a parser earlier: no line of it ever has a network, not even at import.
    """
    unneeded.leave_out()
    from docmill.worker.extraction.child import life
    from docmill.worker.extraction.zygote import warm

    warm.warm_up()
    return life.run


def main(arguments: list[str]) -> None:
    """Prepare, report the result, serve."""
    control_descriptor, parent_pid = map(int, arguments)
    began = time.monotonic()
    sandbox.adopt_orphans()
    sandbox.die_with_parent(parent_pid)
    no_network = sandbox.leave_network()
    run_child = load_parsers()
    # This comes after the imports, because the packages may be in a folder that only root can open.
    hidden = sandbox.can_hide_processes()
    sandbox.drop_privileges(keep_namespaces=hidden)
    sandbox.die_with_parent(parent_pid)
    if hidden:
        seccomp.prepare_hidden()
    gc.collect()
    # All objects that exist now are shared with every child as long as nobody writes to them.
    gc.freeze()
    # What a document adds is looked at less often: this took a twentieth of the time to read one.
    gc.set_threshold(_GARBAGE_OBJECTS)
    pages.use_large_pages()
    control = socket.socket(fileno=control_descriptor)
    filtered = seccomp.is_available()
    ready = {
        "no_network": no_network,
        "hidden_processes": hidden,
        "landlock_version": sandbox.landlock_version(),
        "filtered_calls": filtered,
        "threads": len(list(Path("/proc/self/task").iterdir())),
        "seconds": round(time.monotonic() - began, 3),
        "resident_bytes": sandbox.resident_bytes(),
    }
    control.send(protocol.encode({"ready": ready}))
    Zygote(control, run_child, hidden=hidden, alone=filtered and _can_watch()).serve()
