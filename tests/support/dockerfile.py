"""Follows a Dockerfile without an engine, as far as that is possible."""

import fnmatch
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

#: Never part of the context here, even if .dockerignore allows it: large, or of this machine.
_SKIPPED: Final = {".git", ".venv", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis"}


@dataclass(frozen=True)
class Step:
    """One instruction: RUN, COPY, ... and the rest of its line."""

    name: str
    text: str


def stages(path: Path) -> list[list[Step]]:
    """The instructions of each stage, its FROM first."""
    text = re.sub(r"^\s*#.*\n", "", path.read_text(), flags=re.MULTILINE)
    lines = [line for line in text.replace("\\\n", "").splitlines() if line.strip()]
    found: list[list[Step]] = []
    for line in lines:
        name, _, rest = line.partition(" ")
        if name == "FROM":
            found.append([])
        found[-1].append(Step(name, rest.strip()))
    return found


def context_files(root: Path) -> set[Path]:
    """The files below a folder that .dockerignore lets into the context, relative to it."""
    patterns = [
        line.strip()
        for line in (root / ".dockerignore").read_text().splitlines()
        if line.strip() and not line.startswith("#")
    ]
    return {path for path in _files(root) if not is_ignored(path, patterns)}


def _files(root: Path) -> Iterator[Path]:
    for folder, names, files in os.walk(root):
        names[:] = [name for name in names if name not in _SKIPPED]
        # A link to a folder is copied as a link, not entered.
        links = [name for name in names if (Path(folder) / name).is_symlink()]
        for name in (*files, *links):
            yield (Path(folder) / name).relative_to(root)


def is_ignored(path: Path, patterns: Sequence[str]) -> bool:
    """Whether .dockerignore excludes a file: the last pattern for it or a parent folder decides."""
    ignored = False
    candidates = [str(path), *(str(parent) for parent in path.parents)][:-1]
    for pattern in patterns:
        wanted = pattern.removeprefix("!").strip("/")
        if any(_matches(candidate, wanted) for candidate in candidates):
            ignored = not pattern.startswith("!")
    return ignored


def _matches(path: str, pattern: str) -> bool:
    if pattern.startswith("**/"):
        return fnmatch.fnmatchcase(path.rpartition("/")[2], pattern.removeprefix("**/"))
    # A star does not cross a slash.
    return path.count("/") == pattern.count("/") and fnmatch.fnmatchcase(path, pattern)


class Build:
    """Follows the steps of one stage in a folder that represents the image's root."""

    def __init__(self, context: Path, root: Path, environ: Mapping[str, str]) -> None:
        self._context = context
        self._files = context_files(context)
        self._root = root
        self._environ = dict(environ)
        self._folder = root

    def follow(self, step: Step) -> None:
        """Carry out one instruction; FROM and LABEL need nothing."""
        match step.name:
            case "ENV":
                self._environ |= dict(part.split("=", 1) for part in shlex.split(step.text))
            case "WORKDIR":
                self._folder = self.path(step.text)
                self._folder.mkdir(parents=True, exist_ok=True)
            case "COPY":
                *sources, target = step.text.split()
                for source in sources:
                    self._copy(source, self._folder / target)
            case "RUN":
                self._run(step.text)

    def path(self, absolute: str) -> Path:
        """The place of an image's path in that folder."""
        return self._root / absolute.removeprefix("/")

    def _copy(self, source: str, target: Path) -> None:
        found = {
            path for path in self._files if path == Path(source) or Path(source) in path.parents
        }
        assert found, f"COPY {source}: nothing of this name is in the context"
        for path in found:
            to = target / (path.name if path == Path(source) else path.relative_to(source))
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self._context / path, to, follow_symlinks=False)

    def _run(self, command: str) -> None:
        moved = re.sub(r"(?<![\w.])/opt/", f"{self._root}/opt/", command)
        done = subprocess.run(
            ["/bin/sh", "-ec", moved],
            cwd=self._folder,
            env=self._environ,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"RUN {command}\n{done.stdout}{done.stderr}"
