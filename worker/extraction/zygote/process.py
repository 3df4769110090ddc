"""The prepared process from which children are forked.

It imports the parsers once, reads no file of a stranger, and forks one child for each request. It
has one thread and never waits for a child, so no document can delay another. It dies with the
worker's thread that started it, and its children die with it.
"""

import gc
import json
import os
import select
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from docmill.worker.extraction.child import sandbox, seccomp
from docmill.worker.extraction.shared import protocol
from docmill.worker.extraction.shared.protocol import Request
from docmill.worker.extraction.zygote import demotion, descendants, keeper, pages, unneeded
from docmill.worker.models import JsonObject


@dataclass(frozen=True)
class _Kept:
    """A running child, under a keeper."""

    request_id: int
    report: int  #: the pipe in which the keeper writes the child's pid, then how it ended
    lines: bytearray = field(default_factory=bytearray)  #: what the keeper has written so far

    def hear(self) -> None:
        """Read what the keeper has written since."""
        with suppress(BlockingIOError):  # the keeper was killed, and a process it left has the pipe
            while said := os.read(self.report, protocol.CONTROL_BYTES):
                self.lines.extend(said)

    def reports(self) -> list[JsonObject]:
        """The reports that are complete."""
        return [_decoded(line) for line in bytes(self.lines).split(b"\n")[:-1]]


class Zygote:
    """Forks, kills and reaps keepers. A pid in its table is not reaped, so no other process has it.

    `hidden`: each keeper gets a PID namespace of its own.
    """

    def __init__(
        self, control: socket.socket, run_child: Callable[..., int], *, hidden: bool
    ) -> None:
        self._control = control
        self._run_child = run_child
        self._hidden = hidden
        self._children: dict[int, _Kept] = {}  #: by the pid of its keeper
        self._starting: dict[int, _Kept] = {}  #: those with no child yet, by the pipe
        self._poll = select.poll()
        self._demotion = demotion.Demotion()
        self._readable = sandbox.interpreter_folders()
        self._pid = os.getpid()

    def serve(self) -> None:
        """Serve until the worker closes its end; then end every child."""
        wakeup = _wake_up_on_sigchld()
        self._poll.register(self._control, select.POLLIN)
        self._poll.register(wakeup, select.POLLIN)
        connected = True
        while connected:
            for descriptor, _ in self._poll.poll(self._demotion.patience(self._children)):
                if descriptor == wakeup:
                    os.read(wakeup, 4096)
                elif descriptor in self._starting:
                    self._hear_start(descriptor)
                else:
                    connected = self._receive()
            self._reap()
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

    def _fork(self, request: Request, descriptors: list[int]) -> None:
        reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
            pid = sandbox.fork_hidden() if self._hidden else os.fork()
        except OSError as error:
            # No memory or too many processes: this document is tried again later; the zygote goes
            # on.
            os.close(reader)
            self._send({"refused": request.id, "errno": error.errno})
        else:
            if pid == 0:
                os.close(reader)
                self._become_keeper(request, descriptors, writer)
            self._children[pid] = kept = _Kept(request.id, reader)
            self._starting[reader] = kept
            self._poll.register(reader, select.POLLIN)
            self._send({"started": request.id, "pid": pid})
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
            for descriptor in (*descriptors, writer):
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
                self._send({"child": kept.request_id, "pid": report["child"]})

    def _become_keeper(self, request: Request, descriptors: list[int], report: int) -> None:
        status = 70
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            document, result = descriptors

            def run(parent_pid: int) -> int:
                return self._run_child(
                    request, document, result, parent_pid=parent_pid, readable=self._readable
                )

            keeper.keep(request, document, report, run, zygote_pid=self._pid, hidden=self._hidden)
            status = 0
        except OSError as error:
            os.write(report, protocol.encode({"errno": error.errno}) + b"\n")
        finally:
            # In every case this copy of the zygote must not go on serving.
            os._exit(status)

    def _kill(self, request_id: int) -> None:
        for pid, child in self._children.items():
            if child.request_id == request_id:
                self._end(pid)

    def _end(self, pid: int) -> None:
        # The keeper gets this signal even if it does not wait for it yet, because it is blocked
        # from the start. A keeper that was killed at once could not report what its child has used.
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)

    def _reap(self) -> None:
        adopted = False
        while ended := _next_ended():
            _, status, usage = os.wait4(ended, 0)
            child = self._children.pop(ended, None)
            adopted = adopted or child is None
            if child is not None:
                if child.report in self._starting:
                    self._hear_start(child.report)
                self._kill_orphans()
                self._announce(child, asdict(keeper.report_of(status, usage)))
        if adopted:
            # The zygote has adopted the processes that they had started.
            self._kill_orphans()

    def _announce(self, child: _Kept, of_keeper: JsonObject) -> None:
        """Report how a child ended: from its keeper's report, else from the keeper's own end."""
        child.hear()
        os.close(child.report)
        said = [report for report in child.reports() if "child" not in report]
        ending = said[-1] if said else of_keeper
        kind = "refused" if "errno" in ending else "ended"
        self._send({kind: child.request_id, **ending})

    def _kill_orphans(self) -> None:
        """Kill processes of a killed keeper: the zygote adopted them, and knows none of them."""
        for pid in descendants.own_children():
            if pid not in self._children:
                with suppress(OSError):
                    os.kill(pid, signal.SIGKILL)

    def _send(self, message: JsonObject) -> None:
        # If the worker is gone, nobody needs this message; the next receive ends the loop.
        with suppress(OSError):
            self._control.send(protocol.encode(message))


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
    gc.collect()
    # All objects that exist now are shared with every child as long as nobody writes to them.
    gc.freeze()
    pages.use_large_pages()
    control = socket.socket(fileno=control_descriptor)
    ready = {
        "no_network": no_network,
        "hidden_processes": hidden,
        "landlock_version": sandbox.landlock_version(),
        "filtered_calls": seccomp.is_available(),
        "threads": len(list(Path("/proc/self/task").iterdir())),
        "seconds": round(time.monotonic() - began, 3),
        "resident_bytes": sandbox.resident_bytes(),
    }
    control.send(protocol.encode({"ready": ready}))
    Zygote(control, run_child, hidden=hidden).serve()
