"""An installation whose processes all serve metrics, and what is done to it."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import httpx

from docmill.embedded.process import ChildProcess, free_port, log_tail
from docmill.embedded.stack import SERVICES
from tests.faults.alerts.rules import Watch
from tests.faults.processes import children_of, pid_in_own_namespace
from tests.support.installation import ALICE, Installation, until

PLACES: Final = ("worker", "isolated", "webhook", "beat")


class Stand:
    """An installation all of whose processes serve metrics, each always at its port."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        self.ports = {place: free_port() for place in PLACES}
        self.watch = Watch(self.ports)
        self.places: dict[str, ChildProcess] = {}
        self._names = iter(range(1_000_000))
        self.start(*PLACES)

    def start(self, *places: str, **settings: str) -> None:
        """Start processes, and wait until they work and the database sees no trouble."""
        for place in places:
            port = {"DOCMILL_METRICS_PORT": str(self.ports[place])}
            self.places[place] = self.installation.start(*SERVICES[place], **port, **settings)
        for place in places:
            until(lambda place=place: self._is_ready(place), place, 120)  # type: ignore[misc]
        if set(PLACES) == {place for place, child in self.places.items() if not child.ended()}:
            self.wait_until_sound()

    def wait_until_sound(self) -> None:
        """Return once the database sees no trouble, and no process tells one that it saw before.

        A process reads the troubles every ten seconds, which are ten minutes for the rules.
        """
        query = "select trouble from ingest_private.troubles()"
        until(lambda: not self.installation.rows(query), "no trouble", 120)
        until(lambda: not self._told(), "no trouble told", 120)

    def _told(self) -> list[str]:
        pages = [self._metrics(port) or "" for port in self.ports.values()]
        lines = [line for page in pages for line in page.splitlines()]
        return [line for line in lines if line.startswith("docmill_trouble{")]

    def _metrics(self, port: int) -> str | None:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text
        except httpx.HTTPError:
            return None

    def kill(self, *places: str) -> None:
        """SIGKILL: no goodbye."""
        for place in places:
            os.killpg(self.places[place].pid, signal.SIGKILL)
            self.places[place].process.wait()

    def stop(self, *places: str) -> None:
        """In order."""
        for place in places:
            self.places[place].stop()

    @contextmanager
    def worker_with(self, **settings: str) -> Iterator[None]:
        """Another worker in place of the ordinary one while this is open."""
        self.stop("worker")
        self.start("worker", **settings)
        try:
            yield
        finally:
            self.stop("worker")
            self.start("worker")

    @contextmanager
    def held_session(self, statement: str) -> Iterator[None]:
        """A session that does this and keeps its locks while this is open."""
        with self.installation.database.connect() as connection, connection.transaction():
            connection.execute(statement.encode())
            yield

    def upload(self, text: str = "It rains.") -> str:
        """A small document of its own; returns its name."""
        number = next(self._names)
        return self.installation.upload(ALICE, f"{number}.md", f"# {number}\n\n{text} {number}.")

    def upload_bytes(self, content: bytes) -> str:
        """A file of its own with just this; returns its name."""
        return self.installation.upload(ALICE, f"{next(self._names)}.md", content)

    def readers(self) -> list[int]:
        """Processes that read documents for the worker: each is the first of its own namespace.

        They are below the zygote, or below a keeper that is.
        """
        zygotes = children_of(self.places["worker"].pid)
        below = [child for zygote in zygotes for child in children_of(zygote)]
        below += [child for one in below for child in children_of(one)]
        return [child for child in below if pid_in_own_namespace(child) == 1]

    def execute(self, statement: str) -> None:
        """Do this in the database, as its owner."""
        with self.installation.database.connect() as connection:
            connection.execute(statement.encode())

    def count(self, table: str) -> int:
        """How many rows a table has."""
        return int(self.installation.rows(f"select count(*) from {table}")[0]["count"])

    def _is_ready(self, place: str) -> bool:
        child = self.places[place]
        assert not child.ended(), log_tail(child.log_path)
        if self._metrics(self.ports[place]) is None:
            return False
        return "worker_ready" in child.log_path.read_text() or place in ("webhook", "beat")


@contextmanager
def running_stand(installation: Installation) -> Iterator[Stand]:
    """All processes, scraped."""
    stand = Stand(installation)
    try:
        yield stand
    finally:
        stand.watch.close()
