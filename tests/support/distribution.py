"""Decides which worker of pytest-xdist gets which tests, and in which order.

The longest files come first, so that no worker has one alone at the end. Files that share processes
go to one worker, one after the other, so the processes start only once.
"""

from collections import OrderedDict
from typing import Any, Final

from xdist.scheduler import LoadScopeScheduling

#: Files whose tests share an installation, by its name.
TOGETHER: Final = {
    "tests/acceptance/test_erase.py": "tests/acceptance: running",
    "tests/acceptance/test_flower.py": "tests/acceptance: running",
    "tests/acceptance/test_holds.py": "tests/acceptance: running",
    "tests/acceptance/test_path.py": "tests/acceptance: running",
    "tests/acceptance/test_cli.py": "tests/acceptance: shell",
    "tests/acceptance/test_cli_bad_moments.py": "tests/acceptance: shell",
    "tests/acceptance/test_clients.py": "tests/acceptance: shell",
    "tests/acceptance/test_console.py": "tests/acceptance: shell",
    "tests/faults/test_changes.py": "tests/faults: broken",
    "tests/faults/test_deaths.py": "tests/faults: broken",
    "tests/faults/test_queue.py": "tests/faults: broken",
    "tests/faults/test_surroundings.py": "tests/faults: broken",
}
#: Files that take half a minute or more, longest first. A wrong order only costs time.
LONGEST: Final = (
    "tests/acceptance: shell",
    "tests/faults: broken",
    "tests/acceptance: running",
    "tests/faults/test_chaos.py",
    "tests/acceptance/test_upgrade.py",
    "tests/faults/test_alerts.py",
    "tests/integration/extraction/test_profiles.py",
    "tests/acceptance/test_documentation.py",
    "tests/acceptance/test_requests.py",
    "tests/acceptance/test_demo.py",
    "tests/acceptance/test_interrupted_starts.py",
    "tests/faults/test_bad_input.py",
    "tests/integration/extraction/test_guard.py",
    "tests/acceptance/test_containers.py",
    "tests/acceptance/test_start.py",
    "tests/acceptance/test_doorbell.py",
    "tests/acceptance/test_wheel.py",
    "tests/schema/test_apply.py",
    "tests/schema/test_export.py",
)


class LongestFirst(LoadScopeScheduling):  # type: ignore[misc]
    """Hands out whole files, or files that share something."""

    workqueue: OrderedDict[str, dict[str, bool]]

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return TOGETHER.get(file, file)

    def schedule(self) -> None:
        """Sort the files before the first is handed out."""
        self.config.option.loadscopereorder = False
        super().schedule()

    def _assign_work_unit(self, node: Any) -> None:
        places = {scope: place for place, scope in enumerate(LONGEST)}
        # Sorting is stable, so the other files stay in the order of their folders.
        self.workqueue = OrderedDict(
            sorted(self.workqueue.items(), key=lambda unit: places.get(unit[0], len(places)))
        )
        super()._assign_work_unit(node)


def workers(cores: int) -> int:
    """One more than the cores, because about half of the time a test waits for a process."""
    return cores + 1
