"""The output of a process that cannot start, and the services that it waits for."""

import os
import signal
import time

import pytest

from docmill.embedded.process import ChildProcess, free_port
from tests.support.installation import Installation, until
from tests.support.pooler import PoolerOfNothing


@pytest.fixture(scope="module")
def installation(shared_installation: Installation) -> Installation:
    """Shared by all tests, because nothing started here changes it."""
    return shared_installation


def ended(child: ChildProcess) -> tuple[int, str]:
    code = child.process.wait(180)
    said = child.log_path.read_text()
    assert "Traceback" not in said
    return code, said


@pytest.mark.parametrize("command", ["worker", "webhook"])
def test_a_wrong_password_is_said_at_once(installation: Installation, command: str) -> None:
    url = installation.settings["DATABASE_URL"].replace(":test@", ":wrong-canary@")
    started = time.monotonic()
    code, said = ended(installation.start(command, DATABASE_URL=url))
    assert code == 3
    assert "docmill: cannot connect with DATABASE_URL" in said
    assert "password authentication failed" in said
    assert "canary" not in said
    assert time.monotonic() - started < 15


def test_a_database_that_is_not_there_yet_is_waited_for(installation: Installation) -> None:
    url = installation.settings["DATABASE_URL"]
    port = f":{installation.database.server.port}/"
    child = installation.start("worker", DATABASE_URL=url.replace(port, f":{free_port()}/"))
    until(lambda: "database_not_ready" in child.log_path.read_text(), "it waits")
    os.kill(child.pid, signal.SIGTERM)
    assert child.process.wait(180) != 0


@pytest.mark.parametrize("command", ["worker", "webhook"])
def test_a_pooler_before_a_database_that_is_away_is_waited_for(
    installation: Installation, command: str
) -> None:
    with PoolerOfNothing() as pooler:
        url = f"postgresql://docmill_worker:x@127.0.0.1:{pooler.port}/postgres"
        child = installation.start(command, DATABASE_URL=url)
        until(lambda: pooler.queries > 1, "it is tried again")
        said = child.log_path.read_text()
        assert "server login has been failing" in said
        assert "Traceback" not in said
        assert not child.ended()
        installation.kill(child)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("DOCMILL_PROVIDERS", "{}x", "write JSON such as"),
        ("DATABASE_URL", "mysql://x", "it must begin with postgresql://"),
        ("REDIS_URL", "rubbish", "it must begin with redis://"),
        ("SUPABASE_URL", "project.supabase.co", "it must begin with https://"),
        ("DOCMILL_SLOTS", "many", "DOCMILL_SLOTS is 'many'"),
    ],
)
def test_a_setting_that_does_not_fit_is_named(
    installation: Installation, name: str, value: str, says: str
) -> None:
    code, said = ended(installation.start("worker", **{name: value}))
    assert code == 3
    assert says in said
    assert said.count("docmill: ") == 1


@pytest.mark.parametrize("command", ["worker", "webhook", "beat"])
def test_a_redis_that_does_not_answer_is_named_once(
    installation: Installation, command: str
) -> None:
    url = f"redis://:redis-canary@127.0.0.1:{free_port()}/0"
    child = installation.start(command, REDIS_URL=url)
    until(lambda: "redis_unreachable" in child.log_path.read_text(), "the warning")
    said = child.log_path.read_text()
    assert said.count("redis_unreachable") == 1
    assert "correct REDIS_URL" in said
    assert "redis-canary" not in said
    installation.kill(child)
