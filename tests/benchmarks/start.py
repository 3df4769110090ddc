"""How long a new user waits: from `git clone` to a passage in the console, and `make demo`.

`make bench-start`; needs a Chromium. Everything happens in a new clone in a temporary folder, with
its own virtual environment and the package index that pip is configured with. For comparison a
second run, when everything is installed.
"""

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from playwright.sync_api import expect

from docmill.embedded.stack import ALICE, DEMO_USERS
from tests.benchmarks.figures import Figures, machine, print_table
from tests.support.browser import chromium

REPOSITORY = Path(__file__).parents[2]
DEMOS = 5
WAIT_MILLISECONDS = 60_000
TEXT = "# The bridge\n\nThe old bridge is closed for repairs until the end of October.\n"
T = TypeVar("T")


class Clock:
    """Measures steps by name."""

    def __init__(self) -> None:
        self.steps: list[Figures] = []

    def time(self, name: str, step: Callable[[], T]) -> T:
        """Do a step."""
        started = time.perf_counter()
        done = step()
        self.steps.append(Figures(name, "s", [time.perf_counter() - started]))
        return done

    @property
    def seconds(self) -> float:
        """All steps together."""
        return sum(step.values[0] for step in self.steps)


def run(folder: Path, *command: str) -> str:
    """The output of a command, without this process's environment."""
    environ = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    return subprocess.run(
        command, cwd=folder, env=environ, capture_output=True, text=True, check=True
    ).stdout


def find_in_console(stack: Mapping[str, str], file: Path) -> None:
    """Open the console, sign in, upload, search, and see the passage."""
    with chromium() as browser:
        page = browser.new_page()
        page.set_default_timeout(WAIT_MILLISECONDS)
        page.goto(f"{stack['api_url']}/console/")
        page.get_by_label("E-mail").fill(DEMO_USERS[ALICE])
        page.get_by_label("Password").fill(stack["password"])
        page.get_by_role("button", name="Sign in").click()
        page.get_by_label("Drop files here").set_input_files(file)
        document = page.locator(".document", has_text=file.name)
        expect(document).to_have_attribute("data-state", "ready", timeout=WAIT_MILLISECONDS)
        page.get_by_label("What are you looking for?").fill("When does the bridge open again?")
        page.get_by_role("button", name="Search").click()
        expect(page.locator(".hit").first).to_contain_text("October", timeout=WAIT_MILLISECONDS)


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="docmill-bench-") as name:
        folder = Path(name)
        clone, file = folder / "docmill", folder / "bridge.md"
        file.write_text(TEXT)
        docmill = str(clone / ".venv" / "bin" / "docmill")
        clock = Clock()
        clock.time("git clone", lambda: run(folder, "git", "clone", str(REPOSITORY), str(clone)))
        clock.time("make setup", lambda: run(clone, "make", "setup"))
        up = clock.time("docmill up", lambda: run(clone, docmill, "up", "--detach", "--json"))
        try:
            clock.time("console: to the passage", lambda: find_in_console(json.loads(up), file))
        finally:
            run(clone, docmill, "down")
        demo = Figures("make demo, everything installed", "s")
        for _ in range(DEMOS):
            started = time.perf_counter()
            run(clone, "make", "demo")
            demo.values.append(time.perf_counter() - started)
        print(machine())
        print_table([*clock.steps, Figures("clone to passage", "s", [clock.seconds]), demo])


if __name__ == "__main__":
    main()
