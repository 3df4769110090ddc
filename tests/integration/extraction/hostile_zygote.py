"""A zygote whose parsers were taken over: each document tells its child what to do.

Everything except the parsers is real, also the sandbox.
"""

import ctypes
import importlib.util
import json
import os
import resource
import signal
import socket
import sys
import time
import types
from collections.abc import Callable
from functools import partial
from pathlib import Path


def _stub(name: str, **attributes: object) -> None:
    module = types.ModuleType(name)
    vars(module).update(attributes)
    sys.modules[name] = module


def _load(path: Path) -> types.ModuleType:
    # This program's path has no folder of tests.
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


for _argument in sys.argv:
    if _argument.startswith("--mutant="):
        _mutants = _load(Path(__file__).parents[2] / "faults" / "mutants.py")
        _mutants.mutate_module(_argument.partition("=")[2])

# The parsers take seconds to import and are not tested here.
_stub("docmill.worker.extraction.child.kinds.registry", open_reading=None)
_stub("docmill.worker.extraction.zygote.warm", warm_up=lambda: None)

from docmill.worker.extraction.child import life, sandbox, seccomp  # noqa: E402 -- after the stubs
from docmill.worker.extraction.zygote import process, turns  # noqa: E402
from docmill.worker.models import JsonObject  # noqa: E402

_attacks = _load(Path(__file__).with_name("attacks.py"))

_ELEMENT: JsonObject = {"category": "Text", "page": None, "depth": None, "metadata": {}}


def _say(*texts: object) -> None:
    _say_header_only()
    for text in texts:
        write({"element": _ELEMENT | {"text": json.dumps(text)}})
    write({"end": True})


def write(message: object) -> None:
    os.write(4, json.dumps(message).encode() + b"\n")


def _attempt(action: Callable[[], object]) -> str:
    try:
        action()
    except OSError as error:
        return type(error).__name__
    return "succeeded"


def _spin() -> None:
    while True:
        pass


def _burn(seconds: str) -> None:
    _say_header_only()
    while time.process_time() < float(seconds):
        pass
    write({"end": True})


def _work_until_demoted() -> None:
    while os.sched_getscheduler(0) == os.SCHED_OTHER:
        pass


def _burn_demoted(seconds: str) -> None:
    """Work until demoted, and then for some more CPU time."""
    _say_header_only()
    _work_until_demoted()
    end = time.process_time() + float(seconds)
    while time.process_time() < end:
        pass
    write({"end": True})


def _come_back() -> None:
    """Work until demoted, then try to undo that."""
    _work_until_demoted()
    own = os.sched_getscheduler(0)
    _say(
        own,
        _attempt(lambda: os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))),
        _attempt(lambda: os.setpriority(os.PRIO_PROCESS, 0, 0)),
    )


def _hog() -> None:
    hoard = []
    while True:
        hoard.append(bytearray(16 * 1024 * 1024))


def _flood() -> None:
    _say_header_only()
    while True:
        write({"element": _ELEMENT | {"text": "x" * 50_000}})


def _flood_with_nothing() -> None:
    _say_header_only()
    while True:
        write({"element": _ELEMENT | {"text": " "}})


def _say_header_only() -> None:
    header = {"mime_type": "text/plain", "page_count": None, "title": None}
    write({"header": {**header, "starts": [], "context": ""}})


def _run_away() -> None:
    """Leave descendants in their own sessions, where no signal to the group reaches them."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            if os.fork() == 0:
                os.setsid()
                os.write(writer, str(os.getpid()).encode())
            time.sleep(1000)
        os._exit(0)
    os.wait()
    _say(int(os.read(reader, 20)))


def _connect(port: str) -> None:
    def tcp() -> None:
        socket.create_connection(("127.0.0.1", int(port)), timeout=2).close()

    def udp() -> None:
        socket.socket(type=socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", int(port)))

    _say(_attempt(tcp), _attempt(udp))


def _open_files(*paths: str) -> None:
    _say(*(_attempt(Path(path).read_bytes) for path in paths))


def _write_files(outside: str) -> None:
    def grow() -> None:
        with Path("big").open("wb") as file:
            file.writelines(bytes(1024 * 1024) for _ in range(300))

    Path("deep/er").mkdir(parents=True)
    Path("deep/er/file").write_text("left behind")
    _say(_attempt(lambda: Path(outside).write_text("x")), _attempt(grow), str(Path.cwd()))


def _execute() -> None:
    _say(_attempt(lambda: os.execv("/bin/true", ["/bin/true"])))


def _signal_others(*pids: str) -> None:
    _say(*(_attempt(partial(os.kill, int(pid), signal.SIGCONT)) for pid in pids))


def _describe() -> None:
    # Read through open descriptors, since /proc is not readable.
    descriptors = [fd for fd in range(64) if _is_open(fd)]
    limits = {
        name: resource.getrlimit(getattr(resource, f"RLIMIT_{name}"))
        for name in ("CPU", "FSIZE", "NOFILE", "CORE", "NPROC")
    }
    _say(dict(os.environ), descriptors, limits, os.getpgrp() == os.getpid())


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def _sleep_after_header() -> None:
    _say_header_only()
    time.sleep(1000)


def _raise() -> None:
    raise KeyError("/home/me/.env sb_secret_abcdefgh")


_ACTIONS: dict[str, Callable[..., object]] = {
    "say": _say,
    "spin": _spin,
    "burn": _burn,
    "burn_demoted": _burn_demoted,
    "come_back": _come_back,
    "sleep": lambda: time.sleep(1000),
    "sleep_after_header": _sleep_after_header,
    "hog": _hog,
    "flood": _flood,
    "flood_with_nothing": _flood_with_nothing,
    "run_away": _run_away,
    "connect": _connect,
    "open_files": _open_files,
    "write_files": _write_files,
    "execute": _execute,
    "fork": lambda: _say(_attempt(os.fork)),
    "signal_others": _signal_others,
    "describe": _describe,
    "exit": lambda status: os._exit(int(status)),
    "write_raw": lambda *words: os.write(4, " ".join(words).encode() + b"\n"),
    "attack": lambda name, *arguments: _say(*_attacks.ATTACKS[name](*arguments)),
    "raise": _raise,
    "follow_null": lambda: ctypes.string_at(0),
}


def _obey(*_arguments: object) -> None:
    action, *arguments = os.read(3, 65536).decode().split(" ")
    _ACTIONS[action](*arguments)


vars(life)["_read"] = _obey
if "--without-seccomp" in sys.argv:
    vars(seccomp).update(refuse_system_calls=lambda **_: False, is_available=lambda: False)
if "--without-namespaces" in sys.argv:
    vars(sandbox)["can_hide_processes"] = lambda: False

if "--impatient" in sys.argv:
    vars(turns).update(WATCH_SECONDS=1.0)
if "--without-turns" in sys.argv:
    vars(turns).update(WATCH_SECONDS=1e9)

if __name__ == "__main__":
    process.main(sys.argv[-2:])
