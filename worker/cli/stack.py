"""`docmill up` and `docmill down`."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Final

from worker.cli.main import ExitCode
from worker.cli.output import console
from worker.errors import ServiceError
from worker.local.process import log_tail
from worker.local.stack import (
    DEMO_USERS,
    FLOWER_USER,
    HOME_VARIABLE,
    StackInfo,
    default_home,
    find_running,
    process_start_time,
    read_info,
)

_DETACH_SECONDS: Final = 120.0
_DOWN_SECONDS: Final = 60.0
_WATCH_SECONDS: Final = 1.0


def up(*, detach: bool) -> int:
    """Start the stack, here or in the background."""
    home = default_home().resolve()
    running = read_info(home)
    if running is not None:
        console().print(f"already running, process {running.pid}: {running.api_url}")
        return ExitCode.DONE
    return _up_detached(home) if detach else _up_here(home)


def _up_here(home: Path) -> int:
    from worker.local.supervisor import EmbeddedStack

    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    stack = EmbeddedStack(home)
    with stack.running() as info:
        # Not into a file: up.log is where it goes when --detach started this process.
        _announce(info, home, with_password=sys.stdout.isatty())
        while not stop.wait(_WATCH_SECONDS):
            for name in stack.restart_ended():
                print(f"docmill: {name} ended and was started again", file=sys.stderr, flush=True)
    return ExitCode.DONE


def _up_detached(home: Path) -> int:
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    log_path = home / "logs" / "up.log"
    log_path.parent.mkdir(exist_ok=True)
    with log_path.open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "worker.cli", "up"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, HOME_VARIABLE: str(home)},
            start_new_session=True,
        )
    deadline = time.monotonic() + _DETACH_SECONDS
    while time.monotonic() < deadline:
        info = read_info(home)
        if info is not None:
            _announce(info, home, with_password=True)
            return ExitCode.DONE
        if process.poll() is not None:
            raise ServiceError(f"the stack did not start: {_last_error(log_path)}")
        time.sleep(0.1)
    process.terminate()
    raise ServiceError(f"the stack did not start in {_DETACH_SECONDS:.0f} s; see {home / 'logs'}")


def _last_error(log_path: Path) -> str:
    return log_tail(log_path).removeprefix("docmill: ")


def _announce(info: StackInfo, home: Path, *, with_password: bool) -> None:
    out = console()
    out.print(f"console            {info.api_url}/console/")
    out.print(f"SUPABASE_URL       {info.api_url}")
    out.print(f"publishable key    {info.keys.publishable_key}")
    out.print(f"users              {', '.join(DEMO_USERS.values())}")
    hidden = "docmill status shows it"
    out.print(f"their password     {info.keys.demo_password if with_password else hidden}")
    out.print(f"Flower             {info.flower_url}, user {FLOWER_USER}")
    out.print(f"its password       {info.keys.flower_password if with_password else hidden}")
    out.print(f"data and logs      {home}")
    out.print("For development only. Stop it with: docmill down")


def down() -> int:
    """Stop the running stack and wait until it is gone."""
    info = find_running()
    if info is None:
        console().print("nothing is running here")
        return ExitCode.DONE
    os.kill(info.pid, signal.SIGTERM)
    deadline = time.monotonic() + _DOWN_SECONDS
    while process_start_time(info.pid) == info.started:
        if time.monotonic() > deadline:
            # Its children follow it: the kernel signals each when its parent ends.
            os.kill(info.pid, signal.SIGKILL)
            raise ServiceError(f"the stack did not stop in {_DOWN_SECONDS:.0f} s and was killed")
        time.sleep(0.05)
    console().print("stopped")
    return ExitCode.DONE
