"""A venv for each peer, made once under .venv/peers."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

VENVS: Final = Path(sys.prefix) / "peers"


def python_of(peer: str) -> Path:
    """The interpreter of a peer's venv."""
    return VENVS / peer / "bin" / "python"


def prepare(peer: str, packages: Sequence[str]) -> None:
    """Make the venv if it is not there; raises CalledProcessError if something cannot be had."""
    stamp = VENVS / peer / "installed"
    if stamp.exists():
        return
    subprocess.run([sys.executable, "-m", "venv", str(VENVS / peer)], check=True)
    install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]
    subprocess.run([str(python_of(peer)), *install], check=True)
    stamp.touch()


def version_in(peer: str, package: str) -> str:
    """The version of a package in a peer's venv."""
    code = f"from importlib.metadata import version; print(version({package!r}))"
    said = subprocess.run(
        [str(python_of(peer)), "-c", code], capture_output=True, text=True, check=True
    )
    return said.stdout.strip()
