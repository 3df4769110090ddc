"""Deno for tests of JavaScript, without network; without Deno they are skipped."""

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest


def deno_path() -> str:
    """The wheel's Deno, or the machine's, or a skip that says how to get one."""
    beside = Path(sys.executable).with_name("deno")
    path = str(beside) if beside.exists() else shutil.which("deno")
    if path is None:
        pytest.skip("no Deno here: pip install deno")
    return path


def deno_environ(folder: Path, **variables: str) -> Mapping[str, str]:
    """The environment of a program: these variables, and its own cache."""
    return {
        "PATH": os.environ["PATH"],
        "DENO_DIR": str(folder / "deno"),
        "DENO_NO_UPDATE_CHECK": "1",
        "DENO_NO_PACKAGE_JSON": "1",
        "NO_COLOR": "1",
        **variables,
    }
