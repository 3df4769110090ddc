"""Child processes of the embedded mode and of tests: start, watch, stop, by pid only."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

#: A child may take this long to end after its signal; then it is killed.
STOP_SECONDS = 20.0


def never_stops() -> None:
    """A StopCheck for callers that nobody asks to stop."""


def free_port() -> int:
    """A port of the loopback interface that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def port_is_free(port: int) -> bool:
    """True if nobody listens on this port of the loopback interface right now."""
    with socket.socket() as probe:
        # A connection that ended a moment ago does not count as use.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def log_tail(path: Path, lines: int = 15) -> str:
    """The last lines of a log, for an error message."""
    if not path.exists():
        return ""
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])


@dataclass
class ChildProcess:
    """One child with its log file."""

    name: str
    process: "subprocess.Popen[bytes]"
    log_path: Path
    stop_signal: signal.Signals
    start_again: Callable[[], "ChildProcess"]  #: from the same thread, after the child ended

    @property
    def pid(self) -> int:
        """Process id."""
        return self.process.pid

    def ended(self) -> bool:
        """True once the child has ended."""
        return self.process.poll() is not None

    def ask_to_stop(self) -> None:
        """Signal the child unless it has ended; do not wait."""
        if not self.ended():
            self.process.send_signal(self.stop_signal)

    def wait_or_kill(self, timeout_seconds: float = STOP_SECONDS) -> int:
        """Wait for the child; kill it if it does not end. Returns its exit code."""
        try:
            return self.process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def stop(self) -> int:
        """Signal the child and wait; kill it if it does not end. Returns its exit code."""
        self.ask_to_stop()
        return self.wait_or_kill()


def launched(
    command: Sequence[str], *, death_signal: signal.Signals, leave_root: bool
) -> list[str]:
    """The command line that runs `command` as a child of this process; see `launch`."""
    launcher = [sys.executable, "-I", "-m", "docmill.embedded.launch", str(os.getpid())]
    return [*launcher, death_signal.name, "nobody" if leave_root else "same", *command]


def bare_environ() -> dict[str, str]:
    """The environment that a foreign program needs, without anybody's keys."""
    needed = ("PATH", "HOME", "TMPDIR", "TZ", "LANG")
    return {
        name: value
        for name, value in os.environ.items()
        if name in needed or name.startswith(("LC_", "LD_"))
    }


def start_child(
    name: str,
    command: Sequence[str],
    *,
    log_path: Path,
    environ: Mapping[str, str] | None = None,
    stop_signal: signal.Signals = signal.SIGTERM,
    leave_root: bool = False,
) -> ChildProcess:
    """Start a child that gets a signal when the calling thread ends.

    Call it from a thread that lives as long as the child should: the kernel watches the thread.
    `leave_root` runs the program as nobody if docmill runs as root.
    """
    command = launched(command, death_signal=stop_signal, leave_root=leave_root)
    log_path.parent.mkdir(parents=True, exist_ok=True)

    def start() -> ChildProcess:
        with log_path.open("ab") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=dict(environ) if environ is not None else None,
                # A Ctrl-C in the terminal reaches only the parent, which stops its children in
                # order.
                start_new_session=True,
            )
        return ChildProcess(name, process, log_path, stop_signal, start)

    return start()
