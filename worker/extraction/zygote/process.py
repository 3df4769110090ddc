"""The warm process that children are forked from.

It imports the parsers once, reads nothing of a stranger's, and forks one child per document. It
has one thread and never waits for a child, so that no document can hold up another. It dies with
the worker's thread that started it, and its children die with it.
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
from pathlib import Path
from typing import Any

from docmill.worker.extraction.child import sandbox
from docmill.worker.extraction.shared import protocol
from docmill.worker.extraction.shared.protocol import Request
from docmill.worker.extraction.zygote import descendants, unneeded
from docmill.worker.models import JsonObject

#: How often what a child has started is counted. A fork takes a tenth of a millisecond.
_COUNT_MILLISECONDS = 50


class Zygote:
    """Forks, kills and reaps. A pid in its table is not reaped yet, so nobody else has it."""

    def __init__(self, control: socket.socket, run_child: Callable[..., int]) -> None:
        self._control = control
        self._run_child = run_child
        self._children: dict[int, int] = {}  #: pid to request id
        self._starting_programs: set[int] = set()  #: pids of children that may
        self._outgrown: set[int] = set()  #: pids of those that were ended because of their number
        self._readable = sandbox.interpreter_folders()
        self._pid = os.getpid()

    def serve(self) -> None:
        """Serve until the worker closes its end; then end every child."""
        wakeup = _wake_up_on_sigchld()
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(wakeup, select.POLLIN)
        connected = True
        while connected:
            patience = _COUNT_MILLISECONDS if self._starting_programs else None
            for descriptor, _ in poll.poll(patience):
                if descriptor == wakeup:
                    os.read(wakeup, 4096)
                else:
                    connected = self._receive()
            self._end_outgrown()
            self._reap()
        for pid in self._children:
            _kill_group(pid)

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
        try:
            pid = os.fork()
        except OSError as error:
            # No memory or too many processes: this document waits for better times, we live on.
            self._send({"refused": request.id, "errno": error.errno})
        else:
            if pid == 0:
                self._become_child(request, descriptors)
            self._children[pid] = request.id
            if request.limits.may_start_program:
                self._starting_programs.add(pid)
            self._send({"started": request.id, "pid": pid})
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _become_child(self, request: Request, descriptors: list[int]) -> None:
        status = 70
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            document, result = descriptors
            status = self._run_child(
                request, document, result, zygote_pid=self._pid, readable=self._readable
            )
        finally:
            # Whatever happened, this copy of the zygote must not go on serving.
            os._exit(status)

    def _kill(self, request_id: int) -> None:
        for pid, running in self._children.items():
            if running == request_id:
                _kill_group(pid)

    def _end_outgrown(self) -> None:
        """End children that have more below them than a program may. None leaves its group."""
        for pid in self._starting_programs - self._outgrown:
            if descendants.are_too_many(pid):
                self._outgrown.add(pid)
                _kill_group(pid)

    def _reap(self) -> None:
        orphans_ended = False
        while ended := _next_ended():
            # While the leader is a zombie its pid, and so its group's id, is nobody else's.
            _kill_group(ended)
            _, status, usage = os.wait4(ended, 0)
            request_id = self._children.pop(ended, None)
            if request_id is None:
                orphans_ended = True
                continue
            self._kill_orphans()
            outgrown = ended in self._outgrown
            self._starting_programs.discard(ended)
            self._outgrown.discard(ended)
            self._send(
                {
                    "ended": request_id,
                    "status": status,
                    "outgrown": outgrown,
                    "cpu_seconds": usage.ru_utime + usage.ru_stime,
                    "resident_bytes": usage.ru_maxrss * 1024,
                }
            )

        if orphans_ended:
            # What those had started is ours now.
            self._kill_orphans()

    def _kill_orphans(self) -> None:
        """Kill what a child left behind outside its group: we adopted it, and know none of it."""
        for pid in descendants.children_of(Path("/proc/thread-self")):
            if pid not in self._children:
                with suppress(OSError):
                    os.kill(pid, signal.SIGKILL)

    def _send(self, message: JsonObject) -> None:
        # A worker that is gone needs no news; the next receive ends the loop.
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


def _kill_group(pid: int) -> None:
    """Kill a child and its group; a child that has no group of its own yet has no children."""
    for kill in (os.killpg, os.kill):
        with suppress(ProcessLookupError):
            kill(pid, signal.SIGKILL)


def _decoded(data: bytes) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(data)
    return message


def main(arguments: list[str]) -> None:
    """Prepare, say what was achieved, serve."""
    control_descriptor, parent_pid = map(int, arguments)
    began = time.monotonic()
    sandbox.adopt_orphans()
    sandbox.die_with_parent(parent_pid)
    no_network = sandbox.leave_network()
    # Imported here, so that no line of a parser, not even at import, ever has a network.
    from docmill.worker.extraction.child import life

    unneeded.leave_out()
    from docmill.worker.extraction.zygote import warm

    warm.warm_up()
    # After the imports: the packages may be in a folder that only root's privileges open.
    sandbox.drop_privileges()
    sandbox.die_with_parent(parent_pid)
    gc.collect()
    # What exists now is shared with every child for as long as nobody writes to it.
    gc.freeze()
    control = socket.socket(fileno=control_descriptor)
    ready = {
        "no_network": no_network,
        "landlock_version": sandbox.landlock_version(),
        "threads": len(list(Path("/proc/self/task").iterdir())),
        "seconds": round(time.monotonic() - began, 3),
        "resident_bytes": sandbox.resident_bytes(),
    }
    control.send(protocol.encode({"ready": ready}))
    Zygote(control, life.run).serve()
