"""A new index version, while everything dies in each phase of its life."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

from docmill.embedded.process import ChildProcess
from docmill.worker.admin import reindex
from tests.faults.chaos import OwnPostgres, own_postgres, own_redis
from tests.support.database import make_database
from tests.support.installation import ALICE, BOB, SHORT_LEASE, Installation, install, until

pytestmark = pytest.mark.faults

DOCUMENTS = 24
#: Documents that are done when everything dies half way: it is noticed after some more.
HALF = 6
MODEL = "another-model"


@pytest.fixture
def own(tmp_path: Path) -> Iterator[OwnPostgres]:
    with own_postgres(tmp_path / "postgres") as made:
        yield made


@pytest.fixture
def running(own: OwnPostgres, tmp_path: Path) -> Iterator[Installation]:
    folder = tmp_path / "installation"
    with (
        own_redis(tmp_path / "redis") as redis,
        make_database(own.server, "project") as database,
        install(database, redis, folder, **SHORT_LEASE) as installation,
    ):
        yield installation


class Processes:
    """Beat and workers that die together with Postgres, and come back."""

    def __init__(self, running: Installation, own: OwnPostgres) -> None:
        self._running, self._own = running, own
        self._alive: list[ChildProcess] = []
        self.deaths = 0
        self.start()

    def start(self) -> None:
        self._alive = [
            self._running.start("beat"),
            self._running.start_worker(),
            self._running.start_worker(isolated=True),
        ]

    def die(self, *, postgres: bool = True) -> None:
        """Kill them at once; Postgres recovers before they are back."""
        for child in self._alive:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.process.wait()
        if postgres:
            self._own.restart()
        self.deaths += 1

    def die_and_come_back(self) -> None:
        self.die()
        self.start()


def count(running: Installation, query: str, *parameters: Any) -> int:
    return int(running.rows(query, *parameters)[0]["count"])


def done(running: Installation, version: int) -> int:
    return count(
        running,
        "select count(*) from ingest_private.published_versions where index_version = %s",
        version,
    )


def contents(running: Installation, version: int) -> dict[str, list[str]]:
    """The chunks of each object of Storage in a version, in order."""
    rows = running.rows(
        """select object.name, array(
                      select chunk.content from ingest.chunk_positions as position
                        join ingest.chunks as chunk on chunk.index_version = position.index_version
                                                   and chunk.id = position.chunk_id
                       where position.document_id = document.id
                         and position.index_version = %s order by position.ordinal) as chunks
             from storage.objects as object
                  left join ingest.documents as document on document.object_id = object.id""",
        version,
    )
    return {row["name"]: row["chunks"] for row in rows}


def statuses(running: Installation) -> list[dict[str, Any]]:
    return running.rows(
        "select id, status, error_code, latest_job_id from ingest.documents order by id"
    )


def interrupted(
    running: Installation,
    version: int,
    action: Callable[["psycopg.Connection[Any]"], object],
    die: Callable[[], None],
) -> None:
    """Begin an action of an operator that waits for a reader, and let everything die in it."""
    broken: list[BaseException] = []

    def act(connection: "psycopg.Connection[Any]") -> None:
        try:
            action(connection)
        except psycopg.OperationalError as error:
            broken.append(error)

    database = running.database
    with suppress(psycopg.OperationalError), database.connect() as reader:
        operator = database.connect("postgres")
        with reader.transaction():
            # Whoever used the tables before is waited for.
            reader.execute("select count(*) from ingest.chunks")
            reader.execute(f"lock table ingest_private.chunks_{version} in row exclusive mode")
            acting = threading.Thread(target=act, args=(operator,))
            acting.start()
            pid = operator.info.backend_pid
            until(
                lambda: (
                    count(
                        running,
                        "select count(*) from pg_stat_activity where pid = %s"
                        " and wait_event_type = 'Lock'",
                        pid,
                    )
                    > 0
                ),
                "it waits",
            )
            die()
            acting.join(60)
    assert len(broken) == 1, "the action was not interrupted"


def test_whatever_dies_in_whatever_phase_both_versions_have_exactly_every_chunk(
    running: Installation, own: OwnPostgres
) -> None:
    texts = {}
    processes = Processes(running, own)
    for number in range(DOCUMENTS):
        text = f"What is in document {number}, and in no other."
        texts[running.upload((ALICE, BOB)[number % 2], f"{number}.txt", text)] = [text]
    for name in texts:
        assert running.wait_for_job(name)["state"] == "succeeded"
    before = statuses(running)

    # Before it has any jobs.
    processes.die(postgres=False)
    (said,) = running.docmill_rows(
        *("reindex", "start", "--model", MODEL, "--dimensions", "128", "--send-dimensions", "--yes")
    )
    version = said["id"]
    own.restart()
    processes.start()
    # Half of it.
    until(lambda: done(running, version) >= HALF, "a part of the version is filled")
    processes.die_and_come_back()

    def is_filled() -> bool:
        return done(running, version) == DOCUMENTS and not count(
            running, "select count(*) from ingest.jobs where state in ('queued', 'running')"
        )

    until(is_filled, "the version is filled", 300)
    # Filled, and nobody has begun to build its index.
    processes.die_and_come_back()
    until(is_filled, "it is filled still")
    assert contents(running, 1) == contents(running, version) == texts
    jobs = "select count(*) from ingest.jobs where index_version = %s"
    made = count(running, jobs, version)
    # Its index half built.
    interrupted(
        running,
        version,
        lambda connection: reindex.build(connection, version, "on"),
        processes.die_and_come_back,
    )
    with running.database.connect("postgres") as operator:
        assert reindex.build(operator, version, "on").has_graph
    invalid = """select count(*) from pg_index join pg_class on pg_class.oid = indexrelid
                  where not indisvalid and relname like 'chunks%%'"""
    assert count(running, invalid) == 0
    assert contents(running, 1) == contents(running, version) == texts
    assert statuses(running) == before
    assert count(running, jobs, version) == made, "a death made no job again"

    # Before the flip is committed.
    with suppress(psycopg.OperationalError), running.database.connect("postgres") as operator:
        operator.autocommit = False
        operator.execute("select ingest_private.activate_index_version(%s, false)", [version])
        processes.die_and_come_back()
    active = "select count(*) from ingest.index_versions where state = 'active' and id = %s"
    assert count(running, active, 1) == 1
    assert "is active" in running.docmill("reindex", "activate", str(version))
    assert count(running, active, version) == 1
    added = running.upload(ALICE, "added.txt", "Added after that.")
    texts[added] = ["Added after that."]
    assert running.wait_for_job(added)["state"] == "succeeded"
    until(lambda: done(running, 1) == DOCUMENTS + 1, "the former version is kept filled")
    assert contents(running, 1) == contents(running, version) == texts

    # In the middle of its drop.
    interrupted(
        running, 1, lambda connection: reindex.drop(connection, 1), processes.die_and_come_back
    )
    assert "tables are still there" in running.docmill("doctor", fails=None)
    running.docmill("reindex", "drop", "1")
    assert contents(running, version) == texts
    assert set(map(tuple, contents(running, 1).values())) == {()}
    assert count(running, "select count(*) from pg_class where relname like 'chunks\\_1%%'") == 0
    assert running.rows("select error_code from ingest.jobs where state = 'failed'") == []
    assert {row["status"] for row in statuses(running)} == {"ready"}
    assert processes.deaths == 6
