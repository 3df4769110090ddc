"""The pages of the documentation: their blocks, and a reader that follows them."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from docmill.embedded.process import ChildProcess, log_tail, start_child
from tests.support.installation import until

ROOT: Final = Path(__file__).parents[2]
#: Languages of blocks that are run, and of blocks that are only read.
RUN: Final = ("sh", "sql")
READ: Final = ("text", "yaml", "js", "ts", "tsx", "python", "psql", "mermaid")

#: Commands that keep running, and a text that each logs when it is ready.
_STAYS: Final = {
    "docmill worker": "worker_ready",
    "docmill webhook": "Uvicorn running",
    "docmill beat": "beat: Starting",
    "docmill flower": "flower_started",
    "docmill mcp --http": "Uvicorn running",
}
#: Variables that are typed into the first terminal, and that the others do not have.
_FIRST_TERMINAL: Final = {"DOCMILL_ADMIN_DATABASE_URL"}
_FENCE: Final = re.compile(r"^ *```(.*)$")


def pages() -> list[Path]:
    """Every page for users, operators or engineers."""
    names = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
    top = [ROOT / name for name in names]
    return [*top, *sorted((ROOT / "docs").glob("*.md")), ROOT / "ops" / "README.md"]


@dataclass(frozen=True)
class Block:
    """A fenced block: the language after the fence, and the content."""

    language: str
    text: str

    def commands(self) -> list[str]:
        """Its commands, one per line; a backslash joins a line with the next."""
        lines = re.sub(r"(^|\s)#.*", "", self.text.replace("\\\n", " "), flags=re.MULTILINE)
        return [line.strip() for line in lines.splitlines() if line.strip()]


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    found, language, inside = [], None, list[str]()
    for line in page.read_text().splitlines():
        fence = _FENCE.match(line)
        if fence is None:
            inside.append(line)
        elif language is None:
            language, inside = fence[1].strip(), []
        else:
            found.append(Block(language, "\n".join(inside)))
            language = None
    assert language is None, f"{page.name}: a fence is not closed"
    return found


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^ *```.*?^ *```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


@dataclass
class Reader:
    """A user with a shell in a copy of the repository, who follows pages from top to bottom.

    Exported variables stay for later commands. Commands that keep running run in the background,
    like in other terminals; repeating such a command replaces the running one.
    """

    folder: Path
    environ: dict[str, str]
    not_run: Mapping[str, str]  #: beginnings of commands that only a reader can run, with reasons
    run_sql: Callable[[str], None]
    typed: str = ""  #: the text that is typed when a command asks
    #: Other actions of a reader, by the command that they follow.
    by_hand: Mapping[str, Callable[[], None]] = field(default_factory=dict)
    #: Addresses on the page, and the reader's own addresses instead.
    addresses: Mapping[str, str] = field(default_factory=dict)
    staying: dict[str, ChildProcess] = field(default_factory=dict)
    said: str = ""  #: what all commands printed

    def __post_init__(self) -> None:
        for name in ("README.md", ".env.example", "docker-compose.yml", "constraints.txt"):
            shutil.copy(ROOT / name, self.folder / name)
        for name in ("docs", "ops", "examples"):
            shutil.copytree(ROOT / name, self.folder / name)
        # `make demo`, or the first commands of a page, would make this.
        (self.folder / ".venv").symlink_to(sys.prefix)

    def follow(self, page: Path) -> None:
        """Run the blocks of a page, in order."""
        for block in blocks(page):
            if block.language == "sql":
                self.run_sql(block.text)
            elif block.language == "sh":
                for command in block.commands():
                    self._obey(self._with_own_addresses(command))

    def _with_own_addresses(self, command: str) -> str:
        for on_the_page, own in self.addresses.items():
            command = command.replace(on_the_page, own)
        return command

    def _obey(self, command: str) -> None:
        if any(command.startswith(beginning) for beginning in self.not_run):
            return
        if command.startswith(tuple(_STAYS)):
            self._stay(command)
        else:
            self.run(command)
        if command in self.by_hand:
            self.by_hand[command]()

    def run(self, command: str) -> str:
        """Run one command, keep what it exports, return what it prints."""
        self.wait_for_staying()
        state = self.folder / ".state"
        done = subprocess.run(
            ["/bin/bash", "-ec", f"{command}\nenv -0 > {shlex.quote(str(state))}"],
            cwd=self.folder,
            env=self.environ,
            input=self.typed + "\n",
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        printed = done.stdout + done.stderr
        assert done.returncode == 0, f"{command}: {done.returncode}\n{printed}\n{self._logs()}"
        assert "Traceback" not in printed, printed
        self.environ = dict(entry.split("=", 1) for entry in state.read_text().split("\0") if entry)
        self.said += printed
        return done.stdout

    def _stay(self, command: str) -> None:
        if command in self.staying:
            self.wait_for_staying()
            assert self.staying.pop(command).stop() == 0, command
        log_path = self.folder / "logs" / f"{command.replace(' ', '_')}.log"
        log_path.unlink(missing_ok=True)
        self.staying[command] = start_child(
            command,
            ["/bin/bash", "-c", f"cd {shlex.quote(str(self.folder))} && exec {command}"],
            log_path=log_path,
            environ={name: self.environ[name] for name in self.environ.keys() - _FIRST_TERMINAL},
        )

    def wait_for_staying(self) -> None:
        """Return as soon as every process that keeps running is ready."""
        for command, child in self.staying.items():
            works = next(says for kind, says in _STAYS.items() if command.startswith(kind))

            def is_ready(child: ChildProcess = child, works: str = works) -> bool:
                assert not child.ended(), f"{child.name}:\n{log_tail(child.log_path)}"
                return works in child.log_path.read_text()

            until(is_ready, f"{command} works")

    def stop(self) -> dict[str, int]:
        """End the running processes, the last one first; returns exit codes by command."""
        codes = {command: child.stop() for command, child in reversed(self.staying.items())}
        self.staying.clear()
        return codes

    def _logs(self) -> str:
        return "\n".join(log_tail(child.log_path) for child in self.staying.values())


def machine(home: Path) -> dict[str, str]:
    """The environment of a machine that has only the path of docmill's commands."""
    return {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(home),
        "LANG": os.environ.get("LANG", "C.UTF-8"),
    }


def filled_in(template: str, values: Mapping[str, str]) -> str:
    """An environment file with these values instead of its own."""
    for name, value in values.items():
        setting = re.compile(rf"^#?{name}=.*$", re.MULTILINE)
        assert len(setting.findall(template)) == 1, name
        template = setting.sub(f"{name}={value}".replace("\\", r"\\"), template)
    return template


def named_first(page: Path) -> Iterator[str]:
    """The variables in the first column of a page's tables, which the user should set."""
    for match in re.finditer(r"^\| `([A-Z_]+)` \|", page.read_text(), re.MULTILINE):
        yield match[1]
