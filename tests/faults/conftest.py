"""One installation that all these tests break and repair."""

import os
from collections.abc import Iterator

import pytest

from docmill.embedded.postgres import PostgresServer
from docmill.embedded.redis import start_redis
from tests.faults.oracles import CANARIES
from tests.faults.results import by_fault, record
from tests.faults.stack import FULL, LEDGER, Stack, running_stack
from tests.support.database import make_database
from tests.support.installation import SHORT_LEASE, install


@pytest.fixture(scope="package")
def broken(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Webhook, beat and two workers, for the whole package."""
    folder = tmp_path_factory.mktemp("faults")
    redis = start_redis(folder / "redis")
    try:
        with (
            make_database(postgres, "project") as database,
            install(
                database,
                redis,
                folder,
                DOCMILL_EMBEDDING_BATCH_SIZE="1",
                DOCMILL_EMBEDDING_REQUESTS="8",
                **SHORT_LEASE,
            ) as installation,
            running_stack(installation) as made,
        ):
            yield made
            logs = installation.logs()
            # After all faults: no secret in a log, and no unexpected error.
            for secret in (*CANARIES, "nothing in particular"):
                assert secret not in logs
            assert '"job_crashed"' not in logs
        if os.environ.get("DOCMILL_FAULTS_RECORD") == "1":
            record("directed", by_fault(LEDGER), full=FULL)
    finally:
        redis.stop()


@pytest.fixture
def stack(broken: Stack) -> Iterator[Stack]:
    """The stack in order: both workers run, nothing is held, and no job is unfinished."""
    if broken.worker.ended():
        broken.start_worker()
    if broken.isolated.ended():
        broken.start_isolated()
    yield broken
    broken.on_request = lambda _texts: None
