"""Keeps one zygote alive and passes messages between it and the threads that read documents."""

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from docmill.worker.errors import DocmillError
from docmill.worker.extraction.parent import strays
from docmill.worker.extraction.shared import protocol
from docmill.worker.extraction.shared.protocol import Limits, Request
from docmill.worker.log import get_logger

log = get_logger(__name__)

#: The program, followed by the number of its socket and the worker's process id.
ZYGOTE = (sys.executable, "-I", "-m", "docmill.worker.extraction.zygote")
#: The whole environment of a zygote: no setting of docmill, no secret.
_KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "TZ")
_FIXED_VARIABLES = {
    "DO_NOT_TRACK": "true",
    "SCARF_NO_ANALYTICS": "true",
    "UNSTRUCTURED_DISABLE_NOTICE": "1",
    # One thread only: a fork copies no other threads, and each would reserve address space.
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}
#: What the kernel should grant: see docs/limits.md.
_ISOLATION = ("no_network", "hidden_processes", "landlock_version", "filtered_calls")
_FIRST_RESTART_SECONDS, _LAST_RESTART_SECONDS = 0.2, 10.0
_STOP_SECONDS = 5.0


@dataclass(frozen=True)
class Ending:
    """How a child ended."""

    status: int  #: as returned by os.wait
    cpu_seconds: float
    resident_bytes: int
    outgrown: bool = False  #: the zygote ended it: it had started too many processes


@dataclass
class ChildHandle:
    """A requested child. `ending` is None if the zygote, and so the child, was lost."""

    id: int
    keeper_pid: int | None = None  #: process id of its keeper, and id of the keeper's session
    pid: int | None = None  #: the same of the child, if the kernel does not hide it
    started: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)
    ending: Ending | None = None


class ZygoteUnavailableError(DocmillError):
    """There is no zygote right now; another one is starting."""


class Supervisor:
    """One thread that starts the zygote, reads its messages, and starts the next if it dies.

    This must be one thread that lives as long as the worker, because the kernel kills the zygote
    when the thread that started it ends.
    """

    def __init__(self, temp_dir: Path, *, eager: bool = True) -> None:
        """Start at once or, if not `eager`, when a caller first waits for the zygote."""
        self._temp_dir = temp_dir
        self._wanted = threading.Event()
        if eager:
            self._wanted.set()
        self._lock = threading.Lock()
        self._ids = itertools.count(1)
        self._running: dict[int, ChildHandle] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None  #: while the zygote is ready
        self._ready = threading.Event()
        self._closing = threading.Event()
        self.isolation: dict[str, Any] = {}  #: what the zygote reported when it was ready
        self._thread = threading.Thread(target=self._run, name="docmill-zygote", daemon=True)
        self._thread.start()

    @property
    def zygote_pid(self) -> int | None:
        """Process id of the zygote, if there is one."""
        process = self._process
        return process.pid if process else None

    @property
    def closing(self) -> bool:
        """Whether `close` was called, so that no zygote will be started any more."""
        return self._closing.is_set()

    def wait_ready(self, timeout_seconds: float) -> bool:
        """Wait until documents can be read; False if they still cannot."""
        self._wanted.set()
        return self._ready.wait(timeout_seconds)

    def start_child(self, request: Request, document: int, result: int) -> ChildHandle:
        """Request a child that reads one descriptor and writes to the other; the id is set here.

        Raises ZygoteUnavailableError; then nothing was started.
        """
        with self._lock:
            if self._control is None:
                raise ZygoteUnavailableError
            handle = ChildHandle(next(self._ids))
            datagram = protocol.encode_request(replace(request, id=handle.id))
            try:
                # Never waits: a zygote that does not read its socket is not healthy.
                socket.send_fds(self._control, [datagram], [document, result], socket.MSG_DONTWAIT)
            except OSError as error:
                raise ZygoteUnavailableError from error
            self._running[handle.id] = handle
            return handle

    def kill_child(self, handle: ChildHandle) -> None:
        """Let the zygote kill a child and its group: only it knows that the pid is current."""
        with self._lock:
            if self._control is None or handle.ended.is_set():
                return
            message = protocol.encode({"kill": handle.id})
            try:
                self._control.send(message, socket.MSG_DONTWAIT)
            except OSError as error:
                log.warning("kill_not_sent", error=type(error).__name__)

    def replace_zygote(self) -> None:
        """Kill a zygote that does not answer, with its children; the thread starts another one."""
        process = self._process
        if process is not None and process.poll() is None:
            process.kill()

    def close(self) -> None:
        """End the zygote and its children. Repeatable."""
        self._closing.set()
        self._wanted.set()
        with self._lock:
            control = self._control
            if control is not None:
                control.shutdown(socket.SHUT_RDWR)
            else:
                self.replace_zygote()
        self._thread.join()

    def _run(self) -> None:
        pause = _FIRST_RESTART_SECONDS
        self._wanted.wait()
        while not self._closing.is_set():
            was_ready = False
            try:
                was_ready = self._live_one_zygote()
            except Exception:  # for example no memory to start it: this thread must go on trying
                log.exception("zygote_not_supervised")
            if self._closing.is_set():
                return
            pause = _FIRST_RESTART_SECONDS if was_ready else min(2 * pause, _LAST_RESTART_SECONDS)
            self._closing.wait(pause)

    def _live_one_zygote(self) -> bool:
        """Start a zygote and listen to it until it is gone. Returns whether it was ever ready."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours:
            with theirs:
                self._process = self._spawn(theirs)
            try:
                return self._listen(ours)
            finally:
                self._bury(self._process)

    def _spawn(self, theirs: socket.socket) -> "subprocess.Popen[bytes]":
        environ = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
        return subprocess.Popen(
            [*ZYGOTE, str(theirs.fileno()), str(os.getpid())],
            env={"LANG": "C.UTF-8", **environ, **_FIXED_VARIABLES, "TMPDIR": str(self._temp_dir)},
            cwd=self._temp_dir,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # a Ctrl-C in the terminal is for the worker
        )

    def _listen(self, ours: socket.socket) -> bool:
        """Read the zygote's messages until its end is closed; its death closes it too."""
        while data := _receive(ours):
            message = json.loads(data)
            if "ready" in message:
                self._announce(ours, message["ready"])
            elif "started" in message:
                self._start(message["started"], message["pid"])
            elif "child" in message:
                self._name(message["child"], message["pid"])
            elif "ended" in message:
                self._end(message["ended"], _ending(message))
            elif "refused" in message:
                self._end(message["refused"], None)
        return self._ready.is_set()

    def _announce(self, ours: socket.socket, ready: dict[str, Any]) -> None:
        self.isolation = ready
        with self._lock:
            if self._closing.is_set():
                ours.shutdown(socket.SHUT_RDWR)
            self._control = ours
        self._ready.set()
        log.info("zygote_ready", pid=self.zygote_pid, **ready)
        if not all(ready[name] for name in _ISOLATION):
            log.warning("zygote_isolation_incomplete", **ready)

    def _start(self, request_id: int, keeper_pid: int) -> None:
        with self._lock:
            handle = self._running.get(request_id)
        if handle is not None:
            handle.keeper_pid = keeper_pid
            handle.started.set()

    def _name(self, request_id: int, pid: int) -> None:
        with self._lock:
            handle = self._running.get(request_id)
        if handle is not None:
            handle.pid = pid

    def _end(self, request_id: int, ending: Ending | None) -> None:
        with self._lock:
            handle = self._running.pop(request_id, None)
        if handle is not None:
            handle.ending = ending
            handle.started.set()
            handle.ended.set()

    def _bury(self, process: "subprocess.Popen[bytes]") -> None:
        """Take the zygote out of service, make sure that it has ended, and give up its children.

        The children die with it: the kernel tells their keepers.
        """
        self._ready.clear()
        with self._lock:
            self._control = None
            lost, self._running = list(self._running.values()), {}
        try:
            process.wait(_STOP_SECONDS if self._closing.is_set() else 0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        leaders = (pid for handle in lost for pid in (handle.keeper_pid, handle.pid))
        strays.end_strays({process.pid, *leaders})
        for handle in lost:
            handle.ended.set()
        if not self._closing.is_set():
            log.warning(
                "zygote_lost", pid=process.pid, status=process.returncode, documents=len(lost)
            )
        self._process = None


def _receive(ours: socket.socket) -> bytes:
    try:
        return ours.recv(protocol.CONTROL_BYTES)
    except ConnectionError:  # it died before it read all messages
        return b""


def _ending(message: dict[str, Any]) -> Ending:
    return Ending(
        message["status"], message["cpu_seconds"], message["resident_bytes"], message["outgrown"]
    )


def code_of_ending(ending: Ending, limits: Limits, zygote_resident_bytes: int) -> str:
    """The error code for a child that ended without a last line."""
    if ending.outgrown or not os.WIFSIGNALED(ending.status):
        return "parse_crashed"
    ended_by = os.WTERMSIG(ending.status)
    if ended_by == signal.SIGXCPU:
        return "parse_timeout"
    if ended_by == signal.SIGKILL:
        # The kernel ended it, at the hard CPU limit or because the machine has no memory left. The
        # kernel counts ticks for the limit, and reports a finer figure that may be a little lower.
        used_up = ending.cpu_seconds >= 0.75 * limits.cpu_seconds
        return "parse_timeout" if used_up else "parse_memory"
    # Native code that gets no memory does not raise: it aborts or follows a null pointer.
    private = ending.resident_bytes - zygote_resident_bytes
    return "parse_memory" if private > 0.5 * limits.memory_bytes else "parse_crashed"
