"""An operator who all the time starts, activates, pauses and drops index versions."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

import psycopg

from docmill.worker.admin import reindex
from docmill.worker.errors import RefusedError
from docmill.worker.store import maintenance
from tests.faults.plan import Change
from tests.faults.player import Player, sleep_until
from tests.support.database import Database
from tests.support.fake_openai import MODEL

#: Versions beside the active one.
BESIDE: Final = 2
#: After this time of a drop or a build its connection is ended.
INTERRUPTION_SECONDS: Final = 0.05
#: The longest time that publishes are held.
HOLD_SECONDS: Final = 2.0
DROP_AFTER: Final = "1 second"
#: The longest time that Postgres may be away.
PATIENCE_SECONDS: Final = 20


class Operator(Player):
    """Carries out the changes of a plan in order."""

    def __init__(self, database: Database, changes: Sequence[Change], now: float) -> None:
        super().__init__("operator")
        self._database = database
        self._changes = changes
        self._started = now
        self.done: Counter[str] = Counter()

    def finish(self) -> None:
        """Complete interrupted changes, and wait until all versions are filled."""
        with self._database.connect("postgres") as connection:
            for version in reindex.versions(connection):
                if version["state"] == "dropped":
                    reindex.drop(connection, version["id"])
                elif version["is_paused"]:
                    reindex.pause(connection, version["id"], is_paused=False)

    def _play(self) -> None:
        for change in self._changes:
            sleep_until(self._started + change.at)
            try:
                self._carry_out(change)
            except RefusedError:
                self.done[f"{change.kind}, refused"] += 1
            except psycopg.OperationalError:
                self.done[f"{change.kind}, broken off"] += 1

    def _carry_out(self, change: Change) -> None:
        with self._connect() as connection:
            versions = reindex.versions(connection)
            beside = [row["id"] for row in versions if row["state"] in ("building", "retired")]
            if change.kind == "start" or not beside:
                if len(beside) < BESIDE:
                    reindex.create(connection, _wanted(versions, change.choice))
                    self.done["start"] += 1
                return
            chosen = beside[int(change.choice * len(beside))]
            self._ways[change.kind](connection, chosen)
            self.done[change.kind] += 1

    def _connect(self) -> "psycopg.Connection[Any]":
        # Postgres may be restarting: make the change when it is back.
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return self._database.connect("postgres")
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    @property
    def _ways(self) -> dict[str, Callable[["psycopg.Connection[Any]", int], object]]:
        return {
            "activate": lambda connection, chosen: reindex.activate(
                connection, chosen, anyway=False
            ),
            "activate anyway": lambda connection, chosen: reindex.activate(
                connection, chosen, anyway=True
            ),
            "activate, uploads held": lambda connection, chosen: reindex.activate_soon(
                connection, chosen, anyway=False, hold_seconds=HOLD_SECONDS
            ),
            "activate, the former one ends": lambda connection, chosen: reindex.activate(
                connection, chosen, anyway=True, drop_after=DROP_AFTER
            ),
            "end due versions": lambda _connection, _chosen: self._end_due_versions(),
            "rollback": lambda connection, _: reindex.activate(
                connection, reindex.former(connection), anyway=False
            ),
            "drop": reindex.drop,
            "drop interrupted": lambda connection, chosen: self._interrupted(
                connection, chosen, reindex.drop
            ),
            "cancel": reindex.cancel,
            "build": _build,
            "build interrupted": lambda connection, chosen: self._interrupted(
                connection, chosen, _build
            ),
            "pause": lambda connection, chosen: reindex.pause(connection, chosen, is_paused=True),
            "resume": lambda connection, chosen: reindex.pause(connection, chosen, is_paused=False),
        }

    def _end_due_versions(self) -> None:
        """What the schedule does each hour, with a worker's rights."""
        with self._database.connect("docmill_worker") as worker:
            while maintenance.end_due_versions(worker):
                pass

    def _interrupted(
        self,
        connection: "psycopg.Connection[Any]",
        version: int,
        action: Callable[["psycopg.Connection[Any]", int], object],
    ) -> None:
        def end() -> None:
            with suppress(psycopg.OperationalError), self._database.connect() as other:
                other.execute("select pg_terminate_backend(%s)", [connection.info.backend_pid])

        timer = threading.Timer(INTERRUPTION_SECONDS, end)
        timer.start()
        try:
            action(connection, version)
        finally:
            timer.join()


def _build(connection: "psycopg.Connection[Any]", version: int) -> None:
    reindex.build(connection, version, "on", anyway=True)


def _wanted(versions: Sequence[dict[str, Any]], choice: float) -> dict[str, Any]:
    """Another model, fewer dimensions, or another size of chunks."""
    number = len(versions)
    is_new_model = choice < 0.7
    return {
        "model": f"{MODEL}-{number}" if is_new_model else MODEL,
        "dimensions": 128 if choice < 0.35 else 256,
        "chunking": '{"max_tokens": 400}' if choice < 0.5 else f'{{"max_tokens": {300 + number}}}',
        "provider": "openai",
        "sends_dimensions": True,
        "document_prefix": "",
        "query_prefix": "",
    }
