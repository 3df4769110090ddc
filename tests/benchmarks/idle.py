"""The memory of an idle worker, and the time of a command. `make bench-idle`.

The worker's parent process alone, without its zygote and extraction children. Resident memory
(VmRSS), read when the worker has been idle for some seconds.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from docmill.embedded.stack import FOLDER_NAME
from tests.benchmarks.figures import Figures, machine, print_table

RUNS = 15
SETTLE_SECONDS = 5.0


def resident_megabytes(pid: int) -> float:
    """Resident memory of one process, in MB of 10^6 bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024 / 1e6


def docmill(folder: Path, *arguments: str, environ: Mapping[str, str] | None = None) -> str:
    """Run a command in a folder; return its output."""
    return subprocess.run(
        [sys.executable, "-m", "docmill", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path.cwd()), **(environ or {})},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def worker_pids(folder: Path) -> dict[bool, int]:
    """Process ids of the ordinary (False) and the isolated worker (True)."""
    workers = json.loads(docmill(folder, "status", "--json"))["workers"]
    return {worker["isolated"]: int(worker["id"].split(":")[1]) for worker in workers}


def memory(folder: Path) -> list[Figures]:
    """Idle workers with the local model, and one with a remote provider."""
    time.sleep(SETTLE_SECONDS)
    found = []
    for isolated, pid in worker_pids(folder).items():
        name = "isolated worker" if isolated else "worker"
        found.append(Figures(f"{name}, local model", "MB", [resident_megabytes(pid)]))
    return found


def remote_worker_memory(folder: Path) -> Figures:
    """A worker with a remote provider, which it never calls while idle."""
    from docmill.embedded.stack import read_info

    info = read_info(folder / FOLDER_NAME)
    assert info is not None
    environ = {
        **os.environ,
        **info.environ(),
        "DOCMILL_EMBEDDER": "openai",
        "DOCMILL_EMBEDDING_MODEL": "wordllama-l2-supercat-256",
        "DOCMILL_EMBEDDING_DIMENSIONS": "256",
        "OPENAI_API_KEY": "unused",
        "OPENAI_BASE_URL": "http://127.0.0.1:9/v1",
    }
    with (folder / "remote.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "docmill", "worker"], env=environ, stderr=log, stdout=log
        )
    try:
        while b"worker_ready" not in (folder / "remote.log").read_bytes():
            assert process.poll() is None, (folder / "remote.log").read_text()
            time.sleep(0.1)
        time.sleep(SETTLE_SECONDS)
        return Figures("worker, remote provider", "MB", [resident_megabytes(process.pid)])
    finally:
        process.terminate()
        process.wait()


def commands(folder: Path) -> list[Figures]:
    """Wall time of whole commands, compared with Python doing nothing."""
    cases = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "docmill --help": [sys.executable, "-m", "docmill", "--help"],
        "docmill jobs": [sys.executable, "-m", "docmill", "jobs"],
    }
    figures = {name: Figures(name, "ms") for name in cases}
    for _ in range(RUNS):
        for name, command in cases.items():
            started = time.perf_counter()
            subprocess.run(command, cwd=folder, check=True, capture_output=True)
            figures[name].values.append((time.perf_counter() - started) * 1000)
    return list(figures.values())


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="docmill-bench-") as name:
        folder = Path(name)
        docmill(folder, "up", "--detach")
        try:
            print(machine())
            print_table([*memory(folder), remote_worker_memory(folder), *commands(folder)])
        finally:
            docmill(folder, "down")


if __name__ == "__main__":
    main()
