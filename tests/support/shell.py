"""`docmill` as users run it: in a folder, in a terminal, with Ctrl-C."""

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docmill.embedded.stack import process_start_time
from tests.support.installation import until

DOCMILL = (sys.executable, "-m", "docmill")
#: The fields of `status` about the stack itself.
STACK_FIELDS = {
    *("pid", "api_url", "publishable_key", "secret_key", "database_url", "users", "password"),
    *("flower_url", "flower_user", "flower_password"),
}
#: Takes the terminal as its session's, and enables Ctrl-C, which background shells ignore.
_TAKE_TERMINAL = """
import fcntl, os, signal, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])
"""


@dataclass(frozen=True)
class Shell:
    """Runs `docmill` in a folder, without settings from outside."""

    folder: Path
    program: tuple[str, ...] = DOCMILL

    def run(self, *arguments: str, code: int = 0, **environ: str) -> str:
        """Its stdout; and stderr too, if another exit code than 0 is expected."""
        done = self._done(arguments, environ)
        assert done.returncode == code, (
            f"{arguments}: {done.returncode}\n{done.stdout}{done.stderr}"
        )
        assert "Traceback" not in done.stderr
        return done.stdout if code == 0 else done.stdout + done.stderr

    def complaints(self, *arguments: str, code: int = 0, **environ: str) -> str:
        """Its stderr."""
        done = self._done(arguments, environ)
        assert done.returncode == code, (
            f"{arguments}: {done.returncode}\n{done.stdout}{done.stderr}"
        )
        return done.stderr

    def _done(
        self, arguments: Sequence[str], environ: Mapping[str, str]
    ) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*self.program, *arguments],
            cwd=self.folder,
            env={**_inherited(), **environ},
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

    def run_unread(self, *arguments: str) -> tuple[int, str]:
        """Exit code and stderr, if the reader of its stdout has closed it."""
        reading, writing = os.pipe()
        os.close(reading)
        try:
            done = subprocess.run(
                [*self.program, *arguments],
                cwd=self.folder,
                env=_inherited(),
                stdout=writing,
                stderr=subprocess.PIPE,
                text=True,
                timeout=180,
                check=False,
            )
        finally:
            os.close(writing)
        return done.returncode, done.stderr

    def in_terminal(self, *arguments: str, code: int = 0, columns: int = 80) -> str:
        """Run it in a terminal; return the shown text without control sequences."""
        with self.terminal(*arguments, columns=columns) as terminal:
            return terminal.ended(code)

    @contextmanager
    def terminal(self, *arguments: str, columns: int = 80, **environ: str) -> Iterator["Terminal"]:
        """Run it in a terminal as the foreground process."""
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        with subprocess.Popen(
            [sys.executable, "-I", "-c", _TAKE_TERMINAL, *self.program, *arguments],
            cwd=self.folder,
            env=_inherited() | {"TERM": "xterm-256color"} | environ,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        ) as process:
            os.close(theirs)
            terminal = Terminal(ours, process)
            try:
                yield terminal
            finally:
                if process.poll() is None:
                    process.kill()
                terminal.close()

    def rows(self, *arguments: str, code: int = 0) -> list[dict[str, Any]]:
        """The JSON objects that it prints."""
        lines = self.run(*arguments, "--json", code=code).splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def stack_pid(self) -> int:
        """The process that runs this folder's stack."""
        return int(json.loads((self.folder / ".docmill" / "stack.json").read_text())["pid"])

    def status_of_stack(self) -> dict[str, Any]:
        """The fields of `status` about the stack itself."""
        (row,) = self.rows("status")
        return {name: value for name, value in row.items() if name in STACK_FIELDS}


class Terminal:
    """A terminal with one program."""

    def __init__(self, descriptor: int, process: "subprocess.Popen[bytes]") -> None:
        self.process = process
        self._descriptor = descriptor
        self._shown = bytearray()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    @property
    def text(self) -> str:
        """The text shown so far, without control sequences."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self._shown.decode(errors="replace"))

    def wait_for(self, text: str) -> None:
        """Return when this text is shown."""
        until(lambda: text in self.text or self.process.poll() is not None, text)
        assert text in self.text, self.text

    def press_ctrl_c(self) -> None:
        """Press the key: the terminal signals all its foreground processes."""
        os.write(self._descriptor, b"\x03")

    def type(self, text: str) -> None:
        """Type text."""
        os.write(self._descriptor, text.encode())

    def interrupt(self, number: signal.Signals) -> None:
        """Send a signal; SIGINT by pressing the key."""
        if number == signal.SIGINT:
            self.press_ctrl_c()
        else:
            self.process.send_signal(number)

    def ended(self, code: int) -> str:
        """Wait for the end; what was shown."""
        self.process.wait(180)
        self._reader.join(180)
        assert self.process.returncode == code, f"{self.process.returncode}: {self.text}"
        assert "Traceback" not in self.text
        return self.text

    def close(self) -> None:
        """Take the terminal away."""
        self._reader.join(180)
        os.close(self._descriptor)

    def _read(self) -> None:
        with suppress(OSError):  # all programs of the terminal have ended
            while block := os.read(self._descriptor, 65536):
                self._shown += block


def _inherited() -> dict[str, str]:
    return {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}


def descendants(pid: int) -> set[int]:
    """The processes that a process started, and their descendants."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def is_running(pid: int) -> bool:
    """Whether a process has not ended yet."""
    return process_start_time(pid) is not None
