"""`docmill up` and `docmill down`."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from docmill.cli.exit_code import ExitCode
from docmill.cli.observe import stack_row
from docmill.cli.output import cell, console, print_json
from docmill.cli.stopping import StopSignals
from docmill.embedded.extra import require_extra
from docmill.embedded.process import log_tail
from docmill.embedded.stack import (
    DEMO_USERS,
    FLOWER_USER,
    HOME_VARIABLE,
    StackInfo,
    candidate_homes,
    default_home,
    lock_holder,
    read_info,
)
from docmill.worker.errors import ServiceError

_DETACH_SECONDS: Final = 120.0
_DOWN_SECONDS: Final = 60.0
_WATCH_SECONDS: Final = 0.2
_POLL_SECONDS: Final = 0.05


def up(*, detach: bool, as_json: bool) -> int:
    """Start the stack, here or in the background."""
    require_extra()
    home = default_home().resolve()
    running = read_info(home)
    if running is not None:
        if as_json:
            print_json(stack_row(running))
        else:
            console().print(f"already running, process {running.pid}")
            _announce(running, as_json=False, with_password=sys.stdout.isatty())
        return ExitCode.DONE
    with StopSignals("stopping what was started") as signals:
        start = _up_detached if detach else _up_here
        return start(home, signals, as_json=as_json)


def _up_here(home: Path, signals: StopSignals, *, as_json: bool) -> int:
    from docmill.embedded.embedding import chosen_embedding
    from docmill.embedded.lifecycle import EmbeddedStack

    stack = EmbeddedStack(home, embedding=chosen_embedding(), check=signals.check)
    signals.hurry = stack.hurry
    with stack.running() as info:
        # Do not write into a file: with --detach, this process already writes into up.log.
        _announce(info, as_json=as_json, with_password=as_json or sys.stdout.isatty())
        while not signals.came():
            for name in stack.restart_ended():
                print(f"docmill: {name} ended and was started again", file=sys.stderr, flush=True)
            time.sleep(_WATCH_SECONDS)
    if signals.number == signal.SIGTERM:  # docmill down
        return ExitCode.DONE
    raise signals.stopped()


def _up_detached(home: Path, signals: StopSignals, *, as_json: bool) -> int:
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    log_path = home / "logs" / "up.log"
    log_path.parent.mkdir(exist_ok=True)
    with log_path.open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "docmill", "up"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, HOME_VARIABLE: str(home)},
            start_new_session=True,
        )
    # A second signal makes it hurry.
    signals.hurry = process.terminate
    deadline = time.monotonic() + _DETACH_SECONDS
    while time.monotonic() < deadline and not signals.came():
        info = read_info(home)
        if info is not None:
            _announce(info, as_json=as_json, with_password=True)
            if not signals.came():
                return ExitCode.DONE
            break
        if process.poll() is not None:
            raise ServiceError(f"the stack did not start: {_last_error(log_path)}")
        time.sleep(_POLL_SECONDS)
    process.terminate()
    process.wait()
    signals.check()
    raise ServiceError(f"the stack did not start in {_DETACH_SECONDS:.0f} s; see {home / 'logs'}")


def _last_error(log_path: Path) -> str:
    return log_tail(log_path).removeprefix("docmill: ")


def _announce(info: StackInfo, *, as_json: bool, with_password: bool) -> None:
    if as_json:
        print_json(stack_row(info))
        return
    out = console()
    out.print(f"console            {info.api_url}/console/")
    out.print(f"SUPABASE_URL       {info.api_url}")
    out.print(f"publishable key    {info.keys.publishable_key}")
    out.print(f"users              {', '.join(DEMO_USERS.values())}")
    hidden = "docmill status shows it"
    out.print(f"their password     {info.keys.demo_password if with_password else hidden}")
    out.print(f"Flower             {info.flower_url}, user {FLOWER_USER}")
    out.print(f"its password       {info.keys.flower_password if with_password else hidden}")
    out.print(f"data and logs      {cell(info.home)}")
    here = "Ctrl-C, or docmill down" if info.pid == os.getpid() else "docmill down"
    out.print(f"For development only. Stop it with: {here}")


def down() -> int:
    """Stop the running stack and wait until it is gone."""
    holders = (lock_holder(home) for home in candidate_homes())
    holder = next((holder for holder in holders if holder), None)
    if holder is None:
        console().print("nothing is running here")
        return ExitCode.DONE
    os.kill(holder.pid, signal.SIGTERM)
    deadline = time.monotonic() + _DOWN_SECONDS
    while holder.is_running():
        if time.monotonic() > deadline:
            # The kernel signals its children when it ends.
            os.kill(holder.pid, signal.SIGKILL)
            raise ServiceError(f"the stack did not stop in {_DOWN_SECONDS:.0f} s and was killed")
        time.sleep(_POLL_SECONDS)
    console().print("stopped")
    return ExitCode.DONE
